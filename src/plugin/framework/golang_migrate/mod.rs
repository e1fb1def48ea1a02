//! golang-migrate: one row, `version` and `dirty`. Before a file runs the row names it and is dirty; afterwards it is clean.
//!
//! So a dirty row says which file was running, and not whether it took effect. Only the schema tells that
//! (golang-migrate, `migrate.go`, `runMigrations`).

pub mod files;
#[cfg(test)]
mod tests;
mod upmeter;
pub mod verdict;

use async_trait::async_trait;
use dbmig_wire::SchemaObject;

use super::available::numbered;
use super::finding::{Finding, Level};
use super::lock::{Key, crc32};
use super::repair::{Choice, Edit, either};
use super::table::{Column, Kind, Signature, is_true, read};
use super::{
    Applied, Available, Before, Books, Effect as Done, Evidence, Failed, Framework, Remedy, Repair, Script, State, Table,
};
use crate::database::{Database, Dialect};
use crate::failure::Result;

/// What the schema and the data say about a migration that was running.
enum Effect {
    /// The database is at this version (`None`: before the first migration), and here is why.
    At { version: Option<i64>, because: String },
    /// Part of it took effect, or nothing tells.
    Unclear(String),
}

pub(super) struct GolangMigrate;

const NAME: &str = "golang-migrate";

#[async_trait]
impl Books for GolangMigrate {
    fn framework(&self) -> Framework {
        Framework::GolangMigrate
    }

    fn signature(&self) -> Signature {
        Signature::exactly(&["version", "dirty"])
    }

    async fn read(&self, database: &dyn Database, state: &mut State, _found: &[Table]) -> Result<()> {
        let rows = read(database, &state.table, &["version", "dirty"], "LIMIT 100").await?;
        state.count = rows.len() as u64;
        state.heads = rows.iter().filter_map(|row| row.first().cloned().flatten()).collect();
        for (row, id) in rows.iter().zip(&state.heads) {
            if is_true(row.get(1).and_then(Option::as_ref)) {
                let how = "it, or its way down, began, and its end was never written down (dirty)";
                state.failed.push(Failed::new(id, how));
            } else {
                state.applied.push(Applied { id: id.clone(), ..Applied::default() });
            }
        }
        if rows.len() > 1 {
            let what = format!("{} has {} rows where {NAME} keeps one: somebody edited it by hand", state.table, rows.len());
            state.notes.push(Finding::new(Level::Broken, what));
        }
        Ok(())
    }

    /// golang-migrate/migrate, `database/util.go`: the names joined by NUL, the database's last, times a salt.
    fn lock(&self, table: &Table, database_name: &str) -> Option<Key> {
        let key = |names: &str| crc32(names.as_bytes()).wrapping_mul(1_486_364_155);
        match table.dialect {
            Dialect::Sqlite => None,
            Dialect::Postgres => {
                let schema = table.schema.as_deref().unwrap_or_default();
                Some(Key::Advisory(key(&format!("{schema}\0{}\0{database_name}", table.name)).into()))
            }
            Dialect::Mysql | Dialect::MariaDb => Some(Key::Named(key(&format!("{database_name}:{}", table.name)).to_string())),
        }
    }

    fn repairs(&self, state: &State, _evidence: &Evidence) -> Vec<Repair> {
        let [failed] = state.failed.as_slice() else { return Vec::new() };
        if state.count == 1 { dirty(state, failed) } else { Vec::new() }
    }

    fn stamp(&self, state: &State, id: &str, _evidence: &Evidence) -> std::result::Result<Remedy, String> {
        let to: i64 = id.parse().map_err(|_| format!("{NAME} counts versions by numbers, and {id} is none"))?;
        match state.heads.as_slice() {
            [] => Ok(insert(Edit::of(&state.table), to).done()),
            [from] => Ok(set(&state.table, from, !state.failed.is_empty(), Some(to))),
            _ => Err(format!("{} has {} rows where {NAME} keeps one: delete by hand what is not true", state.table, state.count)),
        }
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[files::SUFFIX]
    }

    fn available(&self, scripts: &[Script]) -> Vec<Available> {
        numbered(scripts, self.suffixes(), true)
    }
}

/// The ways out of a dirty version.
fn dirty(state: &State, failed: &Failed) -> Vec<Repair> {
    let set = |to: Option<i64>| set(&state.table, &failed.id, true, to);
    let to =
        |id: &str| Choice { what: format!("set the version to {id}, clean"), to: id.to_owned(), remedy: set(id.parse().ok()) };
    let before = match &failed.before {
        Before::Unknown => None,
        Before::Nothing => Some(Choice {
            what: "take the row away: no migration is applied".to_owned(),
            to: "none".to_owned(),
            remedy: set(None),
        }),
        Before::Migration(id) => Some(to(id)),
    };
    either(&format!("migration {} is dirty", failed.id), failed, to(&failed.id), before)
}

/// As `migrate force` does it: the row goes, and another comes unless no migration is applied at all.
fn set(table: &Table, from: &str, dirty: bool, to: Option<i64>) -> Remedy {
    let state = match (table.dialect, dirty) {
        (Dialect::Postgres, true) => "dirty",
        (Dialect::Postgres, false) => "NOT dirty",
        (_, true) => "dirty <> 0",
        (_, false) => "dirty = 0",
    };
    let edit = Edit::of(table).delete(&format!("version = {from} AND {state}"), 1);
    match to {
        Some(to) => insert(edit, to).done(),
        None => edit.done(),
    }
}

fn insert(edit: Edit<'_>, to: i64) -> Edit<'_> {
    let clean = if edit.dialect() == Dialect::Postgres { "FALSE" } else { "0" };
    edit.insert(&[("version", to.to_string()), ("dirty", clean.to_owned())], &format!("version = {to}"))
}

/// Its table in a SQLite file.
fn in_sqlite(name: &str) -> Table {
    let column = |name: &str| Column { name: name.to_owned(), kind: Kind::Number };
    let columns = vec![column("version"), column("dirty")];
    Table { schema: None, name: name.to_owned(), dialect: Dialect::Sqlite, columns, obstacle: None }
}

/// What a dirty version has done to a SQLite database, where its schema is one that we know; `None` where it is not.
///
/// # Errors
/// When the database can't be asked.
pub(super) async fn known(
    database: &dyn Database,
    schema: &[SchemaObject],
    table: &str,
    version: i64,
) -> Result<Option<(Done, Before)>> {
    let before = |version: Option<i64>| version.map_or(Before::Nothing, |version| Before::Migration(version.to_string()));
    Ok(effect(database, schema, table, version).await?.map(|effect| match effect {
        Effect::At { version: Some(at), because } if at == version => (Done::Applied(because), Before::Unknown),
        Effect::At { version, because } => (Done::NotApplied(because), before(version)),
        Effect::Unclear(because) => (Done::Partly(because), Before::Unknown),
    }))
}

async fn effect(database: &dyn Database, schema: &[SchemaObject], table: &str, version: i64) -> Result<Option<Effect>> {
    if schema.iter().all(|object| object.table == table || object.name.starts_with("sqlite_")) {
        let because = "the database holds nothing but the bookkeeping: no migration took effect".to_owned();
        return Ok(Some(Effect::At { version: None, because }));
    }
    if !upmeter::is_its_schema(schema) {
        return Ok(None);
    }
    upmeter::effect(database, schema, version).await.map(Some)
}

/// Whether a table of the schema has all the given columns.
async fn has_columns(database: &dyn Database, table: &str, wanted: &[&str]) -> Result<bool> {
    let sql = format!("SELECT lower(name) FROM pragma_table_info({})", Dialect::Sqlite.text(table));
    let found = super::table::ask(database, &sql).await?;
    Ok(wanted.iter().all(|name| found.iter().any(|row| row.first().and_then(Option::as_deref) == Some(name))))
}
