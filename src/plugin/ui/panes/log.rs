//! The lines of the log pane: kept up to a limit, filtered, searched and scrolled. Pure; draws nothing.

use std::collections::VecDeque;

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use regex::Regex;
use unicode_width::UnicodeWidthChar as _;

/// Lines and bytes that are kept; the oldest go first.
const KEPT: (usize, usize) = (50_000, 24 << 20);
/// Rows that one wrapped line may take, so that a line of a megabyte does not fill the screen for ever.
const MOST_ROWS: usize = 40;
/// Characters of a line that are kept for the screen; `logs` prints all of it.
const LONGEST: usize = 16 << 10;

/// One line of the pane.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Who said it: `upmeter-0 › upmeter`; empty for changes and events.
    pub(super) who: String,
    /// Colour of that, or of the whole line for changes and events.
    pub(super) colour: Color,
    /// `14:40:00`.
    pub(super) time: String,
    /// What was said, fit for a terminal.
    pub(super) text: String,
}

impl Entry {
    fn size(&self) -> usize {
        self.who.len() + self.text.len() + self.time.len() + size_of::<Self>()
    }
}

/// All lines that are kept, and what is shown of them.
#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Number of the first entry that is kept: numbers stay while entries go.
    first: u64,
    /// Number after the lowest entry shown; `None` follows the newest.
    pub(super) bottom: Option<u64>,
    pub(super) filter: Option<Regex>,
    pub(super) search: Option<Regex>,
    pub(super) wrap: bool,
    pub(super) times: bool,
    /// Columns that the text is shifted to the left, when it is not wrapped.
    pub(super) shift: usize,
}

impl Log {
    pub(super) fn push(&mut self, mut entry: Entry) {
        if let Some((cut, _)) = entry.text.char_indices().nth(LONGEST) {
            entry.text.truncate(cut);
            entry.text.push('…');
        }
        self.bytes += entry.size();
        self.entries.push_back(entry);
        while self.entries.len() > KEPT.0 || self.bytes > KEPT.1 {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.size();
            self.first += 1;
        }
    }

    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn get(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn shown(&self, number: u64) -> bool {
        let text = self.get(number).map(|entry| (&entry.text, &entry.who));
        text.is_some_and(|(text, who)| self.filter.as_ref().is_none_or(|wanted| wanted.is_match(text) || wanted.is_match(who)))
    }

    /// How many lines have come below the lowest one shown.
    pub(super) fn below(&self) -> u64 {
        self.bottom.map_or(0, |bottom| self.end().saturating_sub(bottom.max(self.first)))
    }

    /// Goes up (negative) or down by shown lines. Going below the newest follows it again.
    pub(super) fn scroll(&mut self, by: i64) {
        let mut at = self.bottom.unwrap_or_else(|| self.end()).clamp(self.first, self.end());
        for _ in 0..by.unsigned_abs() {
            let next = if by < 0 {
                (self.first..at.saturating_sub(1)).rev().find(|number| self.shown(*number)).map(|number| number + 1)
            } else {
                (at..self.end()).find(|number| self.shown(*number)).map(|number| number + 1)
            };
            let Some(next) = next else {
                if by > 0 {
                    self.bottom = None;
                    return;
                }
                break;
            };
            at = next;
        }
        self.bottom = (at < self.end()).then_some(at);
    }

    /// Stays where it is, or follows the newest line again.
    pub(super) fn pause(&mut self) {
        self.bottom = match self.bottom {
            Some(_) => None,
            None => Some(self.end()),
        };
    }

    /// To the oldest line that is kept.
    pub(super) fn top(&mut self, rows: usize) {
        let shown: Vec<u64> = (self.first..self.end()).filter(|number| self.shown(*number)).take(rows).collect();
        self.bottom = shown.last().map(|last| last + 1);
    }

    /// To the next place above (or below) where the search matches.
    pub(super) fn find(&mut self, up: bool) -> bool {
        let Some(wanted) = self.search.clone() else { return false };
        let at = self.bottom.unwrap_or_else(|| self.end()).clamp(self.first, self.end());
        let matches = |number: &u64| self.shown(*number) && self.get(*number).is_some_and(|entry| wanted.is_match(&entry.text));
        let found = if up { (self.first..at.saturating_sub(1)).rev().find(matches) } else { (at..self.end()).find(matches) };
        self.bottom = found.map(|number| number + 1).or(self.bottom);
        found.is_some()
    }

    /// The rows to draw, oldest first, filling `height` rows of `width` columns from below.
    pub(super) fn rows(&self, width: usize, height: usize) -> Vec<Line<'static>> {
        let end = self.bottom.unwrap_or_else(|| self.end()).clamp(self.first, self.end());
        let mut rows: VecDeque<Line<'static>> = VecDeque::new();
        for number in (self.first..end).rev() {
            if rows.len() >= height {
                break;
            }
            if !self.shown(number) {
                continue;
            }
            let Some(entry) = self.get(number) else { break };
            for row in self.laid_out(entry, width).into_iter().rev() {
                rows.push_front(row);
            }
        }
        while rows.len() > height {
            rows.pop_front();
        }
        rows.into()
    }

    fn laid_out(&self, entry: &Entry, width: usize) -> Vec<Line<'static>> {
        let mut head = Vec::new();
        if self.times {
            head.push(Span::styled(format!("{} ", entry.time), Style::new().add_modifier(Modifier::DIM)));
        }
        let own = Style::new().fg(entry.colour);
        if !entry.who.is_empty() {
            head.push(Span::styled(format!("{} ", entry.who), own));
        }
        let style = if entry.who.is_empty() { own } else { Style::new() };
        let taken = head.iter().map(Span::width).sum::<usize>();
        let room = width.saturating_sub(taken).max(8);
        let mut pieces = pieces(&entry.text, room, if self.wrap { 0 } else { self.shift });
        pieces.truncate(if self.wrap { MOST_ROWS } else { 1 });
        let indent = " ".repeat(taken.min(width.saturating_sub(room)));
        let rows = pieces.into_iter().enumerate().map(|(index, piece)| {
            let mut spans = if index == 0 { head.clone() } else { vec![Span::raw(indent.clone())] };
            spans.extend(self.lit(&piece, style));
            Line::from(spans)
        });
        rows.collect()
    }

    /// What the search matches stands out.
    fn lit(&self, text: &str, style: Style) -> Vec<Span<'static>> {
        let Some(wanted) = &self.search else { return vec![Span::styled(text.to_owned(), style)] };
        let mut spans = Vec::new();
        let mut at = 0;
        for found in wanted.find_iter(text).filter(|found| !found.is_empty()) {
            spans.push(Span::styled(text[at..found.start()].to_owned(), style));
            spans.push(Span::styled(found.as_str().to_owned(), style.add_modifier(Modifier::REVERSED)));
            at = found.end();
        }
        spans.push(Span::styled(text[at..].to_owned(), style));
        spans
    }
}

/// A text cut into pieces of a width, after leaving out the first `shift` columns.
fn pieces(text: &str, width: usize, shift: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let (mut column, mut used) = (0, 0);
    for character in text.chars() {
        let (shown, wide) =
            if character == '\t' { ("    ".to_owned(), 4) } else { (character.to_string(), character.width().unwrap_or(0)) };
        column += wide;
        if column <= shift {
            continue;
        }
        if used + wide > width {
            pieces.push(String::new());
            used = 0;
        }
        if let Some(last) = pieces.last_mut() {
            last.push_str(&shown);
        }
        used += wide;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: usize) -> Log {
        let mut log = Log::default();
        for number in 0..lines {
            log.push(Entry { who: "a".into(), colour: Color::Cyan, time: String::new(), text: format!("line {number}") });
        }
        log
    }

    fn last(log: &Log) -> String {
        log.rows(40, 3).last().map(ToString::to_string).unwrap_or_default()
    }

    #[test]
    fn it_follows_until_someone_scrolls_and_again_at_the_end() {
        let mut log = log(100);
        assert_eq!(last(&log), "a line 99");
        log.scroll(-10);
        assert_eq!((last(&log).as_str(), log.below()), ("a line 89", 10));
        log.push(Entry { who: "a".into(), colour: Color::Cyan, time: String::new(), text: "new".into() });
        assert_eq!((last(&log).as_str(), log.below()), ("a line 89", 11));
        log.scroll(100);
        assert_eq!((last(&log).as_str(), log.bottom), ("a new", None));
        log.top(3);
        assert_eq!(last(&log), "a line 2");
        log.scroll(-5);
        assert_eq!(last(&log), "a line 0");
    }

    #[test]
    fn a_filter_hides_and_a_search_finds() {
        let mut log = log(100);
        log.filter = Some(Regex::new("5$").unwrap());
        assert_eq!(log.rows(40, 3).iter().map(ToString::to_string).collect::<Vec<_>>(), ["a line 75", "a line 85", "a line 95"]);
        log.search = Some(Regex::new("line 4").unwrap());
        assert!(log.find(true));
        assert_eq!(last(&log), "a line 45");
        assert!(!log.find(true));
        log.filter = None;
        assert!(log.find(true));
        assert_eq!(last(&log), "a line 44");
        assert!(log.find(false));
        assert_eq!(last(&log), "a line 45");
    }

    #[test]
    fn what_is_kept_is_limited_and_what_is_shown_stays() {
        let mut log = log(KEPT.0);
        log.pause();
        let before = last(&log);
        for _ in 0..100 {
            log.push(Entry { who: String::new(), colour: Color::Reset, time: String::new(), text: "x".into() });
        }
        assert_eq!((last(&log), log.entries.len()), (before, KEPT.0));
    }

    #[test]
    fn long_lines_are_cut_or_wrapped() {
        let mut log = Log::default();
        log.push(Entry { who: String::new(), colour: Color::Reset, time: String::new(), text: "ab日本語\tcd".into() });
        assert_eq!(log.rows(8, 5).iter().map(ToString::to_string).collect::<Vec<_>>(), ["ab日本語"]);
        log.shift = 2;
        assert_eq!(log.rows(8, 5).iter().map(ToString::to_string).collect::<Vec<_>>(), ["日本語"]);
        log.wrap = true;
        assert_eq!(log.rows(8, 5).iter().map(ToString::to_string).collect::<Vec<_>>(), ["ab日本語", "    cd"]);
    }
}
