//! Where a log was read to, so that a new stream goes on there without losing or repeating a line. Pure.
//!
//! The API server can only be asked for "since this whole second" (`sinceTime`). Two lines may bear the same time, and
//! a container's stdout and stderr may be a little out of order. So it is asked for more than is needed, and what was
//! seen already is recognised line by line.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;

use super::line::Line;

/// Seconds before the last line's that are asked for again.
const BACK: i64 = 1;
/// Length of `2026-11-21T14:40:00`.
const SECOND: usize = 19;

/// The newest lines that were read.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// The last line's stamp up to its second, as it came, and the second as a number.
    last: Option<([u8; SECOND], i64)>,
    /// Second and hash of each line of the last seconds.
    recent: VecDeque<(i64, u64)>,
    /// Lines that a new stream is going to repeat, with how often.
    repeats: HashMap<u64, u32>,
    /// The last stream broke: the server may have had more.
    broke: bool,
    /// A new stream is expected to begin with a line that was seen.
    resumes: bool,
}

/// What a line is to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Novelty {
    /// It follows.
    New,
    /// It was seen already.
    Repeated,
    /// It is new, but the new stream ought to have repeated others before it: the kubelet has moved that part of the log away.
    AfterGap,
}

impl Cursor {
    /// Takes a line in.
    pub(super) fn take(&mut self, line: &Line) -> Novelty {
        let hash = hash(line);
        let begins = std::mem::take(&mut self.resumes);
        if let Some(left) = self.repeats.get_mut(&hash) {
            *left -= 1;
            if *left == 0 {
                self.repeats.remove(&hash);
            }
            return Novelty::Repeated;
        }
        if let Some(second) = self.second(line) {
            let oldest = second - BACK - 1;
            while self.recent.front().is_some_and(|(at, _)| *at < oldest) {
                self.recent.pop_front();
            }
            self.recent.push_back((second, hash));
        }
        if begins { Novelty::AfterGap } else { Novelty::New }
    }

    /// The stream is over; it broke, or the server itself ended it, which it does after the last line.
    pub(super) fn ended(&mut self, broke: bool) {
        let was_silent = self.resumes;
        self.broke = broke || (was_silent && self.broke);
    }

    /// What comes next is another log: the container was started anew.
    pub(super) fn next_log(&mut self) {
        self.recent.clear();
    }

    /// Prepares for a new stream of the same log and says from when on to ask for it; `None` from its beginning.
    pub(super) fn resume(&mut self) -> Option<Timestamp> {
        let (_, second) = self.last?;
        let from = second - BACK;
        self.repeats.clear();
        for (at, hash) in &self.recent {
            if *at >= from {
                *self.repeats.entry(*hash).or_default() += 1;
            }
        }
        self.resumes = self.broke && !self.repeats.is_empty();
        Timestamp::from_second(from).ok()
    }

    /// The second of a line's stamp. Read as a date only when it differs from that of the line before.
    fn second(&mut self, line: &Line) -> Option<i64> {
        let stamp: [u8; SECOND] = line.stamp.get(..SECOND)?.try_into().ok()?;
        if let Some((last, second)) = self.last
            && last == stamp
        {
            return Some(second);
        }
        let second = line.time()?.as_second();
        if self.last.is_none_or(|(_, last)| second >= last) {
            self.last = Some((stamp, second));
        }
        Some(second)
    }
}

fn hash(line: &Line) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.stamp.hash(&mut hasher);
    line.text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn line(second: u32, nanos: u32, text: &str) -> Line {
        let stamp = format!("2026-11-21T14:40:{second:02}.{nanos:09}Z");
        Line { stamp: Bytes::from(stamp), text: Bytes::copy_from_slice(text.as_bytes()) }
    }

    /// What a server answers to `sinceTime`.
    fn since(log: &[Line], from: Option<Timestamp>) -> Vec<Line> {
        log.iter().filter(|line| from.is_none_or(|from| line.time().unwrap() >= from)).cloned().collect()
    }

    #[test]
    fn a_stream_cut_anywhere_goes_on_without_loss_or_repetition() {
        // Equal times and texts, a second without lines, and stderr that comes a little late.
        let log = [
            line(1, 5, "a"),
            line(1, 5, "a"),
            line(1, 5, "b"),
            line(2, 0, "c"),
            line(1, 999_999_999, "late"),
            line(2, 1, "d"),
            line(5, 0, "e"),
            line(5, 0, "e"),
            line(4, 999_999_999, "late"),
            line(6, 0, ""),
        ];
        for first in 0..=log.len() {
            for second in first..=log.len() {
                let mut cursor = Cursor::default();
                let mut seen: Vec<Line> = log[..first].iter().filter(|line| cursor.take(line) == Novelty::New).cloned().collect();
                for end in [second, log.len()] {
                    cursor.ended(true);
                    let from = cursor.resume();
                    seen.extend(since(&log[..end], from).into_iter().filter(|line| cursor.take(line) == Novelty::New));
                }
                assert_eq!(seen, log, "cut after {first} and {second}");
            }
        }
    }

    #[test]
    fn a_log_whose_end_was_moved_away_meanwhile_has_a_gap() {
        let mut cursor = Cursor::default();
        cursor.take(&line(1, 0, "a"));
        cursor.ended(true);
        cursor.resume();
        let told = [line(7, 0, "z"), line(8, 0, "z")].map(|line| cursor.take(&line));
        assert_eq!(told, [Novelty::AfterGap, Novelty::New]);
        cursor.ended(true);
        cursor.resume();
        let told = [line(7, 0, "z"), line(8, 0, "z"), line(9, 0, "z")].map(|line| cursor.take(&line));
        assert_eq!(told, [Novelty::Repeated, Novelty::Repeated, Novelty::New]);
        cursor.ended(true);
        cursor.next_log();
        cursor.resume();
        assert_eq!(cursor.take(&line(10, 0, "of the next start")), Novelty::New);
        cursor.ended(false);
        cursor.resume();
        assert_eq!(cursor.take(&line(20, 0, "of the file after the one that was read to its end")), Novelty::New);
    }

    #[test]
    fn only_the_last_seconds_are_remembered() {
        let mut cursor = Cursor::default();
        for second in 0..50 {
            for nanos in 0..100 {
                assert_eq!(cursor.take(&line(second, nanos, "x")), Novelty::New);
            }
        }
        assert!(cursor.recent.len() <= 300, "{} lines are remembered", cursor.recent.len());
    }
}
