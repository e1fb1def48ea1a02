//! A namespace of its own for each test, and kubectl in it. It goes when the test ends, unless `DBMIG_KEEP=1`.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use dbmig::cluster::{Cluster, ConnectionFlags, connect};

/// What a state of the cluster may take to come about on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at first, and later on.
const LOOKS: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(1)];

/// A namespace with a random name, and what lies in it.
pub(crate) struct Namespace {
    name: String,
    cluster: Cluster,
    volumes: Mutex<Vec<String>>,
    has_class: AtomicBool,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Namespace {
    /// Makes a namespace; `purpose` is part of its name.
    pub(crate) async fn new(purpose: &str) -> Self {
        let name = format!("dbmig-{purpose}-{:08x}", rand::random::<u32>());
        let flags = ConnectionFlags {
            kubeconfig: env::var_os("DBMIG_TEST_KUBECONFIG").map(PathBuf::from),
            context: env::var("DBMIG_TEST_CONTEXT").ok(),
            namespace: Some(name.clone()),
            ..ConnectionFlags::default()
        };
        let cluster = connect(&flags).await.expect("a cluster answers: run the tests with `cargo xtask test`");
        let space = Self { name, cluster, volumes: Mutex::default(), has_class: AtomicBool::default() };
        space.kubectl(&["create", "namespace", &space.name]);
        space.kubectl(&["label", "namespace", &space.name, "dbmig-test=true"]);
        space
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The plugin's own connection, with this namespace in force, as the cluster's admin.
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// kubectl in this namespace; its stdout. Panics with its stderr if it fails.
    pub(crate) fn kubectl(&self, words: &[&str]) -> String {
        let run = self.try_kubectl(words);
        assert_eq!(run.code, 0, "kubectl {}: {}", words.join(" "), run.stderr);
        run.stdout
    }

    /// kubectl in this namespace, whatever comes of it.
    pub(crate) fn try_kubectl(&self, words: &[&str]) -> Run {
        Run::of(kubectl().args(["--namespace", &self.name]).args(words))
    }

    /// `kubectl apply` of some YAML.
    pub(crate) fn apply(&self, yaml: &str) {
        // Reading the schema of all kinds takes kubectl three times as long as all the rest.
        let quick = ["apply", "--validate=false", "--openapi-patch=false", "-f", "-"];
        let run = Run::with_input(kubectl().args(["--namespace", &self.name]).args(quick), yaml);
        assert_eq!(run.code, 0, "kubectl apply: {}\n{yaml}", run.stderr);
    }

    /// Creates a pod and waits until it is Ready.
    pub(crate) fn pod(&self, name: &str, spec: &serde_json::Value) {
        let mut spec = spec.clone();
        // Old servers make the token later than the account, and refuse pods that want it until then.
        spec["automountServiceAccountToken"] = false.into();
        let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        self.has_account();
        self.apply(&pod.to_string());
        self.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", "pod", name]);
    }

    /// Waits until the namespace has its service account: until then old servers refuse pods.
    pub(crate) fn has_account(&self) {
        self.wait_for("the namespace has its service account", || {
            self.try_kubectl(&["get", "serviceaccount", "default"]).code == 0
        });
    }

    /// `kubectl dbmig …` as kubectl finds it on the PATH, as the cluster's admin.
    pub(crate) fn dbmig(&self, words: &[&str]) -> Run {
        Run::of(&mut self.dbmig_command(words))
    }

    /// The same, not started yet.
    pub(crate) fn dbmig_command(&self, words: &[&str]) -> Command {
        let context = env::var("DBMIG_TEST_CONTEXT").ok();
        let at = context.iter().flat_map(|context| ["--context", context]);
        let mut command = self.plugin(&at.chain(words.iter().copied()).collect::<Vec<_>>());
        if let Some(kubeconfig) = env::var_os("DBMIG_TEST_KUBECONFIG") {
            command.env("KUBECONFIG", kubeconfig);
        }
        command
    }

    /// The same as the user of a kubeconfig.
    pub(crate) fn dbmig_as(&self, kubeconfig: &Path, words: &[&str]) -> Run {
        Run::of(&mut self.dbmig_command_as(kubeconfig, words))
    }

    /// The same, not started yet.
    pub(crate) fn dbmig_command_as(&self, kubeconfig: &Path, words: &[&str]) -> Command {
        let mut command = self.plugin(words);
        command.env("KUBECONFIG", kubeconfig);
        command
    }

    pub(super) fn plugin(&self, words: &[&str]) -> Command {
        let plugin = Path::new(env!("CARGO_BIN_EXE_kubectl-dbmig"));
        let path = env::var_os("PATH").unwrap_or_default();
        let dirs = plugin.parent().map(Path::to_path_buf).into_iter().chain(env::split_paths(&path));
        let mut command = Command::new("kubectl");
        command.env("PATH", env::join_paths(dirs).expect("the PATH has no colon in a folder's name"));
        // What stands behind two dashes is a command of its own.
        let (ours, theirs) = words.split_at(words.iter().position(|word| *word == "--").unwrap_or(words.len()));
        command.arg("dbmig").args(ours).args(["--namespace", &self.name]).args(theirs);
        command
    }

    /// A claim with a real size limit (only on the throwaway cluster; elsewhere one of the default class).
    pub(crate) fn volume(&self, claim: &str, size: &str) {
        let Some(lab) = env::var_os("DBMIG_TEST_LAB") else {
            return self.apply(&format!(
                "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {claim}}}\n\
                 spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {size}}}}}}}\n"
            ));
        };
        let volume = format!("{}-{claim}", self.name);
        self.volumes.lock().expect("unpoisoned").push(volume.clone());
        let run = Run::of(Command::new(lab).args(["pv", &volume, size, &self.name, claim]));
        assert_eq!(run.code, 0, "lab pv: {}", run.stderr);
    }

    /// A volume with a real size limit that no claim has yet, of class `sized` (only on the throwaway cluster). Its folder
    /// belongs to root, and nobody else may write to it, as cloud providers hand them out.
    pub(crate) fn spare_volume(&self, size: &str) -> PathBuf {
        let lab = env::var_os("DBMIG_TEST_LAB").expect("only the throwaway cluster has such volumes");
        let volume = format!("{}-spare", self.name);
        self.volumes.lock().expect("unpoisoned").push(volume.clone());
        let run = Run::of(Command::new(lab).args(["pv", &volume, size]));
        assert_eq!(run.code, 0, "lab pv: {}", run.stderr);
        let folder = self.folder("spare");
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("root may change it");
        folder
    }

    /// A storage class that makes volumes on demand, and only once a pod that is scheduled asks for one. Its name.
    pub(crate) fn waiting_class(&self) -> &str {
        let class = serde_json::json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": self.name},
            "provisioner": "kubernetes.io/host-path", "volumeBindingMode": "WaitForFirstConsumer"});
        self.apply(&class.to_string());
        self.has_class.store(true, Relaxed);
        &self.name
    }

    /// Makes an image of a folder with the upmeter-like application in it, and nothing else (only on the throwaway cluster).
    pub(crate) fn image(&self, name: &str, folder: &Path) {
        let lab =
            PathBuf::from(env::var_os("DBMIG_TEST_LAB").expect("only the throwaway cluster takes images from this machine"));
        let home = Run::of(Command::new(&lab).arg("home"));
        let application = Path::new(home.stdout.trim()).join("upmeter/bare/upmeter");
        std::fs::copy(&application, folder.join("upmeter")).unwrap_or_else(|e| panic!("{}: {e}", application.display()));
        let mut make = Command::new(lab.with_file_name("mkimage"));
        let run = Run::of(make.arg(name).arg("--dir").arg(folder).args(["--cmd", r#"["/upmeter", "start"]"#]));
        assert_eq!(run.code, 0, "mkimage: {}", run.stderr);
    }

    /// The folder on this machine that is a sized volume (only on the throwaway cluster): databases there are looked at directly.
    pub(crate) fn folder(&self, claim: &str) -> PathBuf {
        let lab = env::var_os("DBMIG_TEST_LAB").expect("only the throwaway cluster has its volumes on this machine");
        let home = Run::of(Command::new(lab).arg("home"));
        PathBuf::from(home.stdout.trim()).join("data/pv").join(format!("{}-{claim}", self.name))
    }

    /// Looks once a second until something is so; panics with what is in the namespace if it does not become so.
    pub(crate) fn wait_for(&self, what: &str, mut seen: impl FnMut() -> bool) {
        let (until, [mut pause, longest]) = (Instant::now() + PATIENCE, LOOKS);
        while !seen() {
            if Instant::now() > until {
                let pods = self.try_kubectl(&["describe", "pods"]).stdout;
                panic!("after {} s it is still not so that {what}:\n{pods}", PATIENCE.as_secs());
            }
            sleep(pause);
            pause = (pause * 2).min(longest);
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if env::var_os("DBMIG_KEEP").is_some() {
            return;
        }
        self.try_kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
        if self.has_class.load(Relaxed) {
            self.try_kubectl(&["delete", "storageclass", &self.name]);
        }
        let Some(lab) = env::var_os("DBMIG_TEST_LAB") else { return };
        for volume in self.volumes.get_mut().into_iter().flatten() {
            Run::of(Command::new(&lab).args(["pv-gone", volume]));
        }
    }
}

impl Run {
    /// Runs to the end, without any input.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::with_input(command, "")
    }

    /// Runs to the end with something on stdin.
    pub(crate) fn with_input(command: &mut Command, input: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        // A program that ends without reading its input has its own message for it.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Fails unless the command ended so and said these.
#[track_caller]
pub(crate) fn ends(run: &Run, code: i32, texts: &[&str]) {
    assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
    for text in texts {
        assert!(run.stderr.contains(text), "{text:?} is not said: {}", run.stderr);
    }
}

/// kubectl for the cluster under test.
pub(crate) fn kubectl() -> Command {
    let mut kubectl = Command::new("kubectl");
    if let Some(kubeconfig) = env::var_os("DBMIG_TEST_KUBECONFIG") {
        kubectl.env("KUBECONFIG", kubeconfig);
    }
    if let Ok(context) = env::var("DBMIG_TEST_CONTEXT") {
        kubectl.args(["--context", &context]);
    }
    kubectl
}
