//! Entity Framework Core: a row for each applied migration; on SQLite, since version 9, a lock that is a row and is left behind by
//! whoever was killed.

use async_trait::async_trait;

use super::available::{named, without};
use super::journal::{Columns, Journal, NONE, Sign};
use super::repair::Edit;
use super::table::{Signature, read};
use super::{Available, Books, Evidence, Fate, Framework, Holder, Lock, LockKind, Remedy, Script, State, Table, lock};
use crate::database::Database;
use crate::failure::Result;

pub(super) struct EfCore;

const LOCK: Signature = Signature::exactly(&["id", "timestamp"]);

const ROWS: Journal = Journal {
    framework: Framework::EfCore,
    signature: Signature::exactly(&["migrationid", "productversion"]),
    sign: Sign::Columns,
    order: "migrationid",
    columns: Columns { id: "migrationid", key: "productversion", ..NONE },
    lock: |_, _| None,
    suffixes: &[".cs"],
    available: |scripts| {
        named(scripts, |name| {
            let id = without(name, &[".cs"]).filter(|id| !id.ends_with(".Designer"))?;
            id.starts_with(|c: char| c.is_ascii_digit()).then(|| id.to_owned())
        })
    },
    stamp: |state, id| {
        let last = state.applied.last().and_then(|last| last.key.clone());
        let version = last.ok_or("no row tells which version of EF Core to write beside it: run `dotnet ef database update`")?;
        let text = |value: &str| state.table.dialect.text(value);
        Ok(vec![("migrationid", text(id)), ("productversion", text(&version))])
    },
};

#[async_trait]
impl Books for EfCore {
    fn framework(&self) -> Framework {
        Framework::EfCore
    }

    fn signature(&self) -> Signature {
        ROWS.signature
    }

    fn siblings(&self) -> &'static [Signature] {
        &[LOCK]
    }

    async fn read(&self, database: &dyn Database, state: &mut State, found: &[Table]) -> Result<()> {
        ROWS.read(database, state, found).await?;
        let Some(table) = state.table.beside(found, "__EFMigrationsLock").filter(|table| table.obstacle.is_none()) else {
            return Ok(());
        };
        for row in read(database, table, &["timestamp"], "LIMIT 10").await? {
            let kind = LockKind::Row { table: table.clone(), rows: 1 };
            let since = row.into_iter().next().flatten().map(|since| since.replacen(' ', "T", 1));
            state.locks.push(Lock { kind, holder: Holder::default(), since, fate: Fate::default() });
        }
        Ok(())
    }

    /// On PostgreSQL its lock is one on its own table, which any framework's may be found by: see [`lock`].
    fn lock(&self, _table: &Table, _database_name: &str) -> Option<lock::Key> {
        None
    }

    fn free(&self, table: &Table, rows: u64, _lock: &Lock) -> Remedy {
        Edit::of(table).delete(&format!("{} = 1", table.named("id")), rows).done()
    }

    fn stamp(&self, state: &State, id: &str, evidence: &Evidence) -> std::result::Result<Remedy, String> {
        ROWS.stamp(state, id, evidence)
    }

    fn suffixes(&self) -> &'static [&'static str] {
        ROWS.suffixes
    }

    fn available(&self, scripts: &[Script]) -> Vec<Available> {
        Books::available(&ROWS, scripts)
    }
}
