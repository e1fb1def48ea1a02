//! Compares a table that rests with what a baseline knows of it: see there why that is enough.

use std::collections::BTreeSet;

use futures::try_join;
use serde::Deserialize;

use super::baseline::{Known, old};
use super::compare::{Found, Sides};
use super::digest::{Key, Rows, ask, sum};
use super::narrow::{By, narrow, range};
use super::settle::KEYS;
use super::{Table, What};
use crate::database::postgres::Postgres;
use crate::failure::Result;

/// Rows written since a baseline from which on it is as quick to compare all of them.
const MOST_WRITTEN: usize = 200_000;

/// What a server says of a table's keys.
#[derive(Debug, Deserialize)]
struct Keys {
    rows: u64,
    /// Two digests of each key, added up.
    high: Option<String>,
    low: Option<String>,
    /// Keys of the rows that have to be compared.
    written: Vec<Key>,
}

/// Compares it; `None` when too much of it has been written since.
pub(super) async fn compare(sides: &Sides<'_>, known: &Known) -> Result<Option<Found>> {
    let &Sides { source, target, here, there } = sides;
    let questions = (here.written(known, known.marks.0), there.written(known, known.marks.1));
    let (ours, theirs): (Keys, Keys) = try_join!(ask(source, here, &questions.0), ask(target, there, &questions.1))?;
    let mut found = Found { rows: ours.rows, before: 0, difference: None };
    if (ours.rows, &ours.high, &ours.low) != (theirs.rows, &theirs.high, &theirs.low) {
        let range = narrow(source, target, here, By::Key).await?;
        found.difference = Some(sides.differ(What::Table(ours.rows, Some(theirs.rows)), range));
        return Ok(Some(found));
    }
    let keys: BTreeSet<Key> = ours.written.into_iter().chain(theirs.written).collect();
    if keys.len() > MOST_WRITTEN {
        return Ok(None);
    }
    let keys: Vec<Key> = keys.into_iter().collect();
    found.before = ours.rows.saturating_sub(keys.len() as u64);
    let mut wrong = BTreeSet::new();
    for some in keys.chunks(KEYS) {
        let rows = Rows::Keyed(some);
        let (ours, theirs) = try_join!(sum(source, here, rows), sum(target, there, rows))?;
        if ours != theirs {
            let (ours, theirs) = try_join!(digests(source, here, some), digests(target, there, some))?;
            wrong.extend(ours.symmetric_difference(&theirs).map(|row| row.0.clone()));
        }
    }
    if !wrong.is_empty() {
        found.difference = Some(sides.differ(What::Rows(wrong.len()), range(here, wrong.iter())));
    }
    Ok(Some(found))
}

/// Keys and digests of rows, one by one.
async fn digests(side: &Postgres, table: &Table, keys: &[Key]) -> Result<BTreeSet<(Key, String)>> {
    let sql = format!(
        "SELECT coalesce(json_agg(json_build_array({}, md5({}))), '[]') FROM ONLY {} WHERE {}",
        table.key_list(),
        table.row,
        table.name,
        table.listed(keys)
    );
    ask(side, table, &sql).await
}

impl Table {
    /// The question for [`Keys`].
    fn written(&self, known: &Known, mark: i64) -> String {
        let name = &self.name;
        let doubtful: Vec<String> = known.doubtful.iter().map(i64::to_string).collect();
        let doubtful = match doubtful.as_slice() {
            [] => String::new(),
            some => format!(" OR {} IN ({})", self.bucket(known.buckets), some.join(", ")),
        };
        format!(
            "SELECT json_build_object('rows', count(*), 'high', sum(high)::text, 'low', sum(low)::text, 'written', (\
             SELECT coalesce(json_agg(list), '[]') FROM (SELECT {} AS list FROM ONLY {name} WHERE NOT {}{doubtful} LIMIT {}) AS written)) \
             FROM (SELECT {} AS high, {} AS low FROM ONLY {name}) AS keys",
            self.key_list(),
            old(mark),
            MOST_WRITTEN + 1,
            self.hash(0),
            self.hash(1)
        )
    }
}
