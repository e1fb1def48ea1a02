//! Progress as JSON lines, for programs (`-o json`). Pure: given an event and the time.
//!
//! Every line is an object with `apiVersion`, `kind` `Event`, `time` (RFC 3339), `type` and the fields of that type:
//!
//! | type | fields |
//! |---|---|
//! | `step-started`, `step-already` | `step` (from 1), `of`, `title` |
//! | `payload` | `pod`, `container`, `way`, `bytes`, `elapsedSeconds`: the helper binary was copied there and has proven itself |
//! | `progress` | `phase`, `done`, `total` (absent when unknown), `unit` (`bytes`, `rows`, `pages`) |
//! | `note` | `text` |
//! | `step-done` | `title`, `summary`, `elapsedSeconds` |
//! | `step-failed` | `title` |
//!
//! The last line of the stream is the report itself, with a `kind` of its own; there is none if the command failed.

use std::time::Duration;

use dbmig_wire::Unit;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::report::Object;
use crate::event::Event;

/// Time between two `progress` lines.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
enum What<'a> {
    StepStarted {
        step: usize,
        of: usize,
        title: &'a str,
    },
    StepAlready {
        step: usize,
        of: usize,
        title: &'a str,
    },
    Payload {
        pod: &'a str,
        container: &'a str,
        way: &'a str,
        bytes: u64,
        elapsed_seconds: f64,
    },
    Progress {
        phase: &'a str,
        done: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        unit: Unit,
    },
    Note {
        text: &'a str,
    },
    Log {
        container: &'a str,
        message: &'a str,
    },
    StepDone {
        title: &'a str,
        summary: &'a str,
        elapsed_seconds: f64,
    },
    StepFailed {
        title: &'a str,
    },
}

/// Turns events into JSON lines.
#[derive(Debug, Default)]
pub(super) struct Stream {
    last: Option<Instant>,
}

impl Stream {
    /// The line to print for this event, ended, if any.
    pub(super) fn line(&mut self, event: &Event, now: Instant, time: Timestamp) -> Option<String> {
        let what = match event {
            Event::StepStarted { index, of, title } => {
                self.last = None;
                What::StepStarted { step: *index, of: *of, title }
            }
            Event::StepAlready { index, of, title } => What::StepAlready { step: *index, of: *of, title },
            Event::Payload { pod, container, way, bytes, elapsed } => {
                What::Payload { pod, container, way, bytes: *bytes, elapsed_seconds: elapsed.as_secs_f64() }
            }
            Event::Progress(progress) => {
                if self.last.is_some_and(|last| now.duration_since(last) < PAUSE) {
                    return None;
                }
                self.last = Some(now);
                let total = (progress.total > 0).then_some(progress.total);
                What::Progress { phase: &progress.phase, done: progress.done, total, unit: progress.unit }
            }
            Event::Note(text) => What::Note { text },
            Event::Said { container, line } => What::Log { container, message: line },
            Event::StepDone { title, summary, elapsed } => {
                What::StepDone { title, summary, elapsed_seconds: elapsed.as_secs_f64() }
            }
            Event::StepFailed { title } => What::StepFailed { title },
        };
        let line = serde_json::to_string(&Object::new("Event", &Line { time, what })).ok()?;
        Some(line + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(events: &[Event]) -> Vec<String> {
        let mut stream = Stream::default();
        events.iter().filter_map(|event| stream.line(event, Instant::now(), Timestamp::UNIX_EPOCH)).collect()
    }

    #[test]
    fn the_documented_schema_is_the_one_that_is_written() {
        let progress = |total| Event::Progress(dbmig_wire::Progress { phase: "p".into(), done: 1, total, unit: Unit::Rows });
        let lines = told(&[
            progress(0),
            Event::StepStarted { index: 1, of: 2, title: "a\nb".into() },
            progress(9),
            progress(9),
            Event::StepDone { title: "a".into(), summary: String::new(), elapsed: Duration::from_millis(1500) },
            Event::StepAlready { index: 2, of: 2, title: "c".into() },
            Event::Payload {
                pod: "p".into(),
                container: "c".into(),
                way: "tar".into(),
                bytes: 3,
                elapsed: Duration::from_millis(250),
            },
            Event::Note("n".into()),
            Event::StepFailed { title: "c".into() },
        ]);
        let head = r#"{"apiVersion":"dbmig.dev/v1alpha1","kind":"Event","time":"1970-01-01T00:00:00Z","type":"#;
        let expected = [
            r#""progress","phase":"p","done":1,"unit":"rows"}"#,
            r#""step-started","step":1,"of":2,"title":"a\nb"}"#,
            r#""progress","phase":"p","done":1,"total":9,"unit":"rows"}"#,
            r#""step-done","title":"a","summary":"","elapsedSeconds":1.5}"#,
            r#""step-already","step":2,"of":2,"title":"c"}"#,
            r#""payload","pod":"p","container":"c","way":"tar","bytes":3,"elapsedSeconds":0.25}"#,
            r#""note","text":"n"}"#,
            r#""step-failed","title":"c"}"#,
        ];
        assert_eq!(lines, expected.map(|tail| format!("{head}{tail}\n")));
    }
}
