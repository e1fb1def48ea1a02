//! Progress as plain lines, for logs and terminals that cannot move their cursor. Pure: given an event and the time.

use std::time::Duration;

use dbmig_wire::Progress;
use tokio::time::Instant;

use super::human::{amount, elapsed, harmless};
use crate::event::Event;

/// Seconds between two lines about the same step.
const PAUSE: Duration = Duration::from_secs(5);

/// Turns events into lines, few enough to read.
#[derive(Debug, Default)]
pub(super) struct Lines {
    step: String,
    last: Option<Instant>,
}

impl Lines {
    /// The line to print for this event, if any.
    pub(super) fn line(&mut self, event: &Event, now: Instant) -> Option<String> {
        match event {
            Event::StepStarted { index, of, title } => {
                self.step = format!("[{index}/{of}] {}", harmless(title));
                // What is over in a moment needs no word in between.
                self.last = Some(now);
                Some(self.step.clone())
            }
            Event::StepAlready { index, of, title } => Some(format!("[{index}/{of}] {}: already done", harmless(title))),
            Event::Progress(progress) => {
                if self.last.is_some_and(|last| now.duration_since(last) < PAUSE) {
                    return None;
                }
                self.last = Some(now);
                Some(format!("{}: {}", self.step, how_far(progress)))
            }
            // A person has seen the step that it is part of.
            Event::Payload { .. } => None,
            Event::Note(text) => Some(format!("{}: {}", self.step, harmless(text))),
            Event::Said { container, line } => Some(format!("  {} | {}", harmless(container), harmless(line))),
            Event::StepDone { summary, elapsed: took, .. } => {
                let summary = if summary.is_empty() { String::new() } else { format!(": {}", harmless(summary)) };
                Some(format!("{}: done in {}{summary}", self.step, elapsed(*took)))
            }
            Event::StepFailed { .. } => Some(format!("{}: failed", self.step)),
        }
    }
}

/// `copying table t, 40 % (1.2 GiB of 3.0 GiB)`.
fn how_far(progress: &Progress) -> String {
    let phase = harmless(&progress.phase);
    let phase = if phase.is_empty() { String::new() } else { format!("{phase}, ") };
    if progress.total == 0 {
        return format!("{phase}{}", amount(progress.unit, progress.done));
    }
    let percent = u128::from(progress.done.min(progress.total)) * 100 / u128::from(progress.total);
    format!("{phase}{percent} % ({} of {})", amount(progress.unit, progress.done), amount(progress.unit, progress.total))
}

#[cfg(test)]
mod tests {
    use dbmig_wire::Unit;

    use super::*;

    fn progress(done: u64, total: u64) -> Event {
        Event::Progress(Progress { phase: String::new(), done, total, unit: Unit::Bytes })
    }

    #[test]
    fn a_step_is_told_from_its_start_to_its_end() {
        let now = Instant::now();
        let mut lines = Lines::default();
        let events = [
            Event::StepStarted { index: 3, of: 9, title: "rebuild".into() },
            progress(0, 4 << 30), // At once: not worth a line.
            progress(1 << 30, 4 << 30),
            Event::Note("one\x1b row".into()),
            Event::Said { container: "migrate".into(), line: "Batch 1 run\x1b[2J".into() },
            Event::StepDone { title: "rebuild".into(), summary: "4.0 GiB".into(), elapsed: Duration::from_millis(2300) },
            Event::StepAlready { index: 4, of: 9, title: "verify".into() },
        ];
        let seconds = [0, 1, 6, 7, 7, 8, 9].map(Duration::from_secs);
        let told: Vec<_> = events.iter().zip(seconds).filter_map(|(event, after)| lines.line(event, now + after)).collect();
        assert_eq!(
            told,
            [
                "[3/9] rebuild",
                "[3/9] rebuild: 25 % (1.0 GiB of 4.0 GiB)",
                "[3/9] rebuild: one\\u{1b} row",
                "  migrate | Batch 1 run\\u{1b}[2J",
                "[3/9] rebuild: done in 2.3s: 4.0 GiB",
                "[4/9] verify: already done",
            ]
        );
    }

    #[test]
    fn progress_is_told_only_once_in_a_while() {
        let start = Instant::now();
        let mut lines = Lines::default();
        let told = [0, 1, 4, 5, 6, 10].map(|second| lines.line(&progress(1, 2), start + Duration::from_secs(second)).is_some());
        assert_eq!(told, [true, false, false, true, false, true]);
    }

    #[test]
    fn an_unknown_total_and_one_that_is_overshot_are_no_trouble() {
        let mut lines = Lines::default();
        assert_eq!(lines.line(&progress(512, 0), Instant::now()).as_deref(), Some(": 512 B"));
        assert_eq!(
            how_far(&Progress { phase: "copying".into(), done: 12, total: 10, unit: Unit::Rows }),
            "copying, 100 % (12 rows of 10 rows)"
        );
    }
}
