//! The whole command on the throwaway cluster: how long writes are stopped, and what that time goes into.

use serde_json::Value;

use super::{Better, Row};
use crate::Outcome;
use crate::demo;
use crate::process::heading;

/// A part of the time without writes: what its steps' titles begin with.
const PARTS: [(&str, &[&str]); 6] = [
    ("no writes: stop", &["stop "]),
    ("no writes: settle and examine", &["let SQLite settle", "examine "]),
    ("no writes: rebuild", &["build the new database"]),
    ("no writes: verify", &["prove the new database"]),
    ("no writes: swap", &["put the new file"]),
    ("no writes: start", &["start ", "wait until "]),
];

pub(super) fn measure() -> Outcome<Vec<Row>> {
    heading("measuring the whole command on the throwaway cluster");
    let told = demo::told_in_json()?;
    let done: Vec<(String, f64)> = told.lines().filter_map(step).collect();
    let of = |starts: &[&str]| {
        let its = |title: &str| starts.iter().any(|start| title.starts_with(start));
        done.iter().filter(|(title, _)| its(title)).map(|(_, seconds)| seconds).sum::<f64>()
    };
    let parts: Vec<(&str, f64)> = PARTS.iter().map(|(name, starts)| (*name, of(starts))).collect();
    let all: f64 = parts.iter().map(|(_, seconds)| seconds).sum();
    Ok(std::iter::once(("no writes, seconds in all", all)).chain(parts).map(|(name, seconds)| row(name, seconds)).collect())
}

/// Title and seconds of a step that is done.
fn step(line: &str) -> Option<(String, f64)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let done = line.get("type")?.as_str()? == "step-done";
    done.then(|| Some((line.get("title")?.as_str()?.to_owned(), line.get("elapsedSeconds")?.as_f64()?)))?
}

fn row(name: &'static str, seconds: f64) -> Row {
    Row {
        name,
        ratio: seconds,
        goal: f64::INFINITY,
        better: Better::Lower,
        raw: format!("{seconds:.2} s on a 33 MiB database, 5 MiB kept"),
    }
}
