//! A program that goes on while a test does other things: what it has written until now, and what is done to it meanwhile.
//! What it printed is its stdout, what it said is its stderr.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Run;

/// Longer than anything takes to come about on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A running program; killed when dropped.
pub(crate) struct Running {
    child: Child,
    printed: Written,
    said: Written,
    /// Bytes of what it said that were waited for already.
    heard: usize,
}

impl Running {
    /// Starts it without input. It never waits for us to take its output.
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let printed = Written::by(child.stdout.take().expect("it is piped"));
        let said = Written::by(child.stderr.take().expect("it is piped"));
        Self { child, printed, said, heard: 0 }
    }

    /// What it has written to stdout.
    pub(crate) fn printed_bytes(&self) -> Vec<u8> {
        self.printed.so_far().bytes.clone()
    }

    /// The same as text.
    pub(crate) fn printed(&self) -> String {
        text(&self.printed.so_far().bytes)
    }

    /// What it has written to stderr.
    pub(crate) fn said(&self) -> String {
        text(&self.said.so_far().bytes)
    }

    /// Waits until what it printed is as wanted; panics if that does not come about.
    pub(crate) fn prints_so_that(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let came = self.printed.wait(|bytes| holds(&text(bytes)).then_some(()));
        came.unwrap_or_else(|| panic!("never so that {what}\n{}", self.state()));
    }

    /// Waits until it has printed this text.
    pub(crate) fn prints(&self, wanted: &str) {
        self.prints_so_that(&format!("it prints {wanted:?}"), |printed| printed.contains(wanted));
    }

    /// Waits until it says this in a line after those that were waited for before; panics if it never does.
    pub(crate) fn says(&mut self, wanted: &str) {
        self.says_line(wanted, |line| line.contains(wanted).then_some(()));
    }

    /// Waits until it announces a step, or a later one if that one is passed over; which one.
    pub(crate) fn reaches(&mut self, step: usize, of: usize) -> usize {
        self.says_line(&format!("[{step}/{of}]"), |line| {
            let (number, all) = announced(line)?;
            (all == of && number >= step).then_some(number)
        })
    }

    /// Waits until it announces the first of its steps; how many there are.
    pub(crate) fn begins(&mut self) -> usize {
        self.says_line("[1/", |line| announced(line).map(|(_, all)| all))
    }

    fn says_line<T>(&mut self, wanted: &str, is_it: impl Fn(&str) -> Option<T>) -> T {
        let from = self.heard;
        let found = self.said.wait(|bytes| {
            let mut end = from;
            let lines = bytes[from..].split_inclusive(|byte| *byte == b'\n').take_while(|line| line.ends_with(b"\n"));
            for line in lines {
                end += line.len();
                if let Some(found) = is_it(&text(line)) {
                    return Some((found, end));
                }
            }
            None
        });
        let (found, end) = found.unwrap_or_else(|| panic!("it never says {wanted:?}\n{}", self.state()));
        self.heard = end;
        found
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a child has a process id");
        kill_process(pid, signal).expect("it is our child");
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Does something to the world while it stands still.
    pub(crate) fn paused<T>(&self, harm: impl FnOnce() -> T) -> T {
        self.signal(Signal::STOP);
        let done = harm();
        self.signal(Signal::CONT);
        done
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.ends();
    }

    /// Waits for its end.
    pub(crate) fn ends(&mut self) -> Run {
        for written in [&self.printed, &self.said] {
            assert!(written.is_complete(), "it does not end\n{}", self.state());
        }
        let code = self.child.wait().expect("it is our child").code().unwrap_or(-1);
        Run { code, stdout: self.printed(), stderr: self.said() }
    }

    /// What a test that fails shows of it.
    fn state(&self) -> String {
        let printed = self.printed();
        let lines: Vec<&str> = printed.lines().collect();
        format!("stderr: {}\nend of stdout: {}", self.said(), lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that came through one of its pipes.
struct Written(Arc<(Mutex<SoFar>, Condvar)>);

#[derive(Default)]
struct SoFar {
    bytes: Vec<u8>,
    complete: bool,
}

impl Written {
    fn by(mut pipe: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(SoFar::default()), Condvar::new()));
        let written = Self(Arc::clone(&shared));
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            loop {
                let count = pipe.read(&mut buffer).unwrap_or(0);
                let mut so_far = shared.0.lock().expect("no test panics with the lock");
                so_far.bytes.extend_from_slice(&buffer[..count]);
                so_far.complete = count == 0;
                shared.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        written
    }

    fn so_far(&self) -> MutexGuard<'_, SoFar> {
        self.0.0.lock().expect("no test panics with the lock")
    }

    /// Looks at it whenever there is more; `None` when it is complete or [`PATIENCE`] is over.
    fn wait<T>(&self, look: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let end = Instant::now() + PATIENCE;
        let mut so_far = self.so_far();
        loop {
            let found = look(&so_far.bytes);
            let left = end.saturating_duration_since(Instant::now());
            if found.is_some() || so_far.complete || left.is_zero() {
                return found;
            }
            so_far = self.0.1.wait_timeout(so_far, left).expect("no test panics with the lock").0;
        }
    }

    /// Waits for its end; whether that came.
    fn is_complete(&self) -> bool {
        self.wait(|_| None::<()>);
        self.so_far().complete
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Number of a step and how many there are, from the line that announces it.
fn announced(line: &str) -> Option<(usize, usize)> {
    let (number, all) = line.strip_prefix('[')?.split_once("] ")?.0.split_once('/')?;
    Some((number.parse().ok()?, all.parse().ok()?))
}
