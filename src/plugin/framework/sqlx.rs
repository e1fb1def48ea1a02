//! sqlx: a row for each migration; on MySQL it is there before the migration has ended, and says that it failed until then.

use async_trait::async_trait;

use super::available::{file_name, listed};
use super::journal::newest;
use super::lock::{Key, by_database};
use super::repair::{Choice, Edit, either};
use super::table::{Signature, count, is_true, number};
use super::{Applied, Available, Books, Evidence, Failed, Framework, Remedy, Repair, Script, State, Table};
use crate::database::{Database, Dialect};
use crate::failure::Result;

pub(super) struct Sqlx;

#[async_trait]
impl Books for Sqlx {
    fn framework(&self) -> Framework {
        Framework::Sqlx
    }

    fn signature(&self) -> Signature {
        Signature::exactly(&["version", "description", "installed_on", "success", "checksum", "execution_time"])
    }

    async fn read(&self, database: &dyn Database, state: &mut State, _found: &[Table]) -> Result<()> {
        let columns = ["version", "description", "installed_on", "checksum", "execution_time", "success"];
        state.count = count(database, &state.table, "").await?;
        for row in newest(database, &state.table, &columns, "version", "1 = 1").await? {
            // -1 while it is not known, in nanoseconds.
            let duration_ms = number::<i64>(&row, 4).and_then(|ns| u64::try_from(ns).ok()).map(|ns| ns / 1_000_000);
            let Ok([id, name, at, checksum, _, success]) = <[Option<String>; 6]>::try_from(row) else { continue };
            let id = id.unwrap_or_default();
            if is_true(success.as_ref()) {
                state.applied.push(Applied { id, name, at, duration_ms, checksum, ..Applied::default() });
            } else {
                let how = "it began, and its end was never written down";
                state.failed.push(Failed::new(id, how));
            }
        }
        state.count = state.count.saturating_sub(state.failed.len() as u64);
        state.heads = state.applied.last().map(|last| last.id.clone()).into_iter().collect();
        Ok(())
    }

    /// Taken by applications that migrate when they start. sqlx-cli takes none (seen with 0.9.0).
    fn lock(&self, table: &Table, database_name: &str) -> Option<Key> {
        by_database(Framework::Sqlx, table, database_name)
    }

    fn repairs(&self, state: &State, _evidence: &Evidence) -> Vec<Repair> {
        let (yes, no) =
            if state.table.dialect == Dialect::Postgres { ("success", "NOT success") } else { ("success <> 0", "success = 0") };
        let set = if state.table.dialect == Dialect::Postgres { "success = TRUE" } else { "success = 1" };
        let of = |failed: &Failed| {
            let (half, whole) = (format!("version = {} AND {no}", failed.id), format!("version = {} AND {yes}", failed.id));
            let applied = Edit::of(&state.table).update(set, &half, &whole, 1).done();
            let gone = Edit::of(&state.table).delete(&half, 1).done();
            either(
                &format!("migration {} is partially applied", failed.id),
                failed,
                Choice { what: format!("write {} down as applied", failed.id), to: failed.id.clone(), remedy: applied },
                Some(Choice {
                    what: format!("delete the row of {}, so that it runs again", failed.id),
                    to: state.at(),
                    remedy: gone,
                }),
            )
        };
        state.failed.iter().flat_map(of).collect()
    }

    fn stamp(&self, _state: &State, _id: &str, _evidence: &Evidence) -> std::result::Result<Remedy, String> {
        Err("a row of sqlx holds the checksum of its file: let the migration run, with IF NOT EXISTS in what is there already"
            .to_owned())
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[".sql"]
    }

    fn available(&self, scripts: &[Script]) -> Vec<Available> {
        let of = |script: &Script| {
            let name = file_name(&script.path).strip_suffix(".sql").filter(|name| !name.ends_with(".down"))?;
            let (version, title) = name.strip_suffix(".up").unwrap_or(name).split_once('_')?;
            Some((version.parse::<u64>().ok()?.to_string(), title.replace('_', " ")))
        };
        listed(scripts, of, |one| one.id.parse::<u64>().unwrap_or_default())
    }
}
