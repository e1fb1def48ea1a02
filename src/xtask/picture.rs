//! `cargo xtask picture`: the screen of `kubectl dbmig watch` during the demo's vacuum, written into README. Needs tmux.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::Outcome;
use crate::demo;
use crate::process::{capture, heading, root, run as run_command, say};

const SESSION: &str = "dbmig-picture";
/// Columns and rows of the terminal.
const SIZE: (&str, &str) = ("132", "26");
/// What stands before and after the picture in README.
const MARKS: (&str, &str) = ("<!-- screen: cargo xtask picture -->\n```text\n", "```\n<!-- end of screen -->\n");

pub(crate) fn run() -> Outcome {
    let screen = demo::while_it_vacuums(picture)?;
    let file = root().join("README.md");
    let readme = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let (head, rest) = readme.split_once(MARKS.0).ok_or("README.md has no place for the screen")?;
    let (_, tail) = rest.split_once(MARKS.1).ok_or("README.md does not say where the screen ends")?;
    std::fs::write(&file, format!("{head}{}{screen}{}{tail}", MARKS.0, MARKS.1))
        .map_err(|e| format!("{}: {e}", file.display()))?;
    say("README.md has a new screen");
    Ok(())
}

/// Watches in one terminal while `vacuum` works in another; the screen at the moment when most can be seen.
fn picture(watch: &Command, mut vacuum: Command) -> Outcome<String> {
    heading("watching the vacuum in tmux");
    let mut tmux = Command::new("tmux");
    tmux.args(["new-session", "-d", "-s", SESSION, "-x", SIZE.0, "-y", SIZE.1]);
    // A tmux server that runs already has an environment of its own.
    tmux.arg("env");
    for (name, value) in watch.get_envs() {
        tmux.arg(format!("{}={}", name.to_string_lossy(), value.unwrap_or_default().to_string_lossy()));
    }
    run_command(tmux.arg(watch.get_program()).args(watch.get_args()))?;
    let seen = || capture(Command::new("tmux").args(["capture-pane", "-p", "-t", SESSION]));
    sleep(Duration::from_secs(5));
    let mut child =
        vacuum.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|e| format!("cannot start the vacuum: {e}"))?;
    let mut best = seen()?;
    while child.try_wait().map_err(|e| e.to_string())?.is_none() {
        let now = seen()?;
        if now.contains("wait until statefulset/upmeter is Ready") && now.contains("upmeter-0 › ") {
            best = now;
        }
        sleep(Duration::from_millis(500));
    }
    run_command(Command::new("tmux").args(["kill-session", "-t", SESSION]))?;
    Ok(best.lines().map(|line| format!("{}\n", line.trim_end())).collect())
}
