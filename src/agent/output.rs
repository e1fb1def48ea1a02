//! The one writer of stdout; must not know what the lines mean.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dbmig_wire::{BEAT_SECONDS, ErrorKind, Message, Progress};

use crate::error::{Result, fail};
use crate::report::Report;

/// Shortest time between two progress lines of one phase.
const PACE: Duration = Duration::from_millis(200);

/// Stdout as a stream of messages. A reader that went away is remembered, never fatal.
pub(crate) struct Output(Mutex<State>);

struct State {
    open: bool,
    last: Instant,
    pace: Pace,
}

impl Output {
    /// Takes stdout over.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { open: true, last: Instant::now(), pace: Pace::default() }))
    }

    /// Writes one message, unless the stream has ended.
    pub(crate) fn send(&self, message: &Message) {
        if let Some(line) = line(message) {
            self.send_line(&line);
        }
    }

    /// Writes one line that is a message already.
    pub(crate) fn send_line(&self, line: &[u8]) {
        write(&mut self.state(), line);
    }

    /// Writes the last message; everything after it is dropped.
    pub(crate) fn finish(&self, message: &Message) {
        let mut state = self.state();
        if let Some(line) = line(message) {
            write(&mut state, &line);
        }
        state.open = false;
    }

    /// Writes a heartbeat when nothing was written for as long as [`BEAT_SECONDS`].
    pub(crate) fn beat_when_due(&self) {
        if self.state().last.elapsed() >= Duration::from_secs(BEAT_SECONDS) {
            self.send(&Message::Beat);
        }
    }

    /// Somebody still reads.
    ///
    /// # Errors
    /// `Stopped` when writing failed before.
    pub(crate) fn still_read(&self) -> Result<()> {
        if self.state().open { Ok(()) } else { Err(fail(ErrorKind::Stopped, "nobody reads the answer any more")) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report for Output {
    fn progress(&self, progress: Progress) {
        let due = self.state().pace.is_due(&progress);
        if due {
            self.send(&Message::Progress(progress));
        }
    }

    fn note(&self, text: &str) {
        self.send(&Message::Note(one_line(text)));
    }

    fn check(&self) -> Result<()> {
        self.still_read()
    }
}

/// Lets through one progress line per phase and [`PACE`], and the one that completes a phase.
#[derive(Default)]
pub(crate) struct Pace(Option<(String, Instant)>);

impl Pace {
    /// Whether this line is worth writing.
    pub(crate) fn is_due(&mut self, progress: &Progress) -> bool {
        let complete = progress.total > 0 && progress.done == progress.total;
        if let Some((phase, at)) = &self.0
            && *phase == progress.phase
            && at.elapsed() < PACE
            && !complete
        {
            return false;
        }
        self.0 = Some((progress.phase.clone(), Instant::now()));
        true
    }
}

/// A message as its line, with the line feed.
pub(crate) fn line(message: &Message) -> Option<Vec<u8>> {
    let mut line = serde_json::to_vec(message).ok()?;
    line.push(b'\n');
    Some(line)
}

/// A note is one line, whatever it quotes.
pub(crate) fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn write(state: &mut State, line: &[u8]) {
    if !state.open {
        return;
    }
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(line).and_then(|()| stdout.flush());
    state.open = written.is_ok();
    state.last = Instant::now();
}
