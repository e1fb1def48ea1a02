//! Running other programs and talking to the terminal. Decides nothing.

use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::Outcome;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// A line about the work itself, on stderr. A closed stderr is nobody's loss.
pub(crate) fn say(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// A line that is the result, on stdout.
pub(crate) fn print(text: &str) -> Outcome {
    writeln!(stdout(), "{text}").map_err(|e| format!("cannot write to stdout: {e}"))
}

/// A heading, so that long output has visible parts.
pub(crate) fn heading(text: &str) {
    say(&format!("\n{}", console::style(format!("==> {text}")).bold().for_stderr()));
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Runs with the terminal as it is; anything but exit code 0 is an error.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let line = shown(command);
    let status = command.status().map_err(|e| format!("cannot run `{line}`: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` ended with {status}")) }
}

/// Runs quietly and returns what it wrote to stdout; its stderr goes into the error.
pub(crate) fn capture(command: &mut Command) -> Outcome<String> {
    let line = shown(command);
    let Output { status, stdout, stderr } = command.output().map_err(|e| format!("cannot run `{line}`: {e}"))?;
    if !status.success() {
        return Err(format!("`{line}` ended with {status}: {}", String::from_utf8_lossy(&stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&stdout).trim_end().to_owned())
}

/// Is a program of this name on the PATH?
pub(crate) fn on_path(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()))
}

/// The PATH with `dir` in front, for programs that look others up there.
pub(crate) fn path_with(dir: &Path) -> Outcome<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(dir.to_path_buf()).chain(std::env::split_paths(&path)))
        .map_err(|e| format!("{} cannot be put on the PATH: {e}", dir.display()))
}

/// The cargo that runs us, as if somebody had typed it: with what it has told us of our own package, ring's build script would count
/// as changed, and everything above it would be built anew, each time that the other of the two is used.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    let of_our_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(of_our_package)) {
        cargo.env_remove(name);
    }
    cargo
}
