//! A real terminal: a program in a tmux of its own, its keys and its screen.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Run;

const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(200);

/// A terminal with a program in it, on a server of its own. Dropping it ends both.
pub(crate) struct Tmux {
    server: String,
    _dir: tempfile::TempDir,
}

impl Tmux {
    /// A terminal of this size that runs `command`, then says `left with CODE` and how the terminal is set, then waits. Ctrl-C ends
    /// the command, and not the shell around it.
    pub(crate) fn run(command: &Command, width: u16, height: u16) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let script = dir.path().join("run.sh");
        let quoted = |text: &std::ffi::OsStr| format!("'{}'", text.to_string_lossy().replace('\'', r"'\''"));
        let exports = command
            .get_envs()
            .filter_map(|(name, value)| Some(format!("export {}={}\n", name.to_string_lossy(), quoted(value?))));
        let words: Vec<String> = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
        let text = format!(
            "trap : INT\n{}echo before\n{}\necho \"left with $?\"\nstty -a | grep -o -e '[-]*icanon' -e '[-]*echo ' | tr -d '\\n'\nexec sleep 600\n",
            exports.collect::<String>(),
            words.join(" ")
        );
        fs::write(&script, text).expect("a temporary folder takes a file");
        let tmux = Self { server: format!("dbmig-test-{:08x}", rand::random::<u32>()), _dir: dir };
        let (width, height) = (width.to_string(), height.to_string());
        let script = format!("sh {}", script.display());
        tmux.tmux(&["-f", "/dev/null", "new-session", "-d", "-s", "test", "-x", &width, "-y", &height, &script]);
        tmux
    }

    fn tmux(&self, words: &[&str]) -> String {
        // With -u, tmux takes the terminal for one that shows UTF-8, whatever the locale.
        let run = Run::of(Command::new("tmux").args(["-u", "-L", &self.server]).args(words).env("LC_ALL", "C.UTF-8"));
        assert_eq!(run.code, 0, "tmux {}: {}", words.join(" "), run.stderr);
        run.stdout
    }

    /// What is on the screen, a line per row.
    pub(crate) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-t", "test"])
    }

    /// What it takes for its title.
    pub(crate) fn title(&self) -> String {
        self.tmux(&["display-message", "-p", "-t", "test", "#{pane_title}"])
    }

    /// Types a text as it is.
    pub(crate) fn types(&self, text: &str) {
        self.tmux(&["send-keys", "-t", "test", "-l", text]);
    }

    /// Presses a key by tmux's name for it: `Enter`, `PageUp`, `C-c`.
    pub(crate) fn presses(&self, key: &str) {
        self.tmux(&["send-keys", "-t", "test", key]);
    }

    /// Changes the terminal's size.
    pub(crate) fn resize(&self, width: u16, height: u16) {
        self.tmux(&["resize-window", "-t", "test", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Waits until the screen is as wanted and returns it.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let begin = Instant::now();
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(begin.elapsed() < PATIENCE, "never so that {what}:\n{screen}");
            sleep(PAUSE);
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        Run::of(Command::new("tmux").args(["-L", &self.server, "kill-server"]));
    }
}
