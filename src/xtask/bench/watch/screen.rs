//! How often the full-screen view draws while somebody scrolls: its bytes are recorded by tmux, and frames counted in them.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::process::{capture, run as run_command};

/// How long it is scrolled.
pub(super) const SECONDS: u32 = 10;
const SESSION: &str = "dbmig-bench-watch";
/// Columns and rows of the terminal.
const SIZE: (&str, &str) = ("200", "50");
/// Each frame hides the cursor anew.
const FRAME: &[u8] = b"\x1b[?25l";
/// Keys of one `tmux send-keys`, and the time until the next.
const KEYS: (&[&str], Duration) = (&["PageUp", "PageUp", "PageUp", "PageDown", "PageUp"], Duration::from_millis(100));

/// Frames drawn while keys are pressed, and for how many seconds; `go` makes the lines flow.
pub(super) fn frames(command: &Command, folder: &Path, go: impl FnOnce() -> Outcome) -> Outcome<(u32, f64)> {
    let mut start = tmux(&["new-session", "-d", "-s", SESSION, "-x", SIZE.0, "-y", SIZE.1, "env"]);
    for (name, value) in command.get_envs() {
        start.arg(format!("{}={}", name.to_string_lossy(), value.unwrap_or_default().to_string_lossy()));
    }
    run_command(start.arg(command.get_program()).args(command.get_args()))?;
    let counted = count(folder, go);
    run_command(&mut tmux(&["kill-server"]))?;
    counted
}

/// tmux with a server of our own.
fn tmux(words: &[&str]) -> Command {
    let mut tmux = Command::new("tmux");
    tmux.args(["-u", "-L", SESSION]).args(words);
    tmux
}

fn count(folder: &Path, go: impl FnOnce() -> Outcome) -> Outcome<(u32, f64)> {
    let ready = || capture(&mut tmux(&["capture-pane", "-p", "-t", SESSION])).is_ok_and(|screen| screen.contains("@hello"));
    let patience = Instant::now() + Duration::from_secs(60);
    while !ready() {
        if Instant::now() > patience {
            return Err("the screen shows no line of the writers".to_owned());
        }
        sleep(Duration::from_millis(200));
    }
    go()?;
    // The lines flow by then.
    sleep(Duration::from_secs(1));
    let file = folder.join("screen");
    run_command(&mut tmux(&["pipe-pane", "-t", SESSION, &format!("cat >'{}'", file.display())]))?;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(u64::from(SECONDS) - 2) {
        run_command(tmux(&["send-keys", "-t", SESSION]).args(KEYS.0))?;
        sleep(KEYS.1);
    }
    let seconds = begin.elapsed().as_secs_f64();
    run_command(&mut tmux(&["pipe-pane", "-t", SESSION]))?;
    let bytes = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let frames = bytes.windows(FRAME.len()).filter(|bytes| *bytes == FRAME).count();
    Ok((u32::try_from(frames).unwrap_or(u32::MAX), seconds))
}
