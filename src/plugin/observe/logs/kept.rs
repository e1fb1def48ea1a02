//! Logs that are kept because their pods are about to go: gathered from containers, packed into a few bytes, and unpacked
//! by whoever asks later. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::{Heard, Line, Source, Start};

/// Name of the part that says whose log each other part is.
const INDEX: &str = "index.json";
/// What is kept in memory of one container at most, in bytes; of a longer log the end.
const MOST_OF_ONE: usize = 8 << 20;

/// The log of one container, its start before the last one included where the kubelet still had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The container.
    pub source: Source,
    /// Lines at the beginning that were not kept.
    pub dropped: usize,
    /// The lines, in the order in which they were written.
    pub lines: VecDeque<Line>,
    bytes: usize,
}

/// How a log is named in the index.
#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    source: Source,
    part: String,
    #[serde(default)]
    dropped: usize,
}

impl Kept {
    fn new(source: Source) -> Self {
        Self { source, dropped: 0, lines: VecDeque::new(), bytes: 0 }
    }

    fn push(&mut self, line: Line) {
        self.bytes += line.stamp.len() + line.text.len();
        self.lines.push_back(line);
        while self.bytes > MOST_OF_ONE {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let Some(line) = self.lines.pop_front() else { return };
        self.bytes -= line.stamp.len() + line.text.len();
        self.dropped += 1;
    }

    /// Leaves out what was not asked for.
    pub fn narrow(&mut self, start: &Start) {
        if let Some(since) = start.since {
            self.lines.retain(|line| line.time().is_none_or(|time| time >= since));
        }
        if let Some(tail) = start.tail.and_then(|tail| usize::try_from(tail).ok()) {
            self.lines.drain(..self.lines.len().saturating_sub(tail));
        }
    }

    /// The last lines as text, each of at most `width` characters after its time stamp.
    #[must_use]
    pub fn last(&self, count: usize, width: usize) -> Vec<String> {
        let text = |line: &Line| -> String {
            let stamp = String::from_utf8_lossy(&line.stamp);
            let said = String::from_utf8_lossy(&line.text);
            stamp.chars().chain(" ".chars()).chain(said.chars().take(width)).collect()
        };
        self.lines.iter().skip(self.lines.len().saturating_sub(count)).map(text).collect()
    }

    /// A log of which only such lines are left.
    #[must_use]
    pub fn of_lines(source: Source, lines: &[String]) -> Self {
        let mut kept = Self::new(source);
        lines.iter().for_each(|line| kept.push(stamped(&Bytes::copy_from_slice(line.as_bytes()))));
        kept
    }

    fn packed(&self) -> io::Result<Vec<u8>> {
        let mut out = GzEncoder::new(Vec::new(), Compression::best());
        for line in &self.lines {
            out.write_all(&line.stamp)?;
            out.write_all(b" ")?;
            out.write_all(&line.text)?;
            out.write_all(b"\n")?;
        }
        out.finish()
    }

    fn unpacked(entry: &Entry, packed: &[u8]) -> io::Result<Self> {
        let mut bytes = Vec::new();
        GzDecoder::new(packed).read_to_end(&mut bytes)?;
        let bytes = Bytes::from(bytes);
        let mut kept = Self { dropped: entry.dropped, ..Self::new(entry.source.clone()) };
        let mut at = 0;
        while let Some(end) = memchr::memchr(b'\n', &bytes[at..]).map(|length| at + length) {
            kept.push(stamped(&bytes.slice(at..end)));
            at = end + 1;
        }
        Ok(kept)
    }
}

/// A line after its time stamp and a space.
fn stamped(line: &Bytes) -> Line {
    let space = memchr::memchr(b' ', line).unwrap_or(line.len());
    Line { stamp: line.slice(..space), text: line.slice((space + 1).min(line.len())..) }
}

/// Adds what is heard to the log of its container.
pub fn gather(logs: &mut Vec<Kept>, heard: Heard) {
    let Heard::Lines(source, lines) = heard else { return };
    let index = logs.iter().position(|log| log.source == source).unwrap_or_else(|| {
        logs.push(Kept::new(source));
        logs.len() - 1
    });
    lines.into_iter().for_each(|line| logs[index].push(line));
}

/// Packs logs into named parts of at most `limit` bytes in all: what is too much is left out from the beginning of the longest.
///
/// # Errors
/// Only when packing itself fails, which memory does not.
pub fn pack(mut logs: Vec<Kept>, limit: usize) -> io::Result<BTreeMap<String, Vec<u8>>> {
    loop {
        let parts = packed(&logs)?;
        let size: usize = parts.values().map(Vec::len).sum();
        let longest = logs.iter_mut().max_by_key(|log| log.bytes).filter(|log| !log.lines.is_empty());
        let Some(longest) = longest.filter(|_| size > limit) else { return Ok(parts) };
        for _ in 0..longest.lines.len().div_ceil(4) {
            longest.drop_first();
        }
    }
}

fn packed(logs: &[Kept]) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut parts = BTreeMap::new();
    let mut index = Vec::new();
    for (number, log) in logs.iter().enumerate() {
        let part = format!("{number}.log.gz");
        parts.insert(part.clone(), log.packed()?);
        index.push(Entry { source: log.source.clone(), part, dropped: log.dropped });
    }
    parts.insert(INDEX.to_owned(), serde_json::to_vec(&index)?);
    Ok(parts)
}

/// The logs that [`pack`] has packed.
///
/// # Errors
/// A part is missing or damaged.
pub fn unpack(parts: &BTreeMap<String, Vec<u8>>) -> io::Result<Vec<Kept>> {
    let part = |name: &str| parts.get(name).ok_or_else(|| io::Error::other(format!("{name} is missing")));
    let index: Vec<Entry> = serde_json::from_slice(part(INDEX)?)?;
    index.iter().map(|entry| Kept::unpacked(entry, part(&entry.part)?)).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::super::Role;
    use super::*;

    fn source(pod: &str) -> Source {
        let pod: Pod =
            serde_json::from_value(serde_json::json!({"metadata": {"name": pod, "namespace": "n", "uid": pod}})).unwrap();
        Source::new(&pod, "main", Role::Main)
    }

    fn line(number: usize, text: &[u8]) -> Line {
        Line { stamp: Bytes::from(format!("2026-11-21T14:40:00.{number:09}Z")), text: Bytes::copy_from_slice(text) }
    }

    fn gathered(pods: &[(&str, Vec<Line>)]) -> Vec<Kept> {
        let mut logs = Vec::new();
        for (pod, lines) in pods {
            gather(&mut logs, Heard::Lines(source(pod), lines.clone()));
        }
        logs
    }

    #[test]
    fn any_bytes_come_back_as_they_were() {
        let lines = vec![line(1, b""), line(2, b" two \xff\0 "), line(3, "2026-11-21T00:00:00Z 漢字".as_bytes())];
        let logs = gathered(&[("a", lines), ("b", vec![line(4, b"x")])]);
        assert_eq!(unpack(&pack(logs.clone(), usize::MAX).unwrap()).unwrap(), logs);
    }

    #[test]
    fn what_is_too_much_is_left_out_from_the_beginning_of_the_longest() {
        let noise: Vec<Line> = (0..5000_usize).map(|n| line(n, format!("{:x}", n * n * 2_654_435_761).as_bytes())).collect();
        let parts = pack(gathered(&[("long", noise), ("short", vec![line(1, b"stays")])]), 20_000).unwrap();
        assert!(parts.values().map(Vec::len).sum::<usize>() <= 20_000);
        let logs = unpack(&parts).unwrap();
        assert_eq!((logs[1].lines.len(), logs[1].dropped), (1, 0));
        assert!(logs[0].dropped > 0 && logs[0].lines.len() > 100, "{} {}", logs[0].dropped, logs[0].lines.len());
        assert_eq!(logs[0].dropped + logs[0].lines.len(), 5000);
        assert_eq!(logs[0].lines.back().unwrap(), &line(4999, format!("{:x}", 4999_usize * 4999 * 2_654_435_761).as_bytes()));
    }

    #[test]
    fn a_part_that_is_missing_or_damaged_is_an_error() {
        let mut parts = pack(gathered(&[("a", vec![line(1, b"x")])]), usize::MAX).unwrap();
        parts.insert("0.log.gz".to_owned(), b"no gzip".to_vec());
        assert!(unpack(&parts).is_err());
        parts.remove("0.log.gz");
        assert!(unpack(&parts).is_err());
    }

    #[test]
    fn only_what_was_asked_for_is_left() {
        let mut logs = gathered(&[("a", (0..10).map(|n| line(n, b"x")).collect())]);
        logs[0].narrow(&Start { since: line(4, b"").time(), tail: Some(3) });
        assert_eq!(
            logs[0].lines.iter().map(|line| line.stamp.clone()).collect::<Vec<_>>(),
            [7, 8, 9].map(|n| line(n, b"").stamp)
        );
        let long = &gathered(&[("a", vec![line(1, b"x"), line(2, b"longer")])])[0];
        let last = long.last(1, 3);
        assert_eq!(Kept::of_lines(source("a"), &last).lines, [line(2, b"lon")]);
    }
}
