//! Whether two servers hold the same rows: counts and digests that each computes for itself, of tables that rest.
//!
//! pgcopydb's own comparison ends with 0 when it finds a difference, so it proves nothing.

mod baseline;
mod compare;
mod digest;
mod narrow;
mod settle;
mod since;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::baseline::Baseline;
pub use self::compare::{Proof, compare};
pub use self::settle::Settling;
use super::json;
use crate::database::Database;
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

/// A table with rows of its own: an ordinary one, or a partition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Table {
    /// Schema and name, quoted as SQL needs it.
    pub name: String,
    /// Its row as one text that is the same on every version and with every setting.
    row: String,
    /// Columns of its primary key, quoted.
    key: Vec<String>,
    /// Their types.
    types: Vec<String>,
    /// Its columns, dropped ones too: another text after any change of them.
    shape: String,
    /// Each row carries the number of the transaction that wrote it, and changes with it only.
    stamped: bool,
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
    /// What of it.
    pub what: What,
    /// Where the rows differ, by key, where that can be told.
    pub range: Option<(i64, i64)>,
}

/// What two sides have in different ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum What {
    /// All rows: so many on the source, and on the target; `None`: there is no such table.
    Table(u64, Option<u64>),
    /// So many rows of those that were looked at one by one.
    Rows(usize),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, what, range } = self;
        match what {
            What::Table(source, None) => write!(f, "{table}: {source} rows on the source, no such table on the target")?,
            What::Table(source, Some(target)) if target == source => {
                write!(f, "{table}: {source} rows on both sides, but not the same")?;
            }
            What::Table(source, Some(target)) => write!(f, "{table}: {source} rows on the source, {target} on the target")?,
            What::Rows(1) => write!(f, "{table}: a row is not the same on both sides")?,
            What::Rows(count) => write!(f, "{table}: {count} rows are not the same on both sides")?,
        }
        range.map_or(Ok(()), |(from, to)| write!(f, "; they differ from key {from} to {to}"))
    }
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
         'types', coalesce((SELECT json_agg(format_type(atttypid, atttypmod) ORDER BY array_position(indkey::int2[], attnum)) \
                            FROM pg_attribute WHERE attrelid = c.oid AND attnum = ANY (indkey)), '[]'), \
         'shape', (SELECT md5(coalesce(string_agg(format('%s %I %s %s %s', attnum, attname, atttypid, atttypmod, attisdropped), ', ' \
                              ORDER BY attnum), '')) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0), \
         'stamped', coalesce((SELECT amname = 'heap' FROM pg_am WHERE oid = relam), true) AND NOT EXISTS (\
                    SELECT FROM pg_attribute a WHERE attrelid = c.oid AND to_jsonb(a)->>'attgenerated' = 'v'), \
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_says_which_rows_to_look_at() {
        let mut difference =
            Difference { table: "public.numbered".to_owned(), what: What::Table(10, Some(9)), range: Some((7, 7)) };
        assert_eq!(
            difference.to_string(),
            "public.numbered: 10 rows on the source, 9 on the target; they differ from key 7 to 7"
        );
        difference = Difference { what: What::Table(10, Some(10)), range: None, ..difference };
        assert_eq!(difference.to_string(), "public.numbered: 10 rows on both sides, but not the same");
        difference.what = What::Table(10, None);
        assert!(difference.to_string().contains("no such table"));
    }
}
