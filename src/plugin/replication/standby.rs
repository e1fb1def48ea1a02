//! Physical replication: a primary, its standbys, and what became of one that was made a primary itself.

use serde::{Deserialize, Serialize};

use super::{Lsn, json, odd, text};
use crate::database::{Database, Dialect};
use crate::failure::Result;

/// What a server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// It replays what another server writes.
    pub in_recovery: bool,
    /// Given by initdb; a primary and its standbys have it in common.
    pub system_identifier: String,
    /// A primary begins a new one when it is made one.
    pub timeline: i64,
    /// `server_version_num`: 150004.
    pub version: i64,
    /// Where its log ends; of a standby, how far it has replayed.
    pub lsn: Lsn,
}

impl Standing {
    /// Major version: 15.
    #[must_use]
    pub fn major(&self) -> i64 {
        self.version / 10_000
    }
}

/// Whom a standby receives from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// `streaming` when all is well.
    pub status: Option<String>,
    /// The primary's host.
    pub host: Option<String>,
    /// The replication slot that keeps log for it there.
    pub slot: Option<String>,
}

/// What a server is now.
///
/// # Errors
/// As [`Database::query`].
pub async fn standing(database: &dyn Database) -> Result<Standing> {
    // The functions that a standby refuses, and those that a primary does not need, are only called where they make sense.
    let sql = "SELECT json_build_object('inRecovery', pg_is_in_recovery(), \
               'systemIdentifier', (SELECT system_identifier::text FROM pg_control_system()), \
               'timeline', CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint()) \
                           ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END, \
               'version', current_setting('server_version_num')::int, \
               'lsn', coalesce(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, '0/0')::text)";
    json(&database.query(sql).await?, "what it is")
}

/// Whom a standby receives from; `None` where it receives nothing.
///
/// # Errors
/// As [`Database::query`].
pub async fn receiver(database: &dyn Database) -> Result<Option<Receiver>> {
    let sql = "SELECT (SELECT json_build_object('status', status, 'host', sender_host, 'slot', slot_name) \
               FROM pg_stat_wal_receiver WHERE pid IS NOT NULL LIMIT 1)";
    json(&database.query(sql).await?, "whom it receives from")
}

/// How many standbys stream from a primary.
///
/// # Errors
/// As [`Database::query`].
pub async fn replicas(database: &dyn Database) -> Result<i64> {
    let sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
    database.number(sql).await?.ok_or_else(|| odd("its standbys"))
}

/// The largest tables, quoted as SQL needs it.
///
/// # Errors
/// As [`Database::query`].
pub async fn largest(database: &dyn Database, most: usize) -> Result<Vec<String>> {
    let sql = format!(
        "SELECT coalesce(json_agg(name), '[]') FROM (SELECT format('%I.%I', nspname, relname) AS name FROM pg_class c \
         JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND relpersistence = 'p' AND nspname !~ '^pg_' \
         AND nspname <> 'information_schema' ORDER BY pg_table_size(c.oid) DESC, name LIMIT {most}) AS found"
    );
    json(&database.query(&sql).await?, "its tables")
}

/// How many rows a table has, quoted as SQL needs it; `None` where there is no such table.
///
/// # Errors
/// As [`Database::query`].
pub async fn rows_of(database: &dyn Database, table: &str) -> Result<Option<i64>> {
    let there = format!("SELECT count(*) FROM pg_class WHERE oid = to_regclass({})", Dialect::Postgres.text(table));
    if database.number(&there).await? != Some(1) {
        return Ok(None);
    }
    database.number(&format!("SELECT count(*) FROM {table}")).await
}

/// Where the timeline that a primary is on began: up to there its log is that of the server it came from. `None` where this role may
/// not read it.
///
/// # Errors
/// What it answers is no history.
pub async fn fork(database: &dyn Database, timeline: i64) -> Result<Option<Lsn>> {
    let sql = format!("SELECT pg_read_file('pg_wal/{timeline:08X}.history')");
    let Ok(rows) = database.query(&sql).await else { return Ok(None) };
    last_switch(text(&rows).unwrap_or_default()).map(Some)
}

/// The last line of a history file: `1<tab>0/5000148<tab>no recovery target specified`.
fn last_switch(history: &str) -> Result<Lsn> {
    let mut lines = history.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let switch = lines.next_back().and_then(|line| line.split_whitespace().nth(1));
    switch.ok_or_else(|| odd("the history of its timelines"))?.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_switch_counts() {
        let history = "1\t0/3000060\tno recovery target specified\n\n2\t0/50001A8\tno recovery target specified\n";
        assert_eq!(last_switch(history).unwrap().to_string(), "0/50001A8");
        assert!(last_switch("").is_err());
    }
}
