//! Knex: a row for each applied file, and a lock that is a row of a second table, which says neither who took it nor when.

use async_trait::async_trait;

use super::available::{named, without};
use super::journal::{Columns, Journal, NONE, Sign, batch_of};
use super::repair::Edit;
use super::table::{Signature, is_true, read};
use super::{Applied, Available, Books, Evidence, Fate, Framework, Holder, Lock, LockKind, Remedy, Repair, Script, State, Table};
use crate::database::Database;
use crate::failure::Result;

pub(super) struct Knex;

const LOCK: Signature = Signature::exactly(&["index", "is_locked"]);
const ENDINGS: [&str; 7] = [".js", ".ts", ".cjs", ".mjs", ".cts", ".mts", ".coffee"];

const ROWS: Journal = Journal {
    framework: Framework::Knex,
    signature: Signature::exactly(&["id", "name", "batch", "migration_time"]),
    sign: Sign::Columns,
    order: "id",
    columns: Columns { id: "name", at: "migration_time", batch: "batch", key: "id", ..NONE },
    lock: |_, _| None,
    suffixes: &ENDINGS,
    available: |scripts| {
        named(scripts, |name| without(name, &ENDINGS).filter(|stem| !stem.ends_with(".d")).map(|_| name.to_owned()))
    },
    stamp: |state, id| {
        let batch = batch_of(state, id).to_string();
        Ok(vec![("name", state.table.dialect.text(id)), ("batch", batch), ("migration_time", state.table.now("migration_time"))])
    },
};

#[async_trait]
impl Books for Knex {
    fn framework(&self) -> Framework {
        Framework::Knex
    }

    fn signature(&self) -> Signature {
        ROWS.signature
    }

    fn siblings(&self) -> &'static [Signature] {
        &[LOCK]
    }

    async fn read(&self, database: &dyn Database, state: &mut State, found: &[Table]) -> Result<()> {
        ROWS.read(database, state, found).await?;
        let Some(table) = state.table.beside(found, &format!("{}_lock", state.table.name)) else { return Ok(()) };
        if table.obstacle.is_some() {
            return Ok(());
        }
        // No row is well: the next command puts one there. Two are as bad as a locked one.
        let rows = read(database, table, &["is_locked"], "LIMIT 10").await?;
        if rows.len() > 1 || rows.iter().any(|row| is_true(row.first().and_then(Option::as_ref))) {
            let kind = LockKind::Row { table: table.clone(), rows: rows.len() as u64 };
            state.locks.push(Lock { kind, holder: Holder::default(), since: None, fate: Fate::default() });
        }
        Ok(())
    }

    /// As `knex migrate:unlock` leaves it: one row, not locked.
    fn free(&self, table: &Table, rows: u64, _lock: &Lock) -> Remedy {
        let locked = table.named("is_locked");
        if rows == 1 {
            let condition = format!("{locked} = 1");
            return Edit::of(table).update(&format!("{locked} = 0"), &condition, &format!("{locked} = 0"), 1).done();
        }
        Edit::of(table).delete("1 = 1", rows).insert(&[("is_locked", "0".to_owned())], "1 = 1").done()
    }

    fn repairs(&self, state: &State, evidence: &Evidence) -> Vec<Repair> {
        ROWS.repairs(state, evidence).into_iter().chain(renamed(state, evidence)).collect()
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

/// Files that changed their ending and nothing else, as they do when TypeScript is compiled: Knex calls the directory corrupt.
fn renamed(state: &State, evidence: &Evidence) -> Option<Repair> {
    let available = evidence.available.as_ref()?;
    let is_there = |id: &str| available.iter().any(|one| one.id == id);
    let stem = |id: &str| without(id, &ENDINGS).map(str::to_owned);
    let new_name = |applied: &Applied| {
        let same = |one: &&Available| stem(&one.id).is_some() && stem(&one.id) == stem(&applied.id);
        if is_there(&applied.id) { None } else { available.iter().find(same).map(|one| one.id.clone()) }
    };
    let pairs: Vec<(&Applied, String)> = state.applied.iter().filter_map(|applied| Some((applied, new_name(applied)?))).collect();
    let (first, new) = pairs.first()?;
    let (name, text) = (state.table.named("name"), |value: &str| state.table.dialect.text(value));
    let edit = pairs.iter().fold(Edit::of(&state.table), |edit, (applied, new)| {
        let (old, new) = (format!("{name} = {}", text(&applied.id)), format!("{name} = {}", text(new)));
        edit.update(&new, &old, &new, 1)
    });
    let because = format!("{} is there as {new}: the file changed its ending and nothing else", first.id);
    let problem = format!("{} applied files are not there by their names", pairs.len());
    Some(Repair::proven(problem, format!("rename {} rows to the files' names", pairs.len()), because, edit.done()))
}
