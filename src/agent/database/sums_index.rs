//! Reads the sums of a slot straight from an index that leads from a time to its keys. Falls back on nothing; its caller does.
//!
//! Slots are mostly asked for in the order of time, so the next one is where the last one ended. That takes a fraction of a query.

use rusqlite::{Connection, params};

use super::pages::{Cell, Pages};
use super::record::Value;
use super::sums::{Series, StoredRows};
use super::walk::Walk;
use crate::error::{Explain, Result};

/// Slots that are walked over rather than searched for.
const NEAR: i64 = 16;

/// An index of the coarse table, and where reading it has come to.
pub(super) struct SumsIndex<'p> {
    pages: &'p Pages,
    root: u32,
    stored: StoredRows,
    /// Seconds from one slot to the next.
    step: i64,
    walk: Option<Walk<'p>>,
    /// The entry that comes next; empty at the end.
    entry: Vec<u8>,
    /// The slot that was asked for last.
    last: i64,
}

impl<'p> SumsIndex<'p> {
    /// Finds an index that holds time and keys of every row, the time first. `None` where there is none.
    pub(super) fn find(series: &Series, connection: &Connection, pages: &'p Pages) -> Result<Option<Self>> {
        let doing = || format!("cannot look at the indexes of table {}", series.coarse);
        let sql = "SELECT list.name, schema.rootpage FROM pragma_index_list(?1) AS list, pragma_index_xinfo(list.name) AS first \
                   JOIN sqlite_schema AS schema ON schema.type = 'index' AND schema.name = list.name \
                   WHERE list.partial = 0 AND first.seqno = 0 AND first.desc = 0 AND lower(first.name) = lower(?2) \
                   AND schema.rootpage > 0";
        let mut find = connection.prepare(sql).explain(doing)?;
        let found = find.query_map(params![series.coarse, series.time], |row| Ok((row.get(0)?, row.get(1)?))).explain(doing)?;
        for index in found {
            let (name, root): (String, u32) = index.explain(doing)?;
            let columns = columns(connection, &name)?;
            if let Some(stored) = StoredRows::of_entries(series, &columns, pages) {
                let (walk, entry, last) = (None, Vec::new(), 0);
                return Ok(Some(Self { pages, root, stored, step: series.slot, walk, entry, last }));
            }
        }
        Ok(None)
    }

    /// Hands the keys of a slot to `each`; `false` if something lies there that only SQLite compares right.
    pub(super) fn slot(&mut self, slot: i64, mut each: impl FnMut(&[Value<'_>])) -> Result<bool> {
        let ahead = slot.checked_sub(self.last).is_some_and(|ahead| ahead > 0 && ahead / NEAR <= self.step);
        if self.walk.is_none() || !ahead {
            let stored = &self.stored;
            self.walk = Some(Walk::seek(self.pages, self.root, |cell| is_before(stored, cell, slot))?);
            self.step_on()?;
        }
        self.last = slot;
        while !self.entry.is_empty() {
            let Some(values) = self.stored.read(&self.entry) else { return Ok(false) };
            match values[0] {
                Value::Integer(time) if time > slot => return Ok(true),
                Value::Integer(time) if time == slot => each(self.stored.keys(&values)),
                Value::Integer(_) | Value::Null => {}
                _ => return Ok(false),
            }
            self.step_on()?;
        }
        Ok(true)
    }

    fn step_on(&mut self) -> Result<()> {
        self.entry.clear();
        if let Some(walk) = &mut self.walk
            && let Some(cell) = walk.next()?
        {
            self.entry.extend_from_slice(cell.local);
        }
        Ok(())
    }
}

/// What cannot be told is not before: then the walk comes to it, and it is seen.
fn is_before(stored: &StoredRows, cell: &Cell<'_>, slot: i64) -> bool {
    match stored.read(cell.local).map(|values| values[0]) {
        Some(Value::Integer(time)) => time < slot,
        Some(Value::Null) => true,
        _ => false,
    }
}

/// The columns of an index in their order; `None` for expressions and the rowid.
pub(super) fn columns(connection: &Connection, index: &str) -> Result<Vec<Option<String>>> {
    let doing = || format!("cannot look at index {index}");
    let mut columns = connection.prepare("SELECT name FROM pragma_index_xinfo(?1) ORDER BY seqno").explain(doing)?;
    let columns = columns.query_map([index], |row| row.get(0)).explain(doing)?;
    columns.collect::<rusqlite::Result<_>>().explain(doing)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::open::unchanging;
    use super::*;

    const FILL: &str = "CREATE TABLE coarse (time, name); CREATE TABLE fine (time, name);
        WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 20000)
        INSERT INTO coarse SELECT iif(n % 97 = 0, NULL, (n / 13 - 400) * 300), iif(n % 101 = 0, NULL, 'probe-' || (n * 7 % 13)) FROM n";

    /// What `index` tells of many slots, in two orders, against what SQLite tells of a twin table; how often it could not tell.
    fn untold(index: &str, more: &str) -> Option<usize> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sums.sqlite");
        let path = path.to_str().unwrap();
        let twin = "CREATE TABLE twin AS SELECT * FROM coarse; CREATE INDEX of_twin ON twin (time)";
        let all = format!("PRAGMA page_size = 512; BEGIN; {FILL}; {more}; {index}; {twin}; COMMIT");
        Connection::open(path).unwrap().execute_batch(&all).unwrap();
        let (fine, coarse, time) = ("fine".to_owned(), "coarse".to_owned(), "time".to_owned());
        let series = Series { fine, coarse, time, slot: 300, keys: vec!["name".to_owned()], older_than: 0 };
        let (pages, connection) = (Pages::open(path).unwrap(), unchanging(path).unwrap());
        let mut straight = SumsIndex::find(&series, &connection, &pages).unwrap()?;
        let sql = "SELECT name FROM twin WHERE time = ?1";
        let mut query = connection.prepare(sql).unwrap();
        let mut untold = 0;
        for at in (0..1600).chain((0..1600).map(|at| at * 601 % 1600)) {
            let slot = (at - 410) * 300;
            let mut told = Vec::new();
            let all = straight.slot(slot, |keys| told.push(format!("{keys:?}"))).unwrap();
            untold += usize::from(!all);
            let there = query.query_map([slot], |row| Ok(format!("{:?}", [super::super::sums::borrowed(row.get_ref(0)?)])));
            let there: Vec<String> = there.unwrap().map(Result::unwrap).collect();
            told.sort();
            let mut expected = there;
            expected.sort();
            assert!(!all || told == expected, "slot {slot}: {told:?}, not {expected:?}");
        }
        Some(untold)
    }

    #[test]
    fn slots_read_as_a_query_tells_them_forwards_and_crosswise() {
        assert_eq!(untold("CREATE INDEX straight ON coarse (time, name)", ""), Some(0));
        assert_eq!(untold("CREATE INDEX straight ON coarse (time, time + 1, name)", ""), Some(0));
    }

    #[test]
    fn an_index_that_does_not_lead_from_every_time_upwards_is_left_alone() {
        for columns in ["(time DESC, name)", "(name, time)", "(time)", "(time + 0, name)", "(time, name) WHERE time > 0"] {
            assert_eq!(untold(&format!("CREATE INDEX other ON coarse {columns}"), ""), None, "{columns}");
        }
    }

    #[test]
    fn what_only_sqlite_compares_right_is_told_to_be_so() {
        let index = "CREATE INDEX straight ON coarse (time, name)";
        let real = untold(index, "INSERT INTO coarse VALUES (300.0, 'real'), (601.5, 'between')").unwrap();
        let text = untold(index, "INSERT INTO coarse VALUES ('300', 'text')").unwrap();
        let long = untold(index, "INSERT INTO coarse VALUES (300, zeroblob(5000) || 'x')").unwrap();
        assert!([real, text].iter().all(|untold| (1..3200).contains(untold)), "{real} {text}");
        assert!((1..3200).contains(&long), "{long}");
    }
}
