//! The real binary as a user calls it, without a cluster: help, usage errors, refusals, output and completion.

mod completion;
mod help;
mod output;
#[cfg(unix)]
mod terminal;
mod usage;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The program under test with nothing of this process's environment, no input and no terminal.
fn dbmig() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-dbmig"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// What a call came to.
struct Called {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Called {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is text"),
            stderr: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }
}

/// Calls the program and waits for its end.
fn call(args: &[&str]) -> Called {
    dbmig().args(args).output().expect("the program starts").into()
}

/// A folder as on the PATH with the program in it, under some name: a link, as krew makes one.
fn installed_as(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join(name).with_extension(std::env::consts::EXE_EXTENSION);
    #[cfg(unix)]
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kubectl-dbmig"), &program).expect("a link to the program");
    #[cfg(not(unix))]
    std::fs::copy(env!("CARGO_BIN_EXE_kubectl-dbmig"), &program).expect("a copy of the program");
    (folder, program)
}
