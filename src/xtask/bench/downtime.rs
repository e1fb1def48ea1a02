//! The whole command on the throwaway cluster: how long writes are stopped, and what that time goes into.

use serde_json::Value;

use super::{Better, NO_GOAL, Row};
use crate::Outcome;
use crate::demo;
use crate::process::heading;

/// A part of the time without writes: what its steps' titles begin with.
const PARTS: [(&str, &[&str]); 6] = [
    ("no writes: stop", &["stop "]),
    ("no writes: settle, examine, make room", &["let SQLite settle", "examine ", "make a scratch", "give unused pages"]),
    ("no writes: rebuild", &["build the new database"]),
    ("no writes: verify", &["prove the new database"]),
    ("no writes: swap", &["keep a proven copy", "put the new file"]),
    ("no writes: start", &["start ", "create ", "wait until "]),
];
/// What that time begins with.
const FIRST: &str = PARTS[0].1[0];

/// What one line of the event stream says of the time.
enum Told {
    /// A step began.
    Started(String),
    /// A step ended after these seconds.
    Done(String, f64),
    /// Our binary was in a pod after these seconds.
    Payload(f64),
}

pub(super) fn measure() -> Outcome<Vec<Row>> {
    heading("measuring the whole command on the throwaway cluster");
    let told = demo::told_in_json()?;
    rows(&told.lines().filter_map(read).collect::<Vec<_>>()).ok_or_else(|| format!("the plugin told of no payload:\n{told}"))
}

/// `None` if no payload was told of.
fn rows(told: &[Told]) -> Option<Vec<Row>> {
    let of = |starts: &[&str]| {
        let seconds = |told: &Told| match told {
            Told::Done(title, seconds) if starts.iter().any(|start| title.starts_with(start)) => Some(*seconds),
            _ => None,
        };
        total(told.iter().filter_map(seconds))
    };
    let stopped = told.iter().position(|told| matches!(told, Told::Started(title) if title.starts_with(FIRST)));
    let payloads = |told: &[Told]| -> Vec<f64> {
        told.iter().filter_map(|told| if let Told::Payload(seconds) = told { Some(*seconds) } else { None }).collect()
    };
    // A part of the step that it happens in, if the writers are stopped by then at all.
    let within = total(payloads(&told[stopped.unwrap_or(told.len())..]));
    let all = total(PARTS.iter().map(|(_, starts)| of(starts)));
    let longest = payloads(told).into_iter().reduce(f64::max)?;
    let payload = Row {
        name: "payload into a pod, seconds",
        ratio: longest,
        goal: 1.0,
        better: Better::Lower,
        raw: format!("{longest:.2} s from the first byte to its own proof"),
    };
    let mut rows = vec![payload, row("no writes, seconds in all", all)];
    for (at, (name, starts)) in PARTS.into_iter().enumerate() {
        rows.push(row(name, of(starts)));
        if at == 0 {
            rows.push(row("no writes: payload", within));
        }
    }
    Some(rows)
}

/// A sum that is 0 and not -0 for nothing.
fn total(seconds: impl IntoIterator<Item = f64>) -> f64 {
    seconds.into_iter().fold(0.0, |sum, seconds| sum + seconds)
}

/// What a line tells of the time, if anything.
fn read(line: &str) -> Option<Told> {
    let line: Value = serde_json::from_str(line).ok()?;
    let title = || line.get("title")?.as_str().map(str::to_owned);
    let seconds = || line.get("elapsedSeconds")?.as_f64();
    match line.get("type")?.as_str()? {
        "step-started" => title().map(Told::Started),
        "step-done" => Some(Told::Done(title()?, seconds()?)),
        "payload" => seconds().map(Told::Payload),
        _ => None,
    }
}

fn row(name: &'static str, seconds: f64) -> Row {
    Row {
        name,
        ratio: seconds,
        goal: NO_GOAL,
        better: Better::Lower,
        raw: format!("{seconds:.2} s on a 33 MiB database, 5 MiB kept"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_events_of_a_vacuum_become_the_parts_of_the_time_without_writes() {
        let payload = |seconds: f64| format!(r#"{{"type":"payload","pod":"p","bytes":3,"elapsedSeconds":{seconds}}}"#);
        let step = |title: &str, seconds: f64| {
            format!(
                "{{\"type\":\"step-started\",\"title\":\"{title}\"}}\n{{\"type\":\"step-done\",\"title\":\"{title}\",\"elapsedSeconds\":{seconds}}}"
            )
        };
        let lines = [
            payload(0.5),
            step("prepare the helper pod/x", 9.0),
            step("stop statefulset/x (1 → 0 replicas)", 2.0),
            payload(0.25),
            step("make a scratch volume", 1.0),
            step("build the new database", 4.0),
            step("wait until it is Ready", 8.0),
            step("drop the old file", 16.0),
        ];
        let told: Vec<Told> = lines.join("\n").lines().filter_map(read).collect();
        let rows = rows(&told).unwrap_or_default();
        let ratios: Vec<f64> = rows.iter().map(|row| row.ratio).collect();
        assert_eq!(ratios, [0.5, 15.0, 2.0, 0.25, 1.0, 4.0, 0.0, 0.0, 8.0]);
    }
}
