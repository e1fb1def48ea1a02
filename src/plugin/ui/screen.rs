//! The process's three standard streams: what they are connected to, and the only writes to them.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{MultiProgress, ProgressDrawTarget};

use crate::failure::{Failure, Result};

/// What the streams are connected to and what the environment asks for. A value, so that tests can make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terminals {
    /// Someone can type.
    pub stdin: bool,
    /// A person reads stdout, not a pipe or a file.
    pub stdout: bool,
    /// A person reads stderr.
    pub stderr: bool,
    /// The terminal can move its cursor.
    pub moves: bool,
    /// Colours on stderr.
    pub colour: bool,
    /// Colours on stdout.
    pub stdout_colour: bool,
}

impl Terminals {
    /// Those of this process. Colours as <https://no-color.org> and <https://bixense.com/clicolors> have it.
    #[must_use]
    pub fn of_process() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        // Windows has no TERM; elsewhere its absence means that nothing is known about the terminal.
        let dumb = set("TERM").map_or(cfg!(unix), |term| term == "dumb");
        let forced = set("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        let stderr = io::stderr().is_terminal();
        let stdout = io::stdout().is_terminal();
        Self {
            stdin: io::stdin().is_terminal(),
            stdout,
            stderr,
            moves: stderr && !dumb,
            colour: set("NO_COLOR").is_none() && (forced || (stderr && !dumb)),
            stdout_colour: set("NO_COLOR").is_none() && (forced || (stdout && !dumb)),
        }
    }
}

/// Writes to stdout and stderr so that a progress bar and a line never run into each other.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    pub(super) terminals: Terminals,
    pub(super) bars: MultiProgress,
    reader_gone: Arc<AtomicBool>,
}

impl Screen {
    pub(super) fn new(terminals: Terminals) -> Self {
        let target = if terminals.moves { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { terminals, bars: MultiProgress::with_draw_target(target), reader_gone: Arc::default() }
    }

    /// Writes whole lines to stdout. A reader that went away is no error: the work goes on, unseen.
    pub(super) fn data(&self, bytes: &[u8]) -> Result<()> {
        if self.reader_gone.load(Ordering::Relaxed) {
            return Ok(());
        }
        let written = self.bars.suspend(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        });
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.reader_gone.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(Failure::failed(format!("cannot write the result to stdout: {error}"))),
        }
    }

    /// Nobody takes what is written to stdout any more.
    pub(super) fn is_unread(&self) -> bool {
        self.reader_gone.load(Ordering::Relaxed)
    }

    /// Takes the bars away; one that is still alive is not drawn again.
    pub(super) fn end_bars(&self) {
        // A terminal that is gone shows no bar either.
        let _ = self.bars.clear();
        self.bars.set_draw_target(ProgressDrawTarget::hidden());
    }

    /// Writes one line to stderr. If that fails there is nobody left to tell.
    pub(super) fn talk(&self, line: &str) {
        self.part(&format!("{line}\n"));
    }

    /// Writes to stderr without ending the line.
    pub(super) fn part(&self, text: &str) {
        self.bars.suspend(|| {
            let mut stderr = io::stderr().lock();
            let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        });
    }
}
