//! Atlas: a row for each file, brought up to date after each of its statements: it goes on in the middle of a file by itself.

use async_trait::async_trait;

use super::available::numbered;
use super::journal::newest;
use super::lock::Key;
use super::table::{Signature, count, number};
use super::{Applied, Available, Books, Evidence, Failed, Framework, Remedy, Repair, Script, State, Table};
use crate::database::{Database, Dialect};
use crate::failure::Result;

pub(super) struct Atlas;

/// Rows that are not migrations have names that begin with a full stop.
const MIGRATIONS: &str = "version NOT LIKE '.%'";
const LOCK: &str = "atlas_migrate_execute";

#[async_trait]
impl Books for Atlas {
    fn framework(&self) -> Framework {
        Framework::Atlas
    }

    fn signature(&self) -> Signature {
        Signature::with_others(
            &["version", "description", "type", "applied", "total", "executed_at", "execution_time", "hash"],
            6,
        )
    }

    async fn read(&self, database: &dyn Database, state: &mut State, _found: &[Table]) -> Result<()> {
        let columns =
            ["version", "description", "executed_at", "hash", "execution_time", "applied", "total", "error", "error_stmt"];
        state.count = count(database, &state.table, &format!("WHERE {MIGRATIONS}")).await?;
        for row in newest(database, &state.table, &columns, "version", MIGRATIONS).await? {
            let (done, total): (u64, u64) = (number(&row, 5).unwrap_or_default(), number(&row, 6).unwrap_or_default());
            let duration_ms = number::<u64>(&row, 4).map(|ns| ns / 1_000_000);
            let Ok([id, name, at, checksum, _, _, _, error, statement]) = <[Option<String>; 9]>::try_from(row) else { continue };
            let id = id.unwrap_or_default();
            if done < total {
                let how = format!("{done} of its {total} statements ran");
                let log: Vec<String> = [error, statement].into_iter().flatten().filter(|text| !text.is_empty()).collect();
                let log = (!log.is_empty()).then(|| log.join(": "));
                state.failed.push(Failed { log, ..Failed::new(id, how) });
            } else {
                state.applied.push(Applied { id, name, at, duration_ms, checksum, ..Applied::default() });
            }
        }
        state.count = state.count.saturating_sub(state.failed.len() as u64);
        state.heads = state.applied.last().map(|last| last.id.clone()).into_iter().collect();
        Ok(())
    }

    /// ariga/atlas, `sql/postgres/driver.go` and `sql/mysql/driver.go`: a name, and on PostgreSQL its FNV-1.
    fn lock(&self, table: &Table, _database_name: &str) -> Option<Key> {
        match table.dialect {
            Dialect::Sqlite => None,
            Dialect::Postgres => {
                let sum = LOCK.bytes().fold(0x811c_9dc5_u32, |sum, byte| sum.wrapping_mul(0x0100_0193) ^ u32::from(byte));
                Some(Key::Advisory(sum.into()))
            }
            Dialect::Mysql | Dialect::MariaDb => Some(Key::Named(LOCK.to_owned())),
        }
    }

    fn repairs(&self, state: &State, _evidence: &Evidence) -> Vec<Repair> {
        let of = |failed: &Failed| {
            Repair::elsewhere(
                format!("migration {} is applied in part: {}", failed.id, failed.how),
                "mend the statement that failed and apply again",
                "Atlas knows which statements ran and goes on after them, if those are as they were",
                ["atlas migrate apply", "atlas migrate set VERSION   # if you finished or reversed it by hand"],
            )
        };
        state.failed.iter().map(of).collect()
    }

    fn stamp(&self, _state: &State, id: &str, _evidence: &Evidence) -> std::result::Result<Remedy, String> {
        Err(format!("a row of Atlas holds the hash of its file: run `atlas migrate set {id}`"))
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[".sql"]
    }

    fn available(&self, scripts: &[Script]) -> Vec<Available> {
        numbered(scripts, self.suffixes(), false)
    }
}
