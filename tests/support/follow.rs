//! A program that goes on while a test does other things. What it writes is read at any time. It is killed when the test ends.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Run;

/// How long something may take to come about on a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);
const PAUSE: Duration = Duration::from_millis(100);

/// A program at work.
pub(crate) struct Following {
    child: Child,
    dir: tempfile::TempDir,
}

impl Following {
    /// Starts it. Its output goes into files, so that it never waits for us.
    pub(crate) fn begin(mut command: Command) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| File::create(dir.path().join(name)).expect("a temporary folder takes a file");
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, dir }
    }

    /// What it has written to stdout.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(self.dir.path().join("out")).expect("the file is there")
    }

    /// The same as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// What it has written to stderr.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("err")).expect("the file is there")
    }

    /// Waits until its stdout is as wanted; panics if that does not come about.
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&str) -> bool) {
        let begin = Instant::now();
        while !holds(&self.text()) {
            let ended = self.child.try_wait().expect("it can be waited for");
            let late = begin.elapsed() > PATIENCE;
            // What it wrote just before its end counts.
            if (late || ended.is_some()) && !holds(&self.text()) {
                panic!("never so that {what} (ended: {ended:?})\nstdout: {}\nstderr: {}", tail(&self.text()), self.said());
            }
            sleep(PAUSE);
        }
    }

    /// Waits until its stdout has this text.
    pub(crate) fn hears(&mut self, text: &str) {
        self.until(&format!("it says {text:?}"), |out| out.contains(text));
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let run = Run::of(Command::new("kill").args(["-INT", &self.child.id().to_string()]));
        assert_eq!(run.code, 0, "{}", run.stderr);
    }

    /// Waits for its end; its exit code, -1 after a signal.
    pub(crate) fn end(&mut self) -> i32 {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status.code().unwrap_or(-1);
            }
            assert!(begin.elapsed() < PATIENCE, "does not end\nstdout: {}\nstderr: {}", tail(&self.text()), self.said());
            sleep(PAUSE);
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
