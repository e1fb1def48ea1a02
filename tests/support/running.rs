//! A command of the plugin while it runs: what it has announced, and what is done to it meanwhile.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(240);

/// A running command; killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

/// How it ended.
pub(crate) struct Ended {
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// Everything it wrote to stderr.
    pub said: String,
}

impl Running {
    /// Starts it without input.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("kubectl runs");
        let stderr = child.stderr.take().expect("it is piped");
        let (lines_tx, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if lines_tx.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, said: Vec::new() }
    }

    /// Waits for the next line that says something; panics with everything that was said if it never comes.
    pub(crate) fn says(&mut self, what: impl Fn(&str) -> bool, wanted: &str) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let found = what(&line);
                    self.said.push(line);
                    if found {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("it does not say '{wanted}':\n{}", self.said.join("\n")),
                Err(RecvTimeoutError::Disconnected) => panic!("it never said '{wanted}':\n{}", self.said.join("\n")),
            }
        }
    }

    /// Waits until it announces a step.
    pub(crate) fn reaches(&mut self, step: usize, of: usize) {
        let announced = format!("[{step}/{of}] ");
        // Later lines about the same step have a colon after its title, and an announced one has not.
        self.says(|line| line.starts_with(&announced), &announced);
    }

    /// Whether it has ended; takes in what it said.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.said.extend(self.lines.try_iter());
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// What it said until now.
    pub(crate) fn said(&self) -> String {
        self.said.join("\n")
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a child has a process id");
        kill_process(pid, signal).expect("it is our child");
    }

    /// Does something to the world while it stands still.
    pub(crate) fn paused<T>(&self, harm: impl FnOnce() -> T) -> T {
        self.signal(Signal::STOP);
        let done = harm();
        self.signal(Signal::CONT);
        done
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) -> String {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
        self.said.join("\n")
    }

    /// Waits for its end.
    pub(crate) fn ends(mut self) -> Ended {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.said.push(line);
        }
        let code = self.child.wait().expect("it is our child").code().unwrap_or(-1);
        Ended { code, said: self.said.join("\n") }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
