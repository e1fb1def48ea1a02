//! The inside of a detached job: works, and writes its journal, which is its stdout. Must not touch other streams.
//!
//! The journal lies in the agent's own folder, never beside the database. When even that disk is full the job goes
//! on: lines that do not fit are left out whole, the end is tried again for a while, and without an end `follow`
//! says that the job died, so the plugin looks at the files before it does anything again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use dbmig_wire::{ABANDONED_SECONDS, ErrorKind, Message, Progress, Request};

use crate::dispatch;
use crate::error::{Explain, Result, fail};
use crate::job::Job;
use crate::output::{Pace, line, one_line};
use crate::report::Report;

/// How often [`Report::check`] really looks at the job's files.
const LOOK: Duration = Duration::from_millis(50);

/// How often the last line is tried again, once a second.
const END_TRIES: u32 = 60;

/// Works in a session of its own until the end, which it also returns.
pub(crate) fn run(job: &Job, request: Result<Request>) -> Message {
    // Fails only where the process leads a session already, which is what is wanted.
    let _ = rustix::process::setsid();
    // What `job::start` waits for; it may be gone already.
    let _ = io::stderr().write_all(b"\n");
    let journal = match Journal::open(job) {
        Ok(journal) => journal,
        Err(error) => return Message::Failed(error),
    };
    let outcome = request.and_then(|request| dispatch::answer(&request, &journal));
    let end = outcome.map_or_else(Message::Failed, Message::Done);
    for _ in 0..END_TRIES {
        if journal.write(&end) {
            break;
        }
        thread::sleep(Duration::from_secs(1));
    }
    end
}

struct Journal<'a> {
    job: &'a Job,
    limit: Duration,
    state: Mutex<State>,
}

struct State {
    file: File,
    whole: u64,
    pace: Pace,
    looked: Option<Instant>,
    touched: Option<SystemTime>,
    seen: Instant,
}

impl<'a> Journal<'a> {
    fn open(job: &'a Job) -> Result<Self> {
        let doing = || "cannot write the journal".to_owned();
        let file = File::from(io::stdout().as_fd().try_clone_to_owned().explain(doing)?);
        let whole = file.metadata().explain(doing)?.len();
        let state = State { file, whole, pace: Pace::default(), looked: None, touched: None, seen: Instant::now() };
        Ok(Self { job, limit: limit(), state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the whole line is in the journal now.
    fn write(&self, message: &Message) -> bool {
        let Some(line) = line(message) else { return false };
        let mut state = self.state();
        if state.file.write_all(&line).is_ok() {
            state.whole += line.len() as u64;
            return true;
        }
        // Half a line would spoil the next one.
        let _ = state.file.set_len(state.whole);
        false
    }
}

impl Report for Journal<'_> {
    fn progress(&self, progress: Progress) {
        let due = self.state().pace.is_due(&progress);
        if due {
            self.write(&Message::Progress(progress));
        }
    }

    fn note(&self, text: &str) {
        self.write(&Message::Note(one_line(text)));
    }

    fn check(&self) -> Result<()> {
        let mut state = self.state();
        if state.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return Ok(());
        }
        state.looked = Some(Instant::now());
        if self.job.stop_file().exists() {
            return Err(fail(ErrorKind::Stopped, "the job was asked to stop; the old data is as it was"));
        }
        // Only whether the time stamp moves counts: the clock itself may jump.
        let touched = fs::metadata(self.job.alive_file()).and_then(|file| file.modified()).ok();
        if touched != state.touched {
            state.touched = touched;
            state.seen = Instant::now();
        }
        if state.seen.elapsed() >= self.limit {
            let seconds = self.limit.as_secs();
            return Err(fail(
                ErrorKind::Stopped,
                format!("nobody followed the job for {seconds} s, so it ended itself; the old data is as it was"),
            ));
        }
        Ok(())
    }
}

fn limit() -> Duration {
    let given = std::env::var("DBMIG_ABANDONED_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(ABANDONED_SECONDS))
}
