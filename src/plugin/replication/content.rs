//! Whether two servers hold the same rows: counts and digests that each computes for itself, of tables that rest.
//!
//! pgcopydb's own comparison ends with 0 when it finds a difference, so it proves nothing.

use std::fmt;

use futures::try_join;
use serde::{Deserialize, Serialize};

use super::json;
use crate::database::Database;
use crate::database::postgres::{End, Postgres};
use crate::failure::Result;

/// How much is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Nothing.
    None,
    /// The number of rows of each table.
    Counts,
    /// That, and the content of the newest 10,000 rows by key of each table.
    Sample,
    /// The content of every row. pgcopydb 0.17 with test_decoding changes values without a word, and only this shows it: `unchanged-toast-datum`
    /// in place of what an update left as it was, doubled quotes in JSON and arrays (seen in a run).
    #[default]
    Full,
}

/// Rows of a table that a sample looks at.
const SAMPLE: u32 = 10_000;
/// Parts that a range of keys is cut into while a difference is searched.
const PARTS: u32 = 64;
/// Rounds of that: enough for any 64-bit key.
const ROUNDS: usize = 11;

/// A table with rows of its own: an ordinary one, or a partition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Table {
    /// Schema and name, quoted as SQL needs it.
    pub name: String,
    /// Its row as one text that is the same on every version and with every setting.
    row: String,
    /// Columns of its primary key, quoted.
    key: Vec<String>,
    /// The primary key is one whole number.
    counted: bool,
    /// Bytes that it takes on disk, without its indexes.
    pub bytes: u64,
    /// Logical replication carries its changes; false for unlogged tables.
    pub logged: bool,
    /// Changes and deletes can be carried over: there is a replica identity.
    pub identified: bool,
}

/// A table that is not the same on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The table.
    pub table: String,
    /// Rows on the source.
    pub source: u64,
    /// Rows on the target; `None`: there is no such table.
    pub target: Option<u64>,
    /// Where the rows differ, by key, where that can be told.
    pub range: Option<(i64, i64)>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, source, target, range } = self;
        match target {
            None => write!(f, "{table}: {source} rows on the source, no such table on the target")?,
            Some(target) if target == source => write!(f, "{table}: {source} rows on both sides, but not the same")?,
            Some(target) => write!(f, "{table}: {source} rows on the source, {target} on the target")?,
        }
        range.map_or(Ok(()), |(from, to)| write!(f, "; they differ from key {from} to {to}"))
    }
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proof {
    /// Tables that were compared.
    pub tables: usize,
    /// Rows of the source that were counted.
    pub rows: u64,
    /// Tables that differ.
    pub differences: Vec<Difference>,
}

/// What a server says of the rows of a table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Sum {
    rows: u64,
    /// Both halves of the rows' digests, added up: the order of rows does not count.
    high: Option<String>,
    low: Option<String>,
}

/// All tables with rows of their own, but those that extensions bring and our own.
///
/// # Errors
/// As [`Database::query`].
pub async fn tables(side: &dyn Database) -> Result<Vec<Table>> {
    // The binary form of a floating-point number is the same everywhere; its text depends on the server's version.
    let column = "CASE WHEN atttypid IN ('float4'::regtype, 'float8'::regtype) \
         THEN format('%s(%I)', CASE atttypid WHEN 'float4'::regtype THEN 'float4send' ELSE 'float8send' END, attname) \
         ELSE format('%I', attname) END";
    let sql = format!(
        "SELECT coalesce(json_agg(json_build_object('name', format('%I.%I', nspname, relname), \
         'row', coalesce((SELECT format('ROW(%s)::text', string_agg({column}, ', ' ORDER BY attnum)) FROM pg_attribute \
                          WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped), 'ROW()::text'), \
         'key', coalesce((SELECT json_agg(format('%I', attname) ORDER BY array_position(indkey::int2[], attnum)) FROM pg_attribute \
                          WHERE attrelid = c.oid AND attnum = ANY (indkey)), '[]'), \
         'counted', coalesce(indnkeyatts = 1 AND (SELECT atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) \
                    FROM pg_attribute WHERE attrelid = c.oid AND attnum = indkey[0]), false), \
         'bytes', pg_table_size(c.oid), 'logged', relpersistence = 'p', \
         'identified', relreplident = 'f' OR (relreplident = 'd' AND i.indexrelid IS NOT NULL) OR relreplident = 'i') \
         ORDER BY nspname, relname), '[]') \
         FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace \
         LEFT JOIN pg_index i ON indrelid = c.oid AND indisprimary \
         WHERE relkind = 'r' AND relpersistence <> 't' AND nspname !~ '^pg_' \
         AND nspname NOT IN ('information_schema', 'pgcopydb', 'kubectl_dbmig') \
         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
    );
    json(&side.query(&sql).await?, "tables")
}

/// Compares tables on both sides. `told` is called before each with its place and name.
///
/// # Errors
/// A question fails: then nothing is known.
pub async fn compare(
    source: &Postgres,
    target: &Postgres,
    verify: Verify,
    mut told: impl FnMut(usize, usize, &str),
) -> Result<Proof> {
    let mut proof = Proof::default();
    if verify == Verify::None {
        return Ok(proof);
    }
    let (here, there) = try_join!(tables(source), tables(target))?;
    // What is not logged is not carried over: it is what it was when it was copied.
    let logged: Vec<&Table> = here.iter().filter(|table| table.logged).collect();
    for (at, table) in logged.iter().enumerate() {
        told(at + 1, logged.len(), &table.name);
        // Changes of rows without a key are not carried over, and the number of rows does not show that.
        let how = Question { table, verify: if table.identified { verify } else { Verify::Full } };
        let other = there.iter().find(|other| other.name == table.name);
        let (ours, theirs) = match other {
            // Its columns may have another order, or another type: then it is not the same.
            Some(other) => {
                let theirs = Question { table: other, ..how.clone() };
                let (ours, theirs) = try_join!(how.ask(source), theirs.ask(target))?;
                (ours, Some(theirs))
            }
            None => (how.ask(source).await?, None),
        };
        proof.tables += 1;
        proof.rows += ours.rows;
        if theirs.as_ref() != Some(&ours) {
            let range = match other {
                Some(_) if table.counted => narrow(source, target, table).await?,
                _ => None,
            };
            let target = theirs.map(|sum| sum.rows);
            proof.differences.push(Difference { table: table.name.clone(), source: ours.rows, target, range });
        }
    }
    Ok(proof)
}

/// A question about the rows of one table.
#[derive(Clone)]
struct Question<'a> {
    table: &'a Table,
    verify: Verify,
}

impl Question<'_> {
    fn sql(&self) -> String {
        let Table { name, row, key, .. } = self.table;
        let count = format!("SELECT json_build_object('rows', count(*)) FROM ONLY {name}");
        let rows = match self.verify {
            Verify::Full => format!("SELECT md5({row}) AS digest FROM ONLY {name}"),
            Verify::Sample if !key.is_empty() => {
                let newest = key.iter().map(|column| format!("{column} DESC")).collect::<Vec<_>>().join(", ");
                format!("SELECT md5({row}) AS digest FROM ONLY {name} ORDER BY {newest} LIMIT {SAMPLE}")
            }
            Verify::None | Verify::Counts | Verify::Sample => return count,
        };
        let rows_counted = match self.verify {
            Verify::Full => "count(*)".to_owned(),
            _ => format!("(SELECT count(*) FROM ONLY {name})"),
        };
        format!("SELECT json_build_object('rows', {rows_counted}, {}) FROM ({rows}) AS digests", halves("digest"))
    }

    async fn ask(&self, side: &Postgres) -> Result<Sum> {
        json(&side.transact(SETTINGS, &self.sql(), End::Rollback).await?, &self.table.name)
    }
}

/// The texts of values depend on these.
const SETTINGS: &str = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'; \
     SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C'";

/// The two halves of a digest, each added up over all rows, as parts of a JSON object.
fn halves(digest: &str) -> String {
    format!("'high', {}, 'low', {}", half(digest, 1), half(digest, 17))
}

/// The half of a digest that begins at a character of it, added up over all rows.
fn half(digest: &str, from: u32) -> String {
    format!("sum(('x' || substr({digest}, {from}, 16))::bit(64)::bigint)::text")
}

/// The range of keys outside of which two tables are the same.
async fn narrow(source: &Postgres, target: &Postgres, table: &Table) -> Result<Option<(i64, i64)>> {
    let (name, key) = (&table.name, &table.key[0]);
    let ends = format!("SELECT json_build_array(min({key}), max({key})) FROM ONLY {name}");
    let (ours, theirs) = try_join!(source.query(&ends), target.query(&ends))?;
    let ours: (Option<i64>, Option<i64>) = json(&ours, name)?;
    let theirs: (Option<i64>, Option<i64>) = json(&theirs, name)?;
    let from = [ours.0, theirs.0].into_iter().flatten().min();
    let to = [ours.1, theirs.1].into_iter().flatten().max();
    let (Some(mut from), Some(mut to)) = (from, to) else { return Ok(None) };
    for _ in 0..ROUNDS {
        let sql = parts(table, from, to);
        let (ours, theirs) =
            try_join!(source.transact(SETTINGS, &sql, End::Rollback), target.transact(SETTINGS, &sql, End::Rollback))?;
        let (ours, theirs): (Vec<Part>, Vec<Part>) = (json(&ours, name)?, json(&theirs, name)?);
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

fn parts(table: &Table, from: i64, to: i64) -> String {
    let Table { name, row, key, .. } = table;
    let (key, width) = (&key[0], width(from, to));
    let sums = format!("{} AS high, {} AS low", half("digest", 1), half("digest", 17));
    format!(
        "SELECT coalesce(json_agg(json_build_object('at', at, 'high', high, 'low', low)), '[]') FROM (\
         SELECT at, {sums} FROM (SELECT div({key}::numeric - ({from}), {width})::int8 AS at, md5({row}) AS digest FROM ONLY {name} \
         WHERE {key} BETWEEN {from} AND {to}) AS rows GROUP BY at) AS parts"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_says_which_rows_to_look_at() {
        let mut difference = Difference { table: "public.numbered".to_owned(), source: 10, target: Some(9), range: Some((7, 7)) };
        assert_eq!(
            difference.to_string(),
            "public.numbered: 10 rows on the source, 9 on the target; they differ from key 7 to 7"
        );
        difference = Difference { target: Some(10), range: None, ..difference };
        assert_eq!(difference.to_string(), "public.numbered: 10 rows on both sides, but not the same");
        difference.target = None;
        assert!(difference.to_string().contains("no such table"));
    }

    #[test]
    fn parts_cover_every_key() {
        for (from, to) in [(0, 0), (1, 64), (1, 65), (i64::MIN, i64::MAX), (-5, 1_000_000)] {
            let width = width(from, to);
            let keys = i128::from(to) - i128::from(from) + 1;
            assert!(width * i128::from(PARTS) >= keys && (width - 1) * i128::from(PARTS) < keys, "{from} {to}");
        }
    }
}
