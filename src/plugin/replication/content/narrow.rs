//! Where two tables differ.

use futures::try_join;
use serde::Deserialize;

use super::Table;
use super::digest::{Key, ask, half};
use crate::database::postgres::Postgres;
use crate::failure::Result;

/// Parts that a range of keys is cut into while a difference is searched.
const PARTS: u32 = 64;
/// Rounds of that: enough for any 64-bit key.
const ROUNDS: usize = 11;

/// What is compared while it is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Whole rows.
    Row,
    /// Which keys there are: much less to read.
    Key,
}

/// The range of keys outside of which two tables are the same; `None` where that can't be told.
pub(super) async fn narrow(source: &Postgres, target: &Postgres, table: &Table, by: By) -> Result<Option<(i64, i64)>> {
    if !table.counted {
        return Ok(None);
    }
    let (name, key) = (&table.name, &table.key[0]);
    let ends = format!("SELECT json_build_array(min({key}), max({key})) FROM ONLY {name}");
    let (ours, theirs): (Ends, Ends) = try_join!(ask(source, table, &ends), ask(target, table, &ends))?;
    let from = [ours.0, theirs.0].into_iter().flatten().min();
    let to = [ours.1, theirs.1].into_iter().flatten().max();
    let (Some(mut from), Some(mut to)) = (from, to) else { return Ok(None) };
    for _ in 0..ROUNDS {
        let sql = parts(table, from, to, by);
        let (ours, theirs): (Vec<Part>, Vec<Part>) = try_join!(ask(source, table, &sql), ask(target, table, &sql))?;
        let differ = |part: &&Part, others: &[Part]| !others.contains(part);
        let odd: Vec<i64> = ours
            .iter()
            .filter(|part| differ(part, &theirs))
            .chain(theirs.iter().filter(|part| differ(part, &ours)))
            .map(|part| part.at)
            .collect();
        let (Some(first), Some(last)) = (odd.iter().min(), odd.iter().max()) else { return Ok(None) };
        let width = width(from, to);
        let edge = |part: i64| i64::try_from(i128::from(from) + i128::from(part) * width).unwrap_or(i64::MAX);
        let (low, high) = (edge(*first), edge(last + 1).saturating_sub(1).min(to));
        if (low, high) == (from, to) || width == 1 {
            return Ok(Some((low, high)));
        }
        (from, to) = (low, high);
    }
    Ok(Some((from, to)))
}

/// The lowest and the highest of some keys, where they are whole numbers.
pub(super) fn range<'a>(table: &Table, keys: impl Iterator<Item = &'a Key>) -> Option<(i64, i64)> {
    let numbers: Vec<i64> = keys.filter(|_| table.counted).filter_map(|key| key.first()?.parse().ok()).collect();
    Some((*numbers.iter().min()?, *numbers.iter().max()?))
}

/// The lowest and the highest key; none of an empty table.
type Ends = (Option<i64>, Option<i64>);

/// Keys in one part of a range.
fn width(from: i64, to: i64) -> i128 {
    let keys = i128::from(to) - i128::from(from) + 1;
    (keys + i128::from(PARTS) - 1) / i128::from(PARTS)
}

/// The rows whose keys are in one part of a range.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Part {
    at: i64,
    high: Option<String>,
    low: Option<String>,
}

fn parts(table: &Table, from: i64, to: i64, by: By) -> String {
    let Table { name, row, key, .. } = table;
    let (key, width) = (&key[0], width(from, to));
    let (value, high, low) = match by {
        By::Row => (format!("md5({row})"), half("digest", 1), half("digest", 17)),
        By::Key => (table.hash(0), "sum(digest)".to_owned(), "count(*)".to_owned()),
    };
    format!(
        "SELECT coalesce(json_agg(json_build_object('at', at, 'high', high, 'low', low)), '[]') FROM (\
         SELECT at, {high}::text AS high, {low}::text AS low FROM (\
         SELECT div({key}::numeric - ({from}), {width})::int8 AS at, {value} AS digest FROM ONLY {name} \
         WHERE {key} BETWEEN {from} AND {to}) AS rows GROUP BY at) AS parts"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_key() {
        for (from, to) in [(0, 0), (1, 64), (1, 65), (i64::MIN, i64::MAX), (-5, 1_000_000)] {
            let width = width(from, to);
            let keys = i128::from(to) - i128::from(from) + 1;
            assert!(width * i128::from(PARTS) >= keys && (width - 1) * i128::from(PARTS) < keys, "{from} {to}");
        }
    }
}
