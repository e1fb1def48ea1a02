//! The only place that prints or asks. Data goes to stdout, everything else to stderr. Knows none of the work.

mod draw;
pub mod human;
mod lines;
mod panes;
mod progress;
mod prompt;
mod report;
mod screen;
mod stream;
mod table;
mod timeline;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use console::{Color, Style};

use self::human::harmless;
pub use self::panes::{Asked, FullScreen, Panes, Picture, Progress};
use self::report::Json;
pub use self::report::{API_VERSION, Format, Report};
use self::screen::Screen;
pub use self::screen::Terminals;
pub use self::table::{NONE, Table};
pub use self::timeline::{LineFormat, TimelineStyle, colour_of};
use crate::failure::{Failure, Result};

/// Everything a command may say to a person or a script. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ui {
    screen: Screen,
    format: Format,
    head: bool,
    /// A stream of JSON lines has begun, so that the final report is one line too.
    streaming: Arc<AtomicBool>,
}

impl Ui {
    /// A screen for results in `format`; `no_headers` leaves out the table's head.
    #[must_use]
    pub fn new(terminals: Terminals, format: Format, no_headers: bool) -> Self {
        Self { screen: Screen::new(terminals), format, head: !no_headers, streaming: Arc::default() }
    }

    /// How results are shown.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The result is for a program, so that words would only be in the way.
    #[must_use]
    pub fn is_machine(&self) -> bool {
        !matches!(self.format, Format::Table | Format::Wide)
    }

    /// Prints a result to stdout.
    ///
    /// # Errors
    /// Stdout takes no more. A reader that went away is none.
    pub fn print<R: Report>(&self, report: &R) -> Result<()> {
        let json = if self.streaming.load(Ordering::Relaxed) { Json::Line } else { Json::Alone };
        self.screen.data(report::rendered(report, self.format, self.head, json)?.as_bytes())
    }

    /// Prints text as it is to stdout: help, a completion script.
    ///
    /// # Errors
    /// As [`Ui::print`].
    pub fn print_text(&self, text: &str) -> Result<()> {
        self.screen.data(text.as_bytes())
    }

    /// Prints bytes as they are to stdout: lines of logs.
    ///
    /// # Errors
    /// As [`Ui::print`].
    pub fn print_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.screen.data(bytes)
    }

    /// Whoever read stdout has gone away.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.screen.is_unread()
    }

    /// What the streams are connected to.
    #[must_use]
    pub fn terminals(&self) -> Terminals {
        self.screen.terminals
    }

    /// Tells something, on stderr. Foreign text in it must have gone through [`human::harmless`].
    pub fn say(&self, line: &str) {
        self.screen.talk(line);
    }

    /// Warns, on stderr.
    pub fn warn(&self, line: &str) {
        self.screen.talk(&format!("{} {}", self.styled("warning:", Color::Yellow), harmless(line)));
    }

    /// Names a thing to do, on stderr.
    pub fn hint(&self, line: &str) {
        self.screen.talk(&format!("{} {}", self.styled("hint:", Color::Cyan), harmless(line)));
    }

    /// Shows a failure: what was seen, what was left as it is, and what to type next.
    pub fn fail(&self, failure: &Failure) {
        self.screen.talk(&self.laid_out(failure));
    }

    fn laid_out(&self, failure: &Failure) -> String {
        let mut lines = vec![format!("{} {}", self.styled("error:", Color::Red), harmless(&failure.message))];
        let facts = failure.facts.iter().flat_map(|fact| fact.lines());
        lines.extend(facts.map(|fact| format!("  {}", harmless(fact))));
        lines.extend(failure.state.iter().map(|state| harmless(state).into_owned()));
        let heads = std::iter::once("next:").chain(std::iter::repeat("     "));
        if !failure.next.is_empty() {
            lines.push(String::new());
        }
        lines.extend(
            failure.next.iter().zip(heads).map(|(next, head)| format!("{} {}", self.styled(head, Color::Cyan), harmless(next))),
        );
        lines.join("\n")
    }

    /// Shows what clap has to say about a wrong command line, laid out by clap.
    pub fn fail_usage(&self, error: &clap::Error) {
        let text = error.render();
        let text = if self.screen.terminals.colour { text.ansi().to_string() } else { text.to_string() };
        self.screen.part(&text);
    }

    fn styled(&self, text: &str, colour: Color) -> String {
        Style::new().for_stderr().fg(colour).bold().force_styling(self.screen.terminals.colour).apply_to(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_was_seen_what_was_left_and_what_to_type() {
        let ui = Ui::new(Terminals::default(), Format::Table, false);
        let failure =
            Failure::failed("pod x/y\x1b[2J is gone").fact("first line\nsecond line").fact("third").state("nothing was changed");
        let shown = "error: pod x/y\\u{1b}[2J is gone\n  first line\n  second line\n  third\nnothing was changed";
        assert_eq!(ui.laid_out(&failure), shown);
        let commands = "\n\nnext: kubectl dbmig resume\n      kubectl dbmig undo";
        assert_eq!(ui.laid_out(&failure.next("kubectl dbmig resume").next("kubectl dbmig undo")), format!("{shown}{commands}"));
    }

    #[test]
    fn words_are_coloured_only_where_colours_are_wanted() {
        let ui = Ui::new(Terminals { colour: true, ..Terminals::default() }, Format::Table, false);
        assert_eq!(ui.laid_out(&Failure::failed("no")), "\u{1b}[31m\u{1b}[1merror:\u{1b}[0m no");
    }
}
