//! A row of ours that has to come through: what arrives after everything else proves that everything else has arrived.
//!
//! Rows are only ever inserted: pgcopydb 0.17 carries inserts into a table that was made after its copy, but fails on an update
//! of such a row ("not in our catalogs"), seen in a run.

use super::{Lsn, text};
use crate::database::postgres::{End, Postgres};
use crate::database::{Change, Database};
use crate::failure::Result;

/// The schema of our table, in source and target, as long as an operation lasts.
const SCHEMA: &str = "kubectl_dbmig";

/// Bytes of text that are sent after a row: pgcopydb's processes hand changes on through buffers, and without more to fill
/// these a row waits there for up to 20 s; with it, it arrives within 0.2 s (measured with 0.17).
const FILLER_BYTES: usize = 128 * 1024;

/// The row of one operation.
pub struct Canary<'a> {
    /// Id of the operation.
    pub id: &'a str,
}

impl Canary<'_> {
    /// Makes the table. On the target first: what is written to one that is not there would stop all following.
    ///
    /// # Errors
    /// As [`Database::change`].
    pub async fn prepare(&self, source: &Postgres, target: &Postgres) -> Result<()> {
        let script = format!(
            "CREATE SCHEMA IF NOT EXISTS {SCHEMA}; \
             CREATE TABLE IF NOT EXISTS {SCHEMA}.canary (id text PRIMARY KEY, filler text);"
        );
        for side in [target, source] {
            side.transact(&script, "SELECT 1", End::Commit).await?;
        }
        Ok(())
    }

    /// Writes a row to the source, once for each name. The position right after it: everything that was written before lies before it.
    ///
    /// # Errors
    /// As [`Database::change`].
    pub async fn write(&self, source: &Postgres, name: &str) -> Result<Lsn> {
        let row = self.row(name);
        let script = format!("INSERT INTO {SCHEMA}.canary (id) VALUES ('{row}') ON CONFLICT (id) DO NOTHING");
        source.transact(&script, "SELECT 1", End::Commit).await?;
        flushed(source).await
    }

    /// Writes what pushes everything before it along.
    ///
    /// # Errors
    /// As [`Database::change`].
    pub async fn push(&self, source: &Postgres) -> Result<()> {
        let row = self.row("filler");
        let script = format!(
            "INSERT INTO {SCHEMA}.canary (id, filler) SELECT '{row}-' || clock_timestamp(), string_agg(md5(i::text), '') \
             FROM generate_series(1, {}) AS i",
            FILLER_BYTES / 32
        );
        source.transact(&script, "SELECT 1", End::Commit).await.map(|_| ())
    }

    /// Writes a row to each server and waits until that is on its disk: everything before it is, then, and no crash takes a
    /// transaction's number back that was given out before.
    ///
    /// # Errors
    /// As [`Database::change`].
    pub async fn seal(&self, source: &Postgres, target: &Postgres) -> Result<()> {
        // Never the same one: the source's is on its way to the target, and would stop all following there.
        for (side, name) in [(source, "sealed"), (target, "sealed-here")] {
            let row = self.row(name);
            let insert = format!("INSERT INTO {SCHEMA}.canary (id) SELECT '{row}-' || clock_timestamp()");
            side.transact(&format!("SET LOCAL synchronous_commit = on; {insert}"), "SELECT 1", End::Commit).await?;
        }
        Ok(())
    }

    /// The row is on the target.
    ///
    /// # Errors
    /// As [`Database::query`].
    pub async fn has_arrived(&self, target: &dyn Database, name: &str) -> Result<bool> {
        let sql = format!("SELECT count(*) FROM {SCHEMA}.canary WHERE id = '{}'", self.row(name));
        Ok(target.number(&sql).await? == Some(1))
    }

    /// Removes the table where it is.
    ///
    /// # Errors
    /// As [`Database::change`].
    pub async fn remove(&self, side: &dyn Database) -> Result<()> {
        side.change(&[Change { sql: format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE"), rows: 0 }]).await
    }

    fn row(&self, name: &str) -> String {
        format!("{}-{name}", self.id)
    }
}

/// The position up to which the source's log is on its disk.
async fn flushed(source: &dyn Database) -> Result<Lsn> {
    let rows = source.query("SELECT pg_current_wal_flush_lsn()::text").await?;
    text(&rows).ok_or_else(|| super::odd("its log"))?.parse()
}
