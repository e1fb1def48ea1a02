//! What is known of each pgcopydb at the moment, and what of it has been told. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::change::Change;
use super::copy::CopyRow;
use crate::replication::Phase;

/// As long as it does the same, it is told again after so long.
const WHILE: SignedDuration = SignedDuration::from_mins(1);

/// By namespace and name of the pod: how far it is, and when that was told last.
#[derive(Debug, Default)]
pub(super) struct Copied(BTreeMap<(String, String), (CopyRow, Timestamp)>);

impl Copied {
    /// Takes a row in; a change if that is worth a line: it does something else than before, or a while has gone by.
    pub(super) fn take(&mut self, mut row: CopyRow, by_us: bool, now: Timestamp) -> Option<Change> {
        let key = (row.namespace.clone(), row.pod.clone());
        let before = self.0.remove(&key);
        if let Some((before, _)) = &before
            && row.phase == Phase::Ended
        {
            // What was seen last is all that can be known.
            row = CopyRow { phase: row.phase, exit_code: row.exit_code, ..before.clone() };
        }
        let kind = |row: &CopyRow| (row.phase, row.trouble(by_us).is_some(), row.unknown.is_empty());
        let change = row.change(by_us);
        let known = before.filter(|(before, told)| {
            kind(before) == kind(&row) && (now.duration_since(*told) < WHILE || before.change(by_us) == change)
        });
        self.0.insert(key, (row, known.as_ref().map_or(now, |(_, told)| *told)));
        known.is_none().then_some(change)
    }

    /// It can't be asked any more how far this one is.
    pub(super) fn lost(&mut self, row: &CopyRow, why: &str) {
        if let Some((row, _)) = self.0.get_mut(&(row.namespace.clone(), row.pod.clone())) {
            row.unknown = vec![why.to_owned()];
        }
    }

    /// Its pod is gone.
    pub(super) fn gone(&mut self, key: &(String, String)) {
        self.0.remove(key);
    }

    /// How far the one in this pod is.
    pub(super) fn of(&self, key: &(String, String)) -> Option<&CopyRow> {
        self.0.get(key).map(|(row, _)| row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_when_it_does_something_else_or_after_a_while() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let row = |phase, lag| CopyRow { phase, lag_bytes: Some(lag), ..CopyRow::new("shop", "x", "main") };
        let mut copied = Copied::default();
        let mut told = |row, second| copied.take(row, false, at(second)).map(|change| change.text);
        assert_eq!(
            told(row(Phase::Copy, 0), 0).as_deref(),
            Some("copies rows: 0 of 0 tables, 0 B of 0 B (100 %); 0 of 0 indexes")
        );
        assert_eq!(told(row(Phase::Following, 1 << 20), 5).as_deref(), Some("follows: 1.0 MiB behind"));
        assert_eq!(told(row(Phase::Following, 2 << 20), 64), None);
        assert_eq!(told(row(Phase::Following, 3 << 20), 65).as_deref(), Some("follows: 3.0 MiB behind"));
        assert_eq!(told(row(Phase::Following, 3 << 20), 200), None);
        let ended = CopyRow { phase: Phase::Ended, exit_code: Some(12), ..CopyRow::new("shop", "x", "main") };
        assert_eq!(told(ended, 201).as_deref(), Some("has ended with exit code 12"));
    }
}
