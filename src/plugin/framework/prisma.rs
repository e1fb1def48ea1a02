//! Prisma: a row for each try, written when it begins; a try that failed stays in the way until somebody says how it ended.

use async_trait::async_trait;

use super::available::{file_name, folder, listed};
use super::journal::{instant, newest};
use super::lock::Key;
use super::repair::{Choice, Edit, either};
use super::table::{Signature, count};
use super::{Applied, Available, Books, Evidence, Failed, Framework, Remedy, Repair, Script, State, Table};
use crate::database::{Database, Dialect};
use crate::failure::Result;

pub(super) struct Prisma;

const OPEN: &str = "finished_at IS NULL AND rolled_back_at IS NULL";

#[async_trait]
impl Books for Prisma {
    fn framework(&self) -> Framework {
        Framework::Prisma
    }

    fn signature(&self) -> Signature {
        let all =
            &["id", "checksum", "finished_at", "migration_name", "logs", "rolled_back_at", "started_at", "applied_steps_count"];
        Signature::exactly(all)
    }

    async fn read(&self, database: &dyn Database, state: &mut State, _found: &[Table]) -> Result<()> {
        let columns = ["migration_name", "finished_at", "checksum", "logs", "started_at", "id"];
        state.count = count(database, &state.table, "WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL").await?;
        for row in newest(database, &state.table, &columns, "started_at", "rolled_back_at IS NULL").await? {
            let Ok([id, finished, checksum, log, started, key]) = <[Option<String>; 6]>::try_from(row) else { continue };
            let id = id.unwrap_or_default();
            let [at, began] = [finished, started].map(|time| time.map(|time| instant(&time)));
            if at.is_some() {
                let duration_ms = duration(began.as_deref(), at.as_deref());
                state.applied.push(Applied { id, at, duration_ms, checksum, ..Applied::default() });
            } else {
                let how = match &log {
                    Some(_) => "it failed",
                    None => "it began, and was killed before it could write down an error",
                };
                state.failed.push(Failed { log, key, ..Failed::new(id, how) });
            }
        }
        state.heads = state.applied.last().map(|last| last.id.clone()).into_iter().collect();
        Ok(())
    }

    /// prisma/prisma-engines, `acquire_lock` of the flavours.
    fn lock(&self, table: &Table, _database_name: &str) -> Option<Key> {
        match table.dialect {
            Dialect::Sqlite => None,
            Dialect::Postgres => Some(Key::Advisory(72_707_369)),
            Dialect::Mysql | Dialect::MariaDb => Some(Key::Named("prisma_migrate".to_owned())),
        }
    }

    fn repairs(&self, state: &State, _evidence: &Evidence) -> Vec<Repair> {
        let now = |column: &str| match state.table.dialect {
            // Prisma's own rows have milliseconds there.
            Dialect::Sqlite => "CAST(strftime('%s', 'now') AS INTEGER) * 1000".to_owned(),
            Dialect::Postgres | Dialect::Mysql | Dialect::MariaDb => state.table.now(column),
        };
        let of = |failed: &Failed| {
            let row = format!("id = {}", state.table.dialect.text(failed.key.as_deref().unwrap_or_default()));
            let open = format!("{row} AND {OPEN}");
            let edit = || Edit::of(&state.table);
            let applied = format!("finished_at = {}, logs = NULL", now("finished_at"));
            let back = format!("rolled_back_at = {}", now("rolled_back_at"));
            let finished = format!("{row} AND finished_at IS NOT NULL AND rolled_back_at IS NULL");
            let rolled_back = format!("{row} AND finished_at IS NULL AND rolled_back_at IS NOT NULL");
            either(
                &format!("migration {} failed", failed.id),
                failed,
                Choice {
                    what: format!("resolve {} as applied", failed.id),
                    to: failed.id.clone(),
                    remedy: edit().update(&applied, &open, &finished, 1).done(),
                },
                Some(Choice {
                    what: format!("resolve {} as rolled back, so that it runs again", failed.id),
                    to: state.at(),
                    remedy: edit().update(&back, &open, &rolled_back, 1).done(),
                }),
            )
        };
        state.failed.iter().flat_map(of).collect()
    }

    fn stamp(&self, _state: &State, id: &str, _evidence: &Evidence) -> std::result::Result<Remedy, String> {
        Err(format!("a row of Prisma holds the checksum of its file: run `prisma migrate resolve --applied {id}`"))
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &["migration.sql"]
    }

    /// `20260101120000_init/migration.sql`: the folder is the name.
    fn available(&self, scripts: &[Script]) -> Vec<Available> {
        let of = |script: &Script| {
            let name = folder(&script.path).filter(|_| file_name(&script.path) == "migration.sql")?;
            Some((name.to_owned(), name.to_owned()))
        };
        listed(scripts, of, |one| one.id.clone())
    }
}

fn duration(from: Option<&str>, to: Option<&str>) -> Option<u64> {
    let [from, to] = [from?, to?].map(|time| time.parse::<jiff::Timestamp>().ok());
    u64::try_from(to?.as_millisecond() - from?.as_millisecond()).ok()
}
