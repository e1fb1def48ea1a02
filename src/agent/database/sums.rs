//! Decides for a row of a fine-grained series whether its own slot has been summed up. Reads the sums; drops nothing.
//!
//! Two values are equal when they are the same number, the same text or the same bytes; collations play no part, and NULL equals
//! nothing. Where SQL would find more rows equal, the row stays.

use std::collections::HashSet;

use dbmig_wire::{ErrorKind, Rule};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::copy::Answer;
use super::open::{Open, quoted};
use super::pages::{Cell, Pages};
use super::record::{Value, pick};
use super::schema::Shape;
use super::slots::{self, Slots};
use super::sums_index::SumsIndex;
use super::walk::payload;
use crate::error::{Explain, Result, fail};

/// The fields of [`Rule::SummedUp`].
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) fine: String,
    pub(super) coarse: String,
    pub(super) time: String,
    pub(super) slot: i64,
    pub(super) keys: Vec<String>,
    pub(super) older_than: i64,
}

impl Series {
    /// The rule as a series, if it is one.
    pub(super) fn of(rule: &Rule) -> Option<Self> {
        let Rule::SummedUp { fine, coarse, time, slot, keys, older_than } = rule else { return None };
        let (fine, coarse, time) = (fine.clone(), coarse.clone(), time.clone());
        Some(Self { fine, coarse, time, slot: *slot, keys: keys.clone(), older_than: *older_than })
    }

    /// Refuses a rule whose tables or columns are not there.
    pub(super) fn check(&self, connection: &Connection) -> Result<()> {
        if self.slot <= 0 {
            return Err(fail(ErrorKind::BadRequest, format!("a slot of {} seconds makes no sense", self.slot)));
        }
        for table in [&self.fine, &self.coarse] {
            let shape = Shape::of(connection, table)?;
            self.keys.iter().chain([&self.time]).try_for_each(|column| shape.column(column).map(|_| ()))?;
        }
        Ok(())
    }

    /// Time and keys, quoted, for a column list.
    pub(super) fn columns(&self) -> String {
        let names: Vec<String> = std::iter::once(&self.time).chain(&self.keys).map(|name| quoted(name)).collect();
        names.join(", ")
    }

    fn slot_of(&self, time: i64) -> i64 {
        time - time % self.slot
    }
}

/// What has been summed up, looked up slot by slot.
pub(super) struct Sums<'p> {
    series: Series,
    connection: Connection,
    find: String,
    /// A shorter way to the same, where there is one.
    index: Option<SumsIndex<'p>>,
    slots: Slots,
    /// The slot of the row before, and what it has sums for: rows mostly come in the order of time.
    current: Option<(i64, slots::Sums)>,
    numbers: Vec<usize>,
}

impl<'p> Sums<'p> {
    /// Opens the sums for look-ups.
    ///
    /// `open` opens the database; where no index leads from a time to its sums, they are copied into a temporary table with one.
    pub(super) fn new(series: Series, path: &str, open: Open) -> Result<Self> {
        let connection = open(path)?;
        let looking = || format!("cannot read table {} of {path}", series.coarse);
        let keys: Vec<String> = series.keys.iter().map(|key| quoted(key)).collect();
        let keys = if keys.is_empty() { "1".to_owned() } else { keys.join(", ") };
        let (time, coarse) = (quoted(&series.time), quoted(&series.coarse));
        let mut find = format!("SELECT {keys} FROM main.{coarse} WHERE {time} = ?1");
        let plan: String = connection.query_row(&format!("EXPLAIN QUERY PLAN {find}"), [0], |row| row.get(3)).explain(looking)?;
        if !plan.starts_with("SEARCH") {
            let build = format!(
                "CREATE TEMP TABLE dbmig_sums AS SELECT {time} AS {time}, {keys} FROM main.{coarse};
                 CREATE INDEX temp.dbmig_sums_time ON dbmig_sums ({time})"
            );
            connection.execute_batch(&build).explain(looking)?;
            find = format!("SELECT {keys} FROM temp.dbmig_sums WHERE {time} = ?1");
        }
        Ok(Self { series, connection, find, index: None, slots: Slots::default(), current: None, numbers: Vec::new() })
    }

    /// For a file that nobody writes to: reads its pages, where it has the index for that.
    pub(super) fn straight(mut self, pages: &'p Pages) -> Result<Self> {
        self.index = SumsIndex::find(&self.series, &self.connection, pages)?;
        Ok(self)
    }

    /// Whether a row goes: its time is an integer before the limit, and its own slot of its keys is among the sums.
    #[inline]
    pub(super) fn drops(&mut self, time: &Value<'_>, keys: &[Value<'_>]) -> Answer {
        let Value::Integer(time) = *time else { return Ok(false) };
        if time >= self.series.older_than {
            return Ok(false);
        }
        let sums = match self.current {
            // Whether a time lies in the slot at hand is told without a division.
            Some((current, sums)) if 0 <= current && current <= time && time - current < self.series.slot => sums,
            _ => self.turn_to(self.series.slot_of(time))?,
        };
        Ok(self.slots.has(sums, keys))
    }

    fn turn_to(&mut self, slot: i64) -> Result<slots::Sums> {
        let sums = match self.slots.of(slot) {
            Some(sums) => sums,
            None => self.learn(slot)?,
        };
        self.current = Some((slot, sums));
        Ok(sums)
    }

    fn learn(&mut self, slot: i64) -> Result<slots::Sums> {
        self.slots.make_room();
        self.numbers.clear();
        let Self { index, slots, numbers, .. } = self;
        if let Some(straight) = index {
            if straight.slot(slot, |keys| numbers.extend(slots.number(keys)))? {
                return Ok(slots.learn(slot, numbers));
            }
            *index = None;
        }
        let looking = || format!("cannot look up the sums of slot {slot}");
        let mut find = self.connection.prepare_cached(&self.find).explain(looking)?;
        let mut rows = find.query([slot]).explain(looking)?;
        self.numbers.clear();
        while let Some(row) = rows.next().explain(looking)? {
            let mut values: Vec<Value<'_>> = Vec::with_capacity(self.series.keys.len());
            for at in 0..self.series.keys.len() {
                values.push(borrowed(row.get_ref(at).explain(looking)?));
            }
            self.numbers.extend(self.slots.number(&values));
        }
        Ok(self.slots.learn(slot, &self.numbers))
    }
}

/// A value from SQLite as a stored value.
pub(super) fn borrowed(value: ValueRef<'_>) -> Value<'_> {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Integer(value),
        ValueRef::Real(value) => Value::Real(value),
        ValueRef::Text(bytes) => Value::Text(bytes),
        ValueRef::Blob(bytes) => Value::Blob(bytes),
    }
}

/// Reads time and keys straight out of stored rows, which is several times as fast as asking SQLite for each row.
pub(super) struct StoredRows {
    /// For each value of a record up to the last that matters: which of time (0) and keys (1 and on) it is.
    places: Vec<Option<usize>>,
    /// How many of them matter.
    wanted: usize,
    utf16: Option<fn([u8; 2]) -> u16>,
}

impl StoredRows {
    /// `None` where a value is not stored as it reads: rowid aliases, computed columns, numbers that become real.
    pub(super) fn of(series: &Series, shape: &Shape, pages: &Pages) -> Option<Self> {
        let names = std::iter::once(&series.time).chain(&series.keys);
        let stored: Option<Vec<usize>> = names
            .map(|name| {
                let column = shape.column(name).ok()?;
                let plain = column.key == 0 && !column.computed;
                plain.then(|| shape.stored_at(name)).flatten()
            })
            .collect();
        let real = shape.column(&series.time).is_ok_and(|time| becomes_real(&time.kind));
        if shape.without_rowid || real {
            return None;
        }
        Self::at(&stored?, pages)
    }

    /// The same for the entries of an index with these columns.
    pub(super) fn of_entries(series: &Series, columns: &[Option<String>], pages: &Pages) -> Option<Self> {
        let find = |name: &String| {
            columns.iter().position(|column| column.as_ref().is_some_and(|column| column.eq_ignore_ascii_case(name)))
        };
        let stored: Option<Vec<usize>> = std::iter::once(&series.time).chain(&series.keys).map(find).collect();
        Self::at(&stored?, pages)
    }

    fn at(stored: &[usize], pages: &Pages) -> Option<Self> {
        let different: HashSet<&usize> = stored.iter().collect();
        if different.len() < stored.len() || stored.len() > MOST_PLACES {
            return None;
        }
        let utf16 = match pages.header.word(56) {
            2 => Some(u16::from_le_bytes as fn([u8; 2]) -> u16),
            3 => Some(u16::from_be_bytes as fn([u8; 2]) -> u16),
            _ => None,
        };
        let mut places = vec![None; stored.iter().max()? + 1];
        stored.iter().enumerate().for_each(|(which, at)| places[*at] = Some(which));
        Some(Self { places, wanted: stored.len(), utf16 })
    }

    /// Time and keys of a record; `None` if it is cut short, or if text would have to be converted first.
    pub(super) fn read<'a>(&self, record: &'a [u8]) -> Option<[Value<'a>; MOST_PLACES]> {
        let mut values = [Value::Null; MOST_PLACES];
        (self.utf16.is_none() && pick(record, &self.places, &mut values)).then_some(values)
    }

    /// The keys among what [`StoredRows::read`] tells.
    pub(super) fn keys<'v, 'a>(&self, values: &'v [Value<'a>; MOST_PLACES]) -> &'v [Value<'a>] {
        &values[1..self.wanted]
    }

    /// Whether the row in `cell` goes; `None` if it was stored before one of the columns was added.
    pub(super) fn drops(&self, sums: &mut Sums<'_>, pages: &Pages, cell: &Cell<'_>) -> Answer<Option<bool>> {
        let mut values = [Value::Null; MOST_PLACES];
        if pick(cell.local, &self.places, &mut values) {
            return self.ask(sums, &values).map(Some);
        }
        let whole = payload(pages, cell)?;
        let mut values = [Value::Null; MOST_PLACES];
        pick(&whole, &self.places, &mut values).then(|| self.ask(sums, &values)).transpose()
    }

    #[inline]
    fn ask(&self, sums: &mut Sums<'_>, values: &[Value<'_>; MOST_PLACES]) -> Answer {
        let keys = self.keys(values);
        let Some(unit) = self.utf16 else {
            return sums.drops(&values[0], keys);
        };
        let texts: Vec<Option<String>> = keys.iter().map(|key| utf8(*key, unit)).collect();
        let keys = keys.iter().zip(&texts).map(|(key, text)| match (key, text) {
            (Value::Text(_), Some(text)) => Value::Text(text.as_bytes()),
            (Value::Text(_), None) => Value::Null,
            _ => *key,
        });
        sums.drops(&values[0], &keys.collect::<Vec<_>>())
    }
}

/// Columns that are read straight: time and this many keys less one.
pub(super) const MOST_PLACES: usize = 4;

fn utf8(value: Value<'_>, unit: fn([u8; 2]) -> u16) -> Option<String> {
    let Value::Text(bytes) = value else { return None };
    let (pairs, []) = bytes.as_chunks::<2>() else { return None };
    let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
    String::from_utf16(&units).ok()
}

/// SQLite's rule for the REAL affinity.
fn becomes_real(declared: &str) -> bool {
    let declared = declared.to_ascii_uppercase();
    let has = |parts: &[&str]| parts.iter().any(|part| declared.contains(part));
    !has(&["INT", "CHAR", "CLOB", "TEXT", "BLOB"]) && has(&["REAL", "FLOA", "DOUB"])
}
