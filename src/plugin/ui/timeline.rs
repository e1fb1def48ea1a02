//! Logs and changes as lines: for people, with colours, and for programs. Knows the news, not where they come from.
//!
//! As JSON each line is an object with `apiVersion`, `kind` `TimelineEntry`, `time` (RFC 3339) and a `type`:
//!
//! | type | fields |
//! |---|---|
//! | `log` | `namespace`, `pod`, `container`, `message` |
//! | `log-opened`, `log-ended` | `namespace`, `pod`, `container`, `restarts`, and if it is over `ending` (`exitCode`, `reason`) |
//! | `log-gap` | `namespace`, `pod`, `container`, `text` |
//! | `change` | `object`, `text`, `bad` |
//! | `copy` | how far a pgcopydb is: the fields of `copies` in `status -o json` |
//! | `event` | `object`, `reason`, `message`, `count`, `warning`, `explains` |
//! | `note` | `text` |

use std::borrow::Cow;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use console::{Color, Style};
use jiff::Timestamp;
use regex::Regex;
use serde_json::json;

use super::human::{harmless, log_text};
use super::report::API_VERSION;
use crate::observe::{Heard, Line, News, Source};

/// Colours that are readable on light and dark, for pods and containers.
const COLOURS: [Color; 6] = [Color::Cyan, Color::Green, Color::Magenta, Color::Yellow, Color::Blue, Color::Red];

/// How lines are printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineFormat {
    /// For people: prefix, time if wanted, text made harmless for a terminal.
    Text,
    /// The bytes of the lines and nothing else.
    Raw,
    /// One object per line.
    Json,
    /// `{time}`, `{namespace}`, `{pod}`, `{container}` and `{message}` are replaced.
    Template(String),
}

/// What is printed of the news and how.
#[derive(Debug, Clone)]
pub struct TimelineStyle {
    /// How lines are printed.
    pub format: LineFormat,
    /// Colours are wanted.
    pub colour: bool,
    /// Stdout is a terminal, which foreign bytes must not reach as they are.
    pub terminal: bool,
    /// Pod and container stand in front of each line.
    pub prefix: bool,
    /// The namespace stands in front of that.
    pub namespaces: bool,
    /// The time stands in front of each line.
    pub timestamps: bool,
    /// Changes, events and notes are told too, not only lines of logs.
    pub changes: bool,
    /// Only lines that one of these matches; all if there is none.
    pub include: Vec<Regex>,
    /// Not lines that one of these matches.
    pub exclude: Vec<Regex>,
    /// Matches that are shown in colour.
    pub highlight: Vec<Regex>,
}

impl TimelineStyle {
    /// A line that is wanted.
    #[must_use]
    pub fn takes(&self, text: &str) -> bool {
        (self.include.is_empty() || self.include.iter().any(|wanted| wanted.is_match(text)))
            && !self.exclude.iter().any(|unwanted| unwanted.is_match(text))
    }

    /// Adds what is to be printed of `news` to `out`, each line ended.
    pub fn render(&self, news: &News, out: &mut Vec<u8>) {
        match (news, &self.format) {
            (News::Heard(Heard::Lines(source, lines)), _) => self.lines(source, lines, out),
            (_, LineFormat::Raw | LineFormat::Template(_)) => {}
            (_, LineFormat::Json) if self.changes => self.json(news, out),
            (_, LineFormat::Text) if self.changes => self.told(news, out),
            (_, LineFormat::Json | LineFormat::Text) => {}
        }
    }

    fn lines(&self, source: &Source, lines: &[Line], out: &mut Vec<u8>) {
        let filters = !self.include.is_empty() || !self.exclude.is_empty();
        let prefix = self.prefix_of(source);
        for line in lines {
            if filters && !self.takes(&String::from_utf8_lossy(&line.text)) {
                continue;
            }
            match &self.format {
                LineFormat::Raw => out.extend_from_slice(&line.text),
                LineFormat::Json => {
                    let fields = json!({"type": "log", "message": String::from_utf8_lossy(&line.text)});
                    push_json(out, line.time(), Some(source), fields);
                    continue;
                }
                LineFormat::Template(template) => out.extend_from_slice(filled(template, source, line).as_bytes()),
                LineFormat::Text => {
                    out.extend_from_slice(prefix.as_bytes());
                    if self.timestamps {
                        out.extend_from_slice(&line.stamp);
                        out.push(b' ');
                    }
                    self.text(line, out);
                }
            }
            out.push(b'\n');
        }
    }

    /// Into a pipe the bytes go as they are, as kubectl does it.
    fn text(&self, line: &Line, out: &mut Vec<u8>) {
        if !self.terminal && !self.colour {
            return out.extend_from_slice(&line.text);
        }
        let text = log_text(&line.text);
        out.extend_from_slice(self.highlighted(&text).as_bytes());
    }

    fn highlighted<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !self.colour {
            return Cow::Borrowed(text);
        }
        self.highlight.iter().fold(Cow::Borrowed(text), |text, wanted| {
            let shown = wanted.replace_all(&text, |found: &regex::Captures<'_>| {
                if found[0].is_empty() {
                    String::new()
                } else {
                    Style::new().red().bold().force_styling(true).apply_to(&found[0]).to_string()
                }
            });
            Cow::Owned(shown.into_owned())
        })
    }

    fn prefix_of(&self, source: &Source) -> String {
        if !self.prefix {
            return String::new();
        }
        let namespace = if self.namespaces { format!("{}/", source.namespace()) } else { String::new() };
        let name = format!("{namespace}{} › {}", source.pod(), source.container());
        format!("{} ", self.styled(&name, colour_of(source)))
    }

    fn styled(&self, text: &str, colour: Color) -> String {
        Style::new().fg(colour).force_styling(self.colour).apply_to(text).to_string()
    }

    /// Everything but lines, in words.
    fn told(&self, news: &News, out: &mut Vec<u8>) {
        let (mark, colour, text) = match news {
            News::Heard(Heard::Opened(source, instance)) if instance.restarts > 0 => {
                ("+", Color::Green, format!("{} › {}: start {}", source.pod(), source.container(), instance.restarts + 1))
            }
            News::Heard(Heard::Opened(source, _)) => ("+", Color::Green, format!("{} › {}", source.pod(), source.container())),
            News::Heard(Heard::Ended(source, instance)) => {
                let how = instance.ending.as_ref().map_or_else(|| "ended".to_owned(), ToString::to_string);
                ("-", Color::Red, format!("{} › {}: {how}", source.pod(), source.container()))
            }
            News::Heard(Heard::Gap(source, text)) => {
                ("!", Color::Red, format!("{} › {}: {text}", source.pod(), source.container()))
            }
            News::Changed(_, change) | News::Copied(_, _, Some(change)) => {
                ("*", if change.bad { Color::Red } else { Color::Cyan }, format!("{}: {}", change.object, change.text))
            }
            News::Happened(incident) => {
                let colour = if incident.warning { Color::Yellow } else { Color::Blue };
                ("*", colour, format!("{}: {}: {}", incident.object, incident.reason, incident.message))
            }
            News::Note(_, text) => ("!", Color::Yellow, text.clone()),
            News::Heard(Heard::Lines(..)) | News::Progressed | News::Measured | News::Copied(..) | News::Complete => return,
        };
        let line = self.styled(&format!("{mark} {}", harmless(&text)), colour);
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }

    fn json(&self, news: &News, out: &mut Vec<u8>) {
        match news {
            News::Heard(Heard::Opened(source, instance)) => {
                push_json(out, None, Some(source), json!({"type": "log-opened", "restarts": instance.restarts}));
            }
            News::Heard(Heard::Ended(source, instance)) => {
                let fields = json!({"type": "log-ended", "restarts": instance.restarts, "ending": instance.ending});
                push_json(out, None, Some(source), fields);
            }
            News::Heard(Heard::Gap(source, text)) => {
                push_json(out, None, Some(source), json!({"type": "log-gap", "text": text}));
            }
            News::Changed(at, change) => {
                let fields = json!({"type": "change", "object": change.object, "text": change.text, "bad": change.bad});
                push_json(out, Some(*at), None, fields);
            }
            News::Happened(incident) => {
                let fields = json!({"type": "event", "object": incident.object, "reason": incident.reason, "message": incident.message,
                    "count": incident.count, "warning": incident.warning, "explains": incident.explains});
                push_json(out, incident.last, None, fields);
            }
            News::Copied(at, row, _) => {
                let mut fields = json!(row);
                fields["type"] = "copy".into();
                push_json(out, Some(*at), None, fields);
            }
            News::Note(at, text) => push_json(out, Some(*at), None, json!({"type": "note", "text": text})),
            News::Heard(Heard::Lines(..)) | News::Progressed | News::Measured | News::Complete => {}
        }
    }
}

/// A colour that stays the same for a pod's container, however often it comes back.
#[must_use]
pub fn colour_of(source: &Source) -> Color {
    let mut hasher = DefaultHasher::new();
    (source.pod(), source.container()).hash(&mut hasher);
    COLOURS[(hasher.finish() % COLOURS.len() as u64) as usize]
}

fn push_json(out: &mut Vec<u8>, time: Option<Timestamp>, source: Option<&Source>, fields: serde_json::Value) {
    let mut object = serde_json::Map::new();
    object.insert("apiVersion".to_owned(), API_VERSION.into());
    object.insert("kind".to_owned(), "TimelineEntry".into());
    object.insert("time".to_owned(), time.unwrap_or_else(Timestamp::now).to_string().into());
    if let Some(source) = source {
        object.insert("namespace".to_owned(), source.namespace().into());
        object.insert("pod".to_owned(), source.pod().into());
        object.insert("container".to_owned(), source.container().into());
    }
    if let serde_json::Value::Object(fields) = fields {
        object.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
    }
    out.extend_from_slice(serde_json::Value::Object(object).to_string().as_bytes());
    out.push(b'\n');
}

fn filled(template: &str, source: &Source, line: &Line) -> String {
    let (stamp, text) = (String::from_utf8_lossy(&line.stamp), log_text(&line.text));
    let mut filled = String::with_capacity(template.len() + text.len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        let words: [(&str, &str); 5] = [
            ("{time}", &stamp),
            ("{namespace}", source.namespace()),
            ("{pod}", source.pod()),
            ("{container}", source.container()),
            ("{message}", &text),
        ];
        match words.into_iter().find(|(word, _)| rest.starts_with(word)) {
            Some((word, value)) => {
                filled.push_str(value);
                rest = &rest[word.len()..];
            }
            None => {
                let _ = filled.write_char('{');
                rest = &rest[1..];
            }
        }
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::observe::{Change, Role};

    fn style(format: LineFormat) -> TimelineStyle {
        TimelineStyle {
            format,
            colour: false,
            terminal: true,
            prefix: true,
            namespaces: false,
            timestamps: false,
            changes: true,
            include: Vec::new(),
            exclude: Vec::new(),
            highlight: Vec::new(),
        }
    }

    fn source() -> Source {
        let pod = json!({"metadata": {"name": "db-0", "namespace": "shop", "uid": "u"}});
        Source::new(&serde_json::from_value(pod).unwrap(), "main", Role::Main)
    }

    fn said(text: &'static [u8]) -> News {
        let stamp = Bytes::from_static(b"2026-11-21T14:40:00.5Z");
        News::Heard(Heard::Lines(source(), vec![Line { stamp, text: Bytes::from_static(text) }]))
    }

    fn shown(style: &TimelineStyle, news: &News) -> String {
        let mut out = Vec::new();
        style.render(news, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_shown_in_every_format() {
        let news = said(b"a \x1b[31mred\x1b[0m\xff\x07 one");
        assert_eq!(shown(&style(LineFormat::Text), &news), "db-0 › main a red\u{fffd}\\u{7} one\n");
        let template = LineFormat::Template("{time} {pod}:{x} {message}".to_owned());
        assert_eq!(shown(&style(template), &said(b"{pod}")), "2026-11-21T14:40:00.5Z db-0:{x} {pod}\n");
        let object: serde_json::Value = serde_json::from_str(&shown(&style(LineFormat::Json), &said(b"x"))).unwrap();
        assert_eq!(object["time"], "2026-11-21T14:40:00.5Z");
        assert_eq!((&object["type"], &object["pod"], &object["message"]), (&json!("log"), &json!("db-0"), &json!("x")));
        let mut out = Vec::new();
        style(LineFormat::Raw).render(&news, &mut out);
        assert_eq!(out, b"a \x1b[31mred\x1b[0m\xff\x07 one\n");
    }

    #[test]
    fn lines_are_taken_and_left_out_and_lit_up() {
        let mut style = style(LineFormat::Text);
        style.prefix = false;
        style.include = vec![Regex::new("err").unwrap()];
        style.exclude = vec![Regex::new("fine").unwrap()];
        assert_eq!(shown(&style, &said(b"an error")), "an error\n");
        assert_eq!(shown(&style, &said(b"an error, but fine")), "");
        style.colour = true;
        style.highlight = vec![Regex::new("err").unwrap()];
        assert_eq!(shown(&style, &said(b"an error")), "an \u{1b}[31m\u{1b}[1merr\u{1b}[0mor\n");
    }

    #[test]
    fn changes_are_told_between_lines_unless_only_lines_are_wanted() {
        let change =
            News::Changed(Timestamp::UNIX_EPOCH, Change { object: "pod/db-0".into(), text: "0/1 Error".into(), bad: true });
        assert_eq!(shown(&style(LineFormat::Text), &change), "* pod/db-0: 0/1 Error\n");
        assert_eq!(shown(&style(LineFormat::Raw), &change), "");
        let json = r#"{"apiVersion":"dbmig.dev/v1alpha1","kind":"TimelineEntry","time":"1970-01-01T00:00:00Z","type":"change","object":"pod/db-0","text":"0/1 Error","bad":true}"#;
        let object: serde_json::Value = serde_json::from_str(&shown(&style(LineFormat::Json), &change)).unwrap();
        assert_eq!(object, serde_json::from_str::<serde_json::Value>(json).unwrap());
    }
}
