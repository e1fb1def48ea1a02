//! How far pgcopydb is with its copy: read by one question in the SQLite file that it keeps in its working directory.
//!
//! Its own `list progress` tells of no bytes (0.17), and counts what is at work by processes that may be gone.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::{Lsn, Sentinel};
use crate::database::Database;
use crate::failure::Result;

/// The file, below the working directory.
pub const CATALOG: &str = "schema/source.db";

/// Of a table that is copied in parts each has to be done. Its size on the source is the measure: what goes over the wire is text, of
/// another size.
const QUESTION: &str = "\
    WITH tables AS (\
      SELECT coalesce(z.bytes, 0) AS bytes, \
        (SELECT count(*) FROM summary s WHERE s.tableoid = t.oid AND s.done_time_epoch > 0) AS done, \
        (SELECT max(count(*), 1) FROM s_table_part p WHERE p.oid = t.oid) AS parts, \
        (SELECT coalesce(sum(s.bytes), 0) FROM summary s WHERE s.tableoid = t.oid) AS sent \
      FROM s_table t LEFT JOIN s_table_size z ON z.oid = t.oid WHERE NOT coalesce(t.exclude_data, 0)) \
    SELECT \
      (SELECT count(*) FROM tables WHERE done >= parts), (SELECT count(*) FROM tables), \
      (SELECT coalesce(sum(CASE WHEN done >= parts THEN bytes ELSE min(sent, bytes) END), 0) FROM tables), \
      (SELECT coalesce(sum(bytes), 0) FROM tables), \
      (SELECT count(DISTINCT indexoid) FROM summary WHERE done_time_epoch > 0), (SELECT count(*) FROM s_index), \
      (SELECT count(DISTINCT conoid) FROM summary WHERE done_time_epoch > 0), (SELECT count(*) FROM s_constraint), \
      (SELECT count(*) FROM timings WHERE label = 'Prepare Schema' AND done_time_epoch > 0), \
      (SELECT count(*) FROM timings WHERE label LIKE 'COPY, INDEX%' AND done_time_epoch > 0), \
      (SELECT CAST(strftime('%s', 'now') AS INTEGER) - start_time_epoch FROM timings WHERE label LIKE 'COPY, INDEX%'), \
      (SELECT slot_name FROM setup), \
      (SELECT apply FROM sentinel), (SELECT CAST(startpos AS TEXT) FROM sentinel), (SELECT CAST(endpos AS TEXT) FROM sentinel), \
      (SELECT CAST(write_lsn AS TEXT) FROM sentinel), (SELECT CAST(replay_lsn AS TEXT) FROM sentinel)";

/// So much of so much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Part {
    /// Done.
    pub done: u64,
    /// In all.
    pub all: u64,
}

impl Part {
    /// Nothing is left.
    #[must_use]
    pub fn is_done(self) -> bool {
        self.done >= self.all
    }
}

/// What it is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It reads the source's catalogs.
    Beginning,
    /// It makes the tables on the target.
    Schema,
    /// It copies rows, and builds the indexes of tables that are done.
    Copy,
    /// All rows are there; it builds indexes.
    Indexes,
    /// It makes constraints and what else comes last.
    Constraints,
    /// It applies what was written meanwhile.
    CatchingUp,
    /// It is as good as up to date.
    Following,
    /// Its container has ended.
    Ended,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Beginning => "Beginning",
            Self::Schema => "Schema",
            Self::Copy => "Copy",
            Self::Indexes => "Indexes",
            Self::Constraints => "Constraints",
            Self::CatchingUp => "CatchingUp",
            Self::Following => "Following",
            Self::Ended => "Ended",
        })
    }
}

/// How far the copy is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Work {
    /// Tables.
    pub tables: Part,
    /// Bytes of their rows on the source's disk.
    pub bytes: Part,
    /// Indexes.
    pub indexes: Part,
    /// Constraints.
    pub constraints: Part,
    /// Seconds since the first row was copied.
    pub seconds: Option<u64>,
    /// Name of its replication slot.
    pub slot: Option<String>,
    /// Where following stands.
    pub sentinel: Sentinel,
    has_schema: bool,
    has_data: bool,
}

impl Work {
    /// Reads it.
    ///
    /// # Errors
    /// There is no such file yet, or it is another version's.
    pub async fn read(catalog: &dyn Database) -> Result<Self> {
        let rows = catalog.query(QUESTION).await?;
        rows.first().and_then(|row| Self::of(row)).ok_or_else(|| super::odd("pgcopydb's work"))
    }

    fn of(row: &[Value]) -> Option<Self> {
        let number = |at: usize| row.get(at)?.as_u64();
        let part = |at: usize| Some(Part { done: number(at)?, all: number(at + 1)? });
        let position = |at: usize| row.get(at)?.as_str()?.parse::<Lsn>().ok()?.known();
        Some(Self {
            tables: part(0)?,
            bytes: part(2)?,
            indexes: part(4)?,
            constraints: part(6)?,
            has_schema: number(8)? > 0,
            has_data: number(9)? > 0,
            seconds: number(10),
            slot: row.get(11)?.as_str().map(str::to_owned).filter(|name| !name.is_empty()),
            sentinel: Sentinel {
                applies: number(12).is_some_and(|apply| apply > 0),
                start: position(13),
                end: position(14),
                written: position(15),
                replayed: position(16),
            },
        })
    }

    /// What it is at, with the target so many bytes behind.
    #[must_use]
    pub fn phase(&self, behind: Option<u64>) -> Phase {
        /// As far behind `finish` still begins.
        const NEAR: u64 = 16 << 20;
        match self {
            _ if self.sentinel.applies && behind.is_some_and(|behind| behind > NEAR) => Phase::CatchingUp,
            _ if self.sentinel.applies => Phase::Following,
            _ if self.has_data => Phase::Constraints,
            _ if self.has_schema && !self.tables.is_done() => Phase::Copy,
            _ if self.has_schema && !self.indexes.is_done() => Phase::Indexes,
            _ if self.has_schema => Phase::Constraints,
            _ if self.tables.all > 0 => Phase::Schema,
            _ => Phase::Beginning,
        }
    }

    /// Seconds until all rows are copied, if it goes on as it went.
    #[must_use]
    pub fn seconds_left(&self) -> Option<u64> {
        let Part { done, all } = self.bytes;
        self.seconds?.checked_mul(all.saturating_sub(done))?.checked_div(done)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use rusqlite::types::ValueRef;

    use super::*;

    /// What pgcopydb 0.17 keeps, as far as it is asked for.
    const MADE: &str = "\
        CREATE TABLE setup (slot_name text);
        CREATE TABLE s_table (oid integer PRIMARY KEY, exclude_data boolean);
        CREATE TABLE s_table_size (oid integer PRIMARY KEY, bytes integer);
        CREATE TABLE s_table_part (oid integer, partnum integer);
        CREATE TABLE s_index (oid integer PRIMARY KEY);
        CREATE TABLE s_constraint (oid integer PRIMARY KEY);
        CREATE TABLE timings (label text, start_time_epoch integer, done_time_epoch integer);
        CREATE TABLE summary (tableoid integer, partnum integer, indexoid integer, conoid integer, done_time_epoch integer, bytes integer);
        CREATE TABLE sentinel (startpos pg_lsn, endpos pg_lsn, apply bool, write_lsn pg_lsn, replay_lsn pg_lsn);";

    fn asked(connection: &Connection) -> Work {
        let row = connection.query_row(QUESTION, [], |row| {
            let shown = |value: ValueRef<'_>| match value {
                ValueRef::Integer(number) => Value::from(number),
                ValueRef::Text(text) => Value::from(String::from_utf8_lossy(text)),
                _ => Value::Null,
            };
            Ok((0..17).map(|at| shown(row.get_ref(at).unwrap())).collect::<Vec<_>>())
        });
        Work::of(&row.unwrap()).unwrap()
    }

    #[test]
    fn each_phase_is_told_by_what_is_done() {
        let catalog = Connection::open_in_memory().unwrap();
        catalog.execute_batch(MADE).unwrap();
        let then = |sql: &str| {
            catalog.execute_batch(sql).unwrap();
            asked(&catalog)
        };
        assert_eq!(then("").phase(None), Phase::Beginning);
        // The second table is copied in two parts, the third not at all.
        let work = then(
            "INSERT INTO setup VALUES ('moving'); INSERT INTO s_table VALUES (1, 0), (2, 0), (3, 1);
             INSERT INTO s_table_size VALUES (1, 1000), (2, 3000), (3, 9000); INSERT INTO s_table_part VALUES (2, 0), (2, 1);
             INSERT INTO s_index VALUES (7); INSERT INTO s_constraint VALUES (8); INSERT INTO sentinel VALUES ('0/10', '0/0', 0, '0/0', '0/0')",
        );
        assert_eq!((work.phase(None), work.slot.as_deref()), (Phase::Schema, Some("moving")));
        let work = then(
            "INSERT INTO timings VALUES ('Prepare Schema', 1, 2), ('COPY, INDEX, CONSTRAINTS, VACUUM (wall clock)', strftime('%s', 'now') - 60, NULL);
             INSERT INTO summary VALUES (1, 0, NULL, NULL, 5, 700), (2, 0, NULL, NULL, 5, 400), (2, 1, NULL, NULL, NULL, 100)",
        );
        assert_eq!(work.phase(None), Phase::Copy);
        assert_eq!((work.tables, work.bytes), (Part { done: 1, all: 2 }, Part { done: 1500, all: 4000 }));
        assert!((100..=110).contains(&work.seconds_left().unwrap()), "{work:?}");
        assert_eq!(then("UPDATE summary SET done_time_epoch = 6").phase(None), Phase::Indexes);
        assert_eq!(then("INSERT INTO summary VALUES (NULL, NULL, 7, NULL, 7, NULL)").phase(None), Phase::Constraints);
        let work = then("UPDATE sentinel SET apply = 1, endpos = '1/E00C6A0', replay_lsn = '1/D00C6A0'");
        assert_eq!(
            (work.phase(Some(1 << 30)), work.phase(Some(9)), work.phase(None)),
            (Phase::CatchingUp, Phase::Following, Phase::Following)
        );
        let sentinel = work.sentinel;
        assert_eq!(sentinel.end.unwrap().since(sentinel.replayed.unwrap()), 0x0100_0000);
    }
}
