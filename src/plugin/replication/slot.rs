//! Replication slots of a source, and how far a target has applied what they sent.

use std::time::Duration;

use serde::Deserialize;

use super::{Lsn, json, text};
use crate::database::{Change, Database, Dialect};
use crate::failure::{Failure, Result};

/// A logical replication slot.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// The output plugin that decodes for it.
    pub plugin: String,
    /// Somebody streams from it.
    pub active: bool,
    /// Seconds since whoever does last told how far it is.
    pub heard: Option<f64>,
    /// The server keeps its write-ahead log from here on for it, in bytes up to now.
    pub retained: Option<u64>,
    /// What of it may still be kept, in bytes; `None`: as much as the disk holds.
    pub limit: Option<u64>,
    /// The client has confirmed everything before this.
    pub confirmed: Option<Lsn>,
    /// Bytes of write-ahead log from there to now.
    pub lag: Option<u64>,
    /// Where the source's write-ahead log is now.
    pub at: Lsn,
    /// The server has thrown away what it needs: it can't be streamed from any more.
    pub lost: bool,
}

/// The slot of this name in this database.
///
/// # Errors
/// As [`Database::query`].
pub async fn slot(source: &dyn Database, name: &str) -> Result<Option<Slot>> {
    let sql = format!(
        "SELECT json_agg(json_build_object('name', slot_name, 'plugin', plugin, 'active', active, \
         'heard', (SELECT extract(epoch FROM clock_timestamp() - reply_time)::float8 FROM pg_stat_replication WHERE pid = active_pid), \
         'retained', greatest(pg_wal_lsn_diff(now_at, restart_lsn), 0)::int8, 'limit', (to_jsonb(s)->>'safe_wal_size')::int8, \
         'at', now_at, 'confirmed', confirmed_flush_lsn, 'lag', greatest(pg_wal_lsn_diff(now_at, confirmed_flush_lsn), 0)::int8, \
         'lost', coalesce(to_jsonb(s)->>'wal_status' = 'lost', false))) \
         FROM pg_replication_slots s, pg_current_wal_lsn() now_at WHERE database = current_database() AND slot_name = {}",
        Dialect::Postgres.text(name)
    );
    let found: Option<Vec<Slot>> = json(&source.query(&sql).await?, "replication slots")?;
    Ok(found.and_then(|mut found| found.pop()))
}

/// The slot; where nobody reads it, as it is a few seconds later: between catching up and following pgcopydb connects anew.
///
/// # Errors
/// As [`slot`].
pub async fn settled_slot(source: &dyn Database, name: &str) -> Result<Option<Slot>> {
    for _ in 0..10 {
        let seen = slot(source, name).await?;
        if seen.as_ref().is_none_or(|slot| slot.active || slot.lost) {
            return Ok(seen);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    slot(source, name).await
}

/// How far the target has applied what came under the name of an origin; `None`: there is no such origin, or nothing came.
///
/// # Errors
/// As [`Database::query`].
pub async fn applied(target: &dyn Database, origin: &str) -> Result<Option<Lsn>> {
    let name = Dialect::Postgres.text(origin);
    let sql = format!(
        "SELECT pg_replication_origin_progress({name}, true)::text WHERE EXISTS (SELECT FROM pg_replication_origin WHERE roname = {name})"
    );
    let rows = target.query(&sql).await?;
    text(&rows).map(str::parse).transpose()
}

/// Drops a slot if it is there and nobody uses it.
///
/// # Errors
/// It is in use, or the server refuses.
pub async fn drop_slot(source: &dyn Database, name: &str) -> Result<bool> {
    let Some(found) = slot(source, name).await? else { return Ok(false) };
    if found.active {
        return Err(Failure::failed(format!("replication slot {name} is in use")).passing());
    }
    source
        .change(&[Change { sql: format!("SELECT pg_drop_replication_slot({})", Dialect::Postgres.text(name)), rows: 1 }])
        .await?;
    Ok(true)
}

/// Drops a replication origin if it is there.
///
/// # Errors
/// It is in use, or the server refuses.
pub async fn drop_origin(target: &dyn Database, name: &str) -> Result<bool> {
    let exists = format!("SELECT count(*) FROM pg_replication_origin WHERE roname = {}", Dialect::Postgres.text(name));
    if target.number(&exists).await? != Some(1) {
        return Ok(false);
    }
    target
        .change(&[Change { sql: format!("SELECT pg_replication_origin_drop({})", Dialect::Postgres.text(name)), rows: 1 }])
        .await?;
    Ok(true)
}
