//! The whole screen: where each pane goes, and what is typed at its foot.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};
use regex::Regex;

use super::keys::{Asked, KEYS, asked};
use super::log::{Entry, Log};
use super::states::Picture;

/// From this width on the panes stand side by side.
const SIDE_BY_SIDE: u16 = 110;

/// A line that is being typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Typing {
    Search,
    Filter,
}

/// The view and what its user has chosen to see.
#[derive(Debug)]
pub struct Panes {
    log: Log,
    picture: Option<Picture>,
    shows_log: bool,
    shows_states: bool,
    shows_events: bool,
    shows_help: bool,
    typing: Option<(Typing, String)>,
    said: String,
    page: usize,
}

impl Default for Panes {
    fn default() -> Self {
        Self {
            log: Log::default(),
            picture: None,
            shows_log: true,
            shows_states: true,
            shows_events: true,
            shows_help: false,
            typing: None,
            said: String::new(),
            page: 10,
        }
    }
}

impl Panes {
    /// Adds a line of a log.
    pub fn line(&mut self, who: String, colour: Color, time: String, text: String) {
        self.log.push(Entry { who, colour, time, text });
    }

    /// Adds a change or an event.
    pub fn change(&mut self, colour: Color, time: String, text: String) {
        self.log.push(Entry { who: String::new(), colour, time, text });
    }

    /// Shows these states from now on.
    pub fn picture(&mut self, picture: Picture) {
        self.picture = Some(picture);
    }

    /// Takes a key; `true` if the user wants to leave.
    pub fn key(&mut self, key: KeyEvent) -> bool {
        if self.typing.is_some() {
            return self.typed(key);
        }
        self.said.clear();
        let Some(wanted) = asked(key) else { return false };
        match wanted {
            Asked::Quit => return true,
            Asked::Scroll(by) => self.log.scroll(by),
            Asked::Page(by) => self.log.scroll(by * self.page as i64),
            Asked::Shift(by) => self.log.shift = self.log.shift.saturating_add_signed(by as isize),
            Asked::Top => self.log.top(self.page),
            Asked::End => self.log.bottom = None,
            Asked::Pause => self.log.pause(),
            Asked::Wrap => self.log.wrap = !self.log.wrap,
            Asked::Times => self.log.times = !self.log.times,
            Asked::Log => {
                self.shows_log = !self.shows_log;
                self.shows_states |= !self.shows_log;
            }
            Asked::States => {
                self.shows_states = !self.shows_states;
                self.shows_log |= !self.shows_states;
            }
            Asked::Events => self.shows_events = !self.shows_events,
            Asked::Search => self.typing = Some((Typing::Search, String::new())),
            Asked::Filter => self.typing = Some((Typing::Filter, String::new())),
            Asked::Above => self.find(true),
            Asked::Below => self.find(false),
            Asked::Help => self.shows_help = !self.shows_help,
        }
        false
    }

    fn find(&mut self, up: bool) {
        if !self.log.find(up) {
            self.said = "no match".to_owned();
        }
    }

    fn typed(&mut self, key: KeyEvent) -> bool {
        let Some((what, text)) = &mut self.typing else { return false };
        match key.code {
            _ if key.kind == KeyEventKind::Release => {}
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => self.typing = None,
            KeyCode::Esc => self.typing = None,
            KeyCode::Backspace => {
                text.pop();
            }
            KeyCode::Char(character) => text.push(character),
            KeyCode::Enter => {
                let (what, text) = (*what, std::mem::take(text));
                self.typing = None;
                self.apply(what, &text);
            }
            _ => {}
        }
        false
    }

    /// An empty text takes search or filter away; one that is no regular expression is taken literally.
    fn apply(&mut self, what: Typing, text: &str) {
        let literal = || Regex::new(&regex::escape(text)).ok();
        let wanted = if text.is_empty() { None } else { Regex::new(&format!("(?i){text}")).ok().or_else(literal) };
        match what {
            Typing::Search => {
                self.log.search = wanted;
                if self.log.search.is_some() {
                    self.find(true);
                }
            }
            Typing::Filter => self.log.filter = wanted,
        }
    }

    /// Draws everything.
    pub fn draw(&mut self, frame: &mut Frame<'_>, now: Timestamp) {
        let [head, body, foot] =
            Layout::vertical([Constraint::Length(2), Constraint::Min(3), Constraint::Length(1)]).areas(frame.area());
        self.head(frame, head);
        let (log, states) = self.areas(body);
        if let Some(area) = states {
            self.states(frame, area, now);
        }
        if let Some(area) = log {
            self.log_pane(frame, area);
        }
        frame.render_widget(self.foot(), foot);
        if self.shows_help {
            help(frame, body);
        }
    }

    fn areas(&self, body: Rect) -> (Option<Rect>, Option<Rect>) {
        match (self.shows_log, self.shows_states) {
            (true, false) => (Some(body), None),
            (false, _) => (None, Some(body)),
            (true, true) if body.width >= SIDE_BY_SIDE => {
                let [log, states] = Layout::horizontal([Constraint::Percentage(55), Constraint::Percentage(45)]).areas(body);
                (Some(log), Some(states))
            }
            (true, true) => {
                let rows =
                    self.picture.as_ref().map_or(3, |picture| picture.rows(Timestamp::UNIX_EPOCH, self.shows_events).len() + 1);
                let most = body.height / 2;
                let height = u16::try_from(rows).unwrap_or(most).clamp(3.min(most), most);
                let [states, log] = Layout::vertical([Constraint::Length(height), Constraint::Min(3)]).areas(body);
                (Some(log), Some(states))
            }
        }
    }

    fn head(&self, frame: &mut Frame<'_>, area: Rect) {
        let text = match &self.picture {
            Some(picture) => Text::from(vec![picture.headline()]),
            None => Text::raw("looking …"),
        };
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }), area);
    }

    fn states(&self, frame: &mut Frame<'_>, area: Rect, now: Timestamp) {
        let title = self.picture.as_ref().map_or_else(String::new, |picture| picture.title.clone());
        let block = Block::new().borders(ratatui::widgets::Borders::TOP).title(Span::styled(format!(" {title} "), bold()));
        let rows = self.picture.as_ref().map(|picture| picture.rows(now, self.shows_events)).unwrap_or_default();
        frame.render_widget(Paragraph::new(rows).block(block), area);
    }

    fn log_pane(&mut self, frame: &mut Frame<'_>, area: Rect) {
        let mut title = vec![Span::styled(" logs ", bold())];
        if let Some(filter) = &self.log.filter {
            title.push(Span::styled(
                format!("only {} ", filter.as_str().trim_start_matches("(?i)")),
                Style::new().fg(Color::Yellow),
            ));
        }
        if self.log.bottom.is_some() {
            title.push(Span::styled(format!("holding still, {} newer ", self.log.below()), Style::new().fg(Color::Yellow)));
        }
        let block = Block::new().borders(ratatui::widgets::Borders::TOP).title(Line::from(title));
        let inner = block.inner(area);
        self.page = usize::from(inner.height).max(1);
        // One column stays free between the panes.
        let rows = self.log.rows(usize::from(inner.width.saturating_sub(1)), usize::from(inner.height));
        frame.render_widget(block, area);
        frame.render_widget(Paragraph::new(rows), inner);
    }

    fn foot(&self) -> Line<'static> {
        let dim = Style::new().add_modifier(Modifier::DIM);
        match &self.typing {
            Some((Typing::Search, text)) => Line::raw(format!("/{text}▏")),
            Some((Typing::Filter, text)) => Line::raw(format!("only lines that match: {text}▏")),
            None if !self.said.is_empty() => Line::raw(self.said.clone()),
            None => Line::styled("q quit  space hold  / search  f filter  w wrap  t times  l s e panes  ? help", dim),
        }
    }
}

fn bold() -> Style {
    Style::new().add_modifier(Modifier::BOLD)
}

fn help(frame: &mut Frame<'_>, body: Rect) {
    let (width, height) = (50.min(body.width), (KEYS.len() as u16 + 2).min(body.height));
    let area = Rect { x: body.x + (body.width - width) / 2, y: body.y + (body.height - height) / 2, width, height };
    let rows: Vec<Line<'_>> = KEYS
        .iter()
        .map(|(key, meaning)| Line::from(vec![Span::styled(format!(" {key:14}"), bold()), Span::raw(*meaning)]))
        .collect();
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(rows).block(Block::bordered().title(" keys ")), area);
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
