//! How much has been written to a server, so that it can be told later whether anything has been since.

use serde::{Deserialize, Serialize};

use crate::database::Database;
use crate::failure::Result;

/// How much has been written to a server's tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The next number that a writing transaction gets.
    pub next: i64,
    /// Rows inserted, changed and deleted, by the server's own statistics, which may come some seconds late.
    pub rows: i64,
    /// A digest of the tables and their columns.
    #[serde(default)]
    pub schema: String,
}

impl Written {
    /// Transactions that got a number since an earlier moment: those that wrote, those that only meant to, and the server's own upkeep.
    #[must_use]
    pub fn transactions_since(&self, earlier: &Self) -> i64 {
        self.next - earlier.next
    }

    /// Rows or tables are others than at an earlier moment. False may be too early to say: see [`Written::rows`].
    #[must_use]
    pub fn differs(&self, earlier: &Self) -> bool {
        self.rows != earlier.rows || self.schema != earlier.schema
    }
}

/// What has been written so far.
///
/// # Errors
/// As [`Database::query`].
pub async fn written(database: &dyn Database) -> Result<Written> {
    let next = database.number("SELECT txid_snapshot_xmax(txid_current_snapshot())").await?.unwrap_or_default();
    let sql = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::int8 FROM pg_stat_user_tables \
               WHERE schemaname NOT IN ('kubectl_dbmig', 'pgcopydb')";
    let rows = database.number(sql).await?.unwrap_or_default();
    let sql = "SELECT coalesce(md5(string_agg(format('%s %s %s %s', attrelid, attname, atttypid, attnotnull), ',' ORDER BY attrelid, attnum)), '') \
               FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace \
               WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'i') AND nspname !~ '^pg_' \
               AND nspname NOT IN ('information_schema', 'kubectl_dbmig', 'pgcopydb')";
    let schema = super::text(&database.query(sql).await?).unwrap_or_default().to_owned();
    Ok(Written { next, rows, schema })
}
