//! Progress on a terminal: finished steps stay as lines, the one that runs has a bar with rate and remaining time.

use std::fmt::Write;
use std::time::Duration;

use console::{Color, Style};
use dbmig_wire::{Progress, Unit};
use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::human::{amount, elapsed, harmless};
use crate::event::Event;

/// A step that has not told yet how far it is.
const SPINNER: &str = "{spinner} {prefix} {elapsed}";
/// A step that counts towards an unknown end.
const COUNTER: &str = "{spinner} {prefix}: {msg} {done} {rate}/s";
/// A step that knows its end.
const BAR: &str = "{spinner} {prefix}: {msg} {bar:24} {done} of {all} {rate}/s eta {eta}";

/// The bar of the step that runs.
pub(super) struct Bars {
    bars: MultiProgress,
    colour: bool,
    step: String,
    current: Option<ProgressBar>,
    counting: Option<(String, Unit)>,
}

impl Bars {
    pub(super) fn new(bars: MultiProgress, colour: bool) -> Self {
        Self { bars, colour, step: String::new(), current: None, counting: None }
    }

    /// Moves the bar as the event says; returns the line that stays above it, if there is one.
    pub(super) fn show(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::StepStarted { index, of, title } => {
                self.start(format!("[{index}/{of}] {}", harmless(title)));
                None
            }
            Event::StepAlready { index, of, title } => {
                Some(format!("{} [{index}/{of}] {} (already done)", self.mark("✓", Color::Green), harmless(title)))
            }
            Event::Progress(progress) => {
                self.advance(progress);
                None
            }
            // A person has seen the step that it is part of.
            Event::Payload { .. } => None,
            Event::Note(text) => Some(format!("  {}", harmless(text))),
            Event::Said { container, line } => Some(format!("  {} | {}", harmless(container), harmless(line))),
            Event::StepDone { summary, elapsed: took, .. } => {
                self.end();
                let summary = if summary.is_empty() { String::new() } else { format!("  {}", harmless(summary)) };
                Some(format!("{} {}{summary}  {}", self.mark("✓", Color::Green), self.step, elapsed(*took)))
            }
            Event::StepFailed { .. } => {
                self.end();
                Some(format!("{} {}", self.mark("✗", Color::Red), self.step))
            }
        }
    }

    /// Takes the bar away, whatever state the step is in.
    pub(super) fn end(&mut self) {
        self.counting = None;
        if let Some(bar) = self.current.take() {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
    }

    fn start(&mut self, step: String) {
        self.end();
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(style(SPINNER));
        bar.set_prefix(step.clone());
        bar.enable_steady_tick(Duration::from_millis(120));
        self.step = step;
        self.current = Some(bar);
    }

    fn advance(&mut self, progress: &Progress) {
        let Some(bar) = &self.current else { return };
        let counting = (progress.phase.clone(), progress.unit);
        if self.counting.as_ref() != Some(&counting) {
            bar.reset();
            bar.set_style(counter(progress));
            bar.set_message(harmless(&progress.phase).into_owned());
            self.counting = Some(counting);
        }
        if progress.total > 0 {
            bar.set_length(progress.total);
        }
        bar.set_position(progress.done);
    }

    fn mark(&self, mark: &str, colour: Color) -> String {
        Style::new().for_stderr().fg(colour).force_styling(self.colour).apply_to(mark).to_string()
    }
}

/// A bar that counts in the unit's own words, or just the count when nobody knows how much there is.
fn counter(progress: &Progress) -> ProgressStyle {
    let unit = progress.unit;
    let template = if progress.total == 0 { COUNTER } else { BAR };
    style(template)
        .with_key("done", move |state: &ProgressState, text: &mut dyn Write| tell(text, &amount(unit, state.pos())))
        .with_key("all", move |state: &ProgressState, text: &mut dyn Write| tell(text, &amount(unit, state.len().unwrap_or(0))))
        .with_key("rate", move |state: &ProgressState, text: &mut dyn Write| tell(text, &amount(unit, state.per_sec() as u64)))
}

fn tell(text: &mut dyn Write, amount: &str) {
    // The library gives a string, which always has room.
    let _ = text.write_str(amount);
}

/// The templates are constants of this file, and a test parses each; one that does not parse would show as the plain style.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use indicatif::ProgressDrawTarget;

    use super::*;

    #[test]
    fn every_template_is_one_that_the_library_understands() {
        for template in [SPINNER, COUNTER, BAR] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn finished_steps_stay_as_lines_and_foreign_text_is_harmless() {
        let mut bars = Bars::new(MultiProgress::with_draw_target(ProgressDrawTarget::hidden()), false);
        let events = [
            Event::StepStarted { index: 1, of: 2, title: "rebuild".into() },
            Event::Progress(Progress { phase: "copying".into(), done: 1, total: 2, unit: Unit::Rows }),
            Event::Note("a\x1b[2Jnote".into()),
            Event::StepDone { title: "rebuild".into(), summary: "9 rows".into(), elapsed: Duration::from_secs(3) },
            Event::StepAlready { index: 2, of: 2, title: "verify".into() },
            Event::StepStarted { index: 2, of: 2, title: "swap".into() },
            Event::StepFailed { title: "swap".into() },
        ];
        let lines: Vec<_> = events.iter().filter_map(|event| bars.show(event)).collect();
        let expected = ["  a\\u{1b}[2Jnote", "✓ [1/2] rebuild  9 rows  3.0s", "✓ [2/2] verify (already done)", "✗ [2/2] swap"];
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_bar_follows_the_phase_that_is_told() {
        let mut bars = Bars::new(MultiProgress::with_draw_target(ProgressDrawTarget::hidden()), false);
        bars.show(&Event::StepStarted { index: 1, of: 1, title: "rebuild".into() });
        for (phase, done) in [("copying a", 7), ("copying a", 9), ("copying b", 2)] {
            bars.show(&Event::Progress(Progress { phase: phase.into(), done, total: 10, unit: Unit::Rows }));
            let bar = bars.current.as_ref().expect("a step runs");
            assert_eq!((bar.message().as_str(), bar.position(), bar.length()), (phase, done, Some(10)));
        }
        bars.end();
        assert!(bars.current.is_none());
    }
}
