//! The stdout of a command as lines, its stderr on the side. Does not look into the lines.

use super::{Outcome, Output, Process};
use crate::failure::Result;

/// A longer line than this is no line, in bytes.
const LINE_BYTES: usize = 32 << 20;

/// One line, or the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A line without its line break.
    Text(Vec<u8>),
    /// Nothing follows. A last line that was cut off is not delivered.
    Ended(Outcome),
}

/// A running command, read line by line.
pub struct Lines {
    process: Process,
    pending: Vec<u8>,
    scanned: usize,
    stderr: Vec<u8>,
    stderr_max: usize,
}

impl Lines {
    pub(super) fn new(process: Process, stderr_max: usize) -> Self {
        Self { process, pending: Vec::new(), scanned: 0, stderr: Vec::new(), stderr_max }
    }

    /// The last bytes of stderr so far.
    #[must_use]
    pub fn stderr(&self) -> &[u8] {
        &self.stderr
    }

    /// As [`Process::write`].
    ///
    /// # Errors
    /// As [`Process::write`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.process.write(bytes).await
    }

    /// The next line. Safe to drop half-way: nothing is lost.
    pub async fn next(&mut self) -> Line {
        loop {
            if let Some(line) = self.take_line() {
                return Line::Text(line);
            }
            if self.pending.len() > LINE_BYTES {
                return Line::Ended(Outcome::Unknown(format!("a line of its output is longer than {} MiB", LINE_BYTES >> 20)));
            }
            match self.process.next().await {
                Output::Stdout(bytes) => self.pending.extend_from_slice(&bytes),
                Output::Stderr(bytes) => self.remember(&bytes),
                Output::Ended(outcome) => return self.end(outcome),
            }
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let Some(found) = self.pending[self.scanned..].iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.pending.len();
            return None;
        };
        let rest = self.pending.split_off(self.scanned + found + 1);
        let mut line = std::mem::replace(&mut self.pending, rest);
        self.scanned = 0;
        line.pop();
        Some(line)
    }

    /// A program that ended by itself may leave its last line without a line break.
    fn end(&mut self, outcome: Outcome) -> Line {
        if self.pending.is_empty() || !matches!(outcome, Outcome::Exited(_)) {
            return Line::Ended(outcome);
        }
        self.scanned = 0;
        Line::Text(std::mem::take(&mut self.pending))
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.stderr.extend_from_slice(bytes);
        let surplus = self.stderr.len().saturating_sub(self.stderr_max);
        self.stderr.drain(..surplus);
    }
}
