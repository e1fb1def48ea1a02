//! Real Helm, as the lab gets it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Namespace, Run};

impl Namespace {
    /// Helm in this namespace, not started yet (only on the throwaway cluster).
    pub(crate) fn helm_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(helm());
        if let Some(kubeconfig) = env::var_os("DBMIG_TEST_KUBECONFIG") {
            command.env("KUBECONFIG", kubeconfig);
        }
        command.args(["--namespace", self.name()]).args(words);
        command
    }

    /// The same, run to its end; panics with what it said if it fails.
    pub(crate) fn helm(&self, words: &[&str]) -> String {
        let run = Run::of(&mut self.helm_command(words));
        assert_eq!(run.code, 0, "helm {}: {}", words.join(" "), run.stderr);
        run.stdout
    }
}

/// The binary.
pub(crate) fn helm() -> PathBuf {
    let lab = PathBuf::from(env::var_os("DBMIG_TEST_LAB").expect("only on the throwaway cluster"));
    let run = Run::of(&mut Command::new(lab.with_file_name("helm").join("build")));
    assert_eq!(run.code, 0, "{}", run.stderr);
    PathBuf::from(run.stdout.trim())
}

/// The command finds Helm in its PATH, as `helm`.
pub(crate) fn with_helm(mut command: Command) -> Command {
    let own = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, path)| path.map(ToOwned::to_owned));
    let path = own.or_else(|| env::var_os("PATH")).unwrap_or_default();
    let helm = helm();
    let dirs = helm.parent().map(Path::to_path_buf).into_iter().chain(env::split_paths(&path));
    command.env("PATH", env::join_paths(dirs).expect("the PATH has no colon in a folder's name"));
    command
}
