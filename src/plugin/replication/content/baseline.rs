//! What two servers had in common before writers were stopped, so that afterwards only what was written since has to be read.
//!
//! Each table gets a mark on both sides, the oldest transaction that was not over then, and later its rows are found the same
//! on both, but for some that are in doubt. When nobody writes any more, three things prove that all rows are the same:
//! the rows in doubt are; those that a transaction not older than its side's mark wrote are, on either side; and both sides have the same
//! keys. A row that is none of these was there on both sides when it was found the same, and has been left alone since: whatever changes a row
//! writes a new one, with the number of the transaction, or of a part of it, whose number is higher. Numbers are compared by age: a very old row
//! whose number has been used again counts as new, and is compared once more.
//!
//! Crashes do not break that: a number that was given out before the mark can't be given out again after it, since a
//! transaction of our own, with a higher number, is on both disks before the baseline is used. Another server, or the same one after a promotion, may
//! give it out again: then, and when types were changed, which changes rows without writing them, the baseline counts for nothing.

use std::collections::BTreeMap;

use futures::try_join;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Table, json};
use crate::database::Database;
use crate::failure::Result;
use crate::replication::Lsn;

/// Tables that a baseline knows at most, the largest ones: it is part of a record.
const MOST_TABLES: usize = 500;
/// Bytes of a table from which on it is worth it.
const WORTH: u64 = 1 << 20;
/// Transactions since the mark up to which ages can be compared: half of what PostgreSQL itself can tell apart.
const MOST_SINCE: i64 = 1 << 30;

/// What both sides had in common. Holds no rows and no keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Baseline {
    /// When it was taken.
    pub taken: Timestamp,
    source: Place,
    target: Place,
    pub(super) tables: BTreeMap<String, Known>,
}

/// The server, and what decides the texts of its rows besides themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    system: String,
    timeline: String,
    types: String,
}

/// A moment of a server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Moment {
    place: Place,
    /// The number of the oldest transaction that is not over.
    pub(super) oldest: i64,
    /// The number that the next transaction gets.
    next: i64,
    /// Its write-ahead log.
    pub(super) at: Lsn,
    /// It can be asked for digests of keys.
    able: bool,
}

/// What is known of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// Rows written by transactions before these, of the source and the target, are old.
    pub(super) marks: (i64, i64),
    /// Its columns on both sides.
    shapes: (String, String),
    /// Kinds that keys are divided into, and those in doubt.
    pub(super) buckets: i64,
    pub(super) doubtful: Vec<i64>,
}

/// Where a server is. In one statement, so in one snapshot.
pub(super) async fn moment(side: &dyn Database) -> Result<Moment> {
    // Log is read after the snapshot: whatever is visible in it was written before.
    let sql = "SELECT json_build_object('place', json_build_object(\
         'system', (SELECT system_identifier::text FROM pg_control_system()), 'timeline', left(pg_walfile_name(pg_current_wal_lsn()), 8), \
         'types', md5(coalesce((SELECT string_agg(format('%s %L %s', enumtypid, enumlabel, enumsortorder), ', ' ORDER BY oid) FROM pg_enum), '') \
           || coalesce((SELECT string_agg(format('%s %I %s %s', attrelid, attname, atttypid, attisdropped), ', ' ORDER BY attrelid, attnum) \
                        FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid WHERE relkind = 'c'), ''))), \
         'oldest', txid_snapshot_xmin(txid_current_snapshot()), 'next', txid_snapshot_xmax(txid_current_snapshot()), \
         'at', pg_current_wal_insert_lsn(), 'able', to_regprocedure('hashtextextended(text, bigint)') IS NOT NULL)";
    json(&side.query(sql).await?, "its transactions")
}

/// Tables of both sides of which a baseline can be taken: the larger ones, with a key.
pub(super) fn eligible<'a>(here: &'a [Table], there: &'a [Table]) -> Vec<(&'a Table, &'a Table)> {
    let same = |table: &'a Table| {
        let other = there.iter().find(|other| other.name == table.name)?;
        (other.has_marks() && other.key == table.key).then_some((table, other))
    };
    let mut found: Vec<_> = here.iter().filter(|table| table.settles()).filter_map(same).collect();
    found.sort_by_key(|(table, _)| std::cmp::Reverse(table.bytes));
    found.truncate(MOST_TABLES);
    found
}

impl Table {
    /// It has a key, and marks can be set in it.
    fn has_marks(&self) -> bool {
        self.logged && self.stamped && !self.key.is_empty()
    }

    /// It can be compared before writers are stopped, and is worth it.
    #[must_use]
    pub fn settles(&self) -> bool {
        self.has_marks() && self.bytes >= WORTH
    }
}

impl Baseline {
    /// One that knows nothing yet; `None` where nothing can be known.
    pub(super) fn begin(source: Moment, target: Moment) -> Option<Self> {
        let able = source.able && target.able;
        let (source, target) = (source.place, target.place);
        able.then(|| Self { taken: Timestamp::now(), source, target, tables: BTreeMap::new() })
    }

    /// Itself, unless these are other servers by now, or too much has happened on them.
    pub(super) async fn valid(&self, source: &dyn Database, target: &dyn Database) -> Result<Option<&Self>> {
        let (ours, theirs) = try_join!(moment(source), moment(target))?;
        let near = |mark: i64, now: &Moment| (0..MOST_SINCE).contains(&(now.next - mark));
        let holds = ours.place == self.source
            && theirs.place == self.target
            && self.tables.values().all(|known| near(known.marks.0, &ours) && near(known.marks.1, &theirs));
        Ok(holds.then_some(self))
    }

    /// What is known of a table that still has the columns that it had.
    pub(super) fn table(&self, here: &Table, there: &Table) -> Option<&Known> {
        self.tables.get(&here.name).filter(|known| known.shapes.0 == here.shape && known.shapes.1 == there.shape)
    }
}

impl Known {
    pub(super) fn new(here: &Table, there: &Table, marks: (i64, i64), buckets: i64) -> Self {
        Self { marks, shapes: (here.shape.clone(), there.shape.clone()), buckets, doubtful: Vec::new() }
    }
}

/// A condition for the rows that a transaction before the mark has written, as SQL.
pub(super) fn old(mark: i64) -> String {
    // A transaction's number as rows have it: its lower half.
    format!("age(xmin) > age('{}'::xid)", mark & i64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_written_as_rows_have_it() {
        assert_eq!(old(750), "age(xmin) > age('750'::xid)");
        assert_eq!(old((3 << 32) + 750), "age(xmin) > age('750'::xid)");
    }
}
