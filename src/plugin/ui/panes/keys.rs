//! What keys mean. Pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Leave.
    Quit,
    /// Lines up (negative) or down.
    Scroll(i64),
    /// Pages up (negative) or down.
    Page(i64),
    /// Columns to the left (negative) or right.
    Shift(i64),
    /// To the oldest line.
    Top,
    /// To the newest line, and follow it.
    End,
    /// Hold still, or follow again.
    Pause,
    /// Wrap long lines, or not.
    Wrap,
    /// Show times, or not.
    Times,
    /// Show the log pane, or not.
    Log,
    /// Show the pane of states, or not.
    States,
    /// Show events, or not.
    Events,
    /// Type a search.
    Search,
    /// Type a filter.
    Filter,
    /// The next match above.
    Above,
    /// The next match below.
    Below,
    /// Show the keys, or not.
    Help,
}

/// The keys, for the help: key, meaning.
pub(super) const KEYS: [(&str, &str); 14] = [
    ("q Ctrl-C", "quit"),
    ("↑ ↓ k j", "scroll by a line"),
    ("PgUp PgDn", "scroll by a page"),
    ("g G Home End", "oldest line, newest line"),
    ("← →", "move long lines"),
    ("space", "hold still, follow again"),
    ("/ n N", "search, next above, next below"),
    ("f &", "show only lines that match"),
    ("w", "wrap long lines"),
    ("t", "show times"),
    ("l", "log pane on and off"),
    ("s", "states on and off"),
    ("e", "events on and off"),
    ("? h", "this help"),
];

/// Understands a key; `None` if it means nothing.
pub(super) fn asked(key: KeyEvent) -> Option<Asked> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Some(Asked::Quit),
            KeyCode::Char('u' | 'b') => Some(Asked::Page(-1)),
            KeyCode::Char('f') => Some(Asked::Page(1)),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char('q') => Asked::Quit,
        KeyCode::Up | KeyCode::Char('k') => Asked::Scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => Asked::Scroll(1),
        KeyCode::PageUp => Asked::Page(-1),
        KeyCode::PageDown => Asked::Page(1),
        KeyCode::Left => Asked::Shift(-8),
        KeyCode::Right => Asked::Shift(8),
        KeyCode::Home | KeyCode::Char('g') => Asked::Top,
        KeyCode::End | KeyCode::Char('G') => Asked::End,
        KeyCode::Char(' ' | 'p') => Asked::Pause,
        KeyCode::Char('w') => Asked::Wrap,
        KeyCode::Char('t') => Asked::Times,
        KeyCode::Char('l') => Asked::Log,
        KeyCode::Char('s') => Asked::States,
        KeyCode::Char('e') => Asked::Events,
        KeyCode::Char('/') => Asked::Search,
        KeyCode::Char('f' | '&') => Asked::Filter,
        KeyCode::Char('n') => Asked::Above,
        KeyCode::Char('N') => Asked::Below,
        KeyCode::Char('?' | 'h') => Asked::Help,
        _ => return None,
    })
}
