//! golang-migrate: one row, `version` and `dirty`. Before a file runs the row names it and is dirty; afterwards it is clean.
//!
//! So a dirty row says which file was running, and not whether it took effect. Only the schema tells that
//! (golang-migrate, `migrate.go`, `runMigrations`).

pub mod files;
#[cfg(test)]
mod tests;
mod upmeter;

use dbmig_wire::{Change, SchemaObject};
use serde_json::Value;

use super::{Recognised, Repair, State, columns, identifier};
use crate::database::Database;
use crate::failure::Result;

/// What the schema and the data say about a migration that was running.
enum Effect {
    /// The database is at this version (`None`: before the first migration), and here is why.
    At { version: Option<i64>, because: String },
    /// Part of it took effect, or nothing tells.
    Unclear(String),
}

const NAME: &str = "golang-migrate";

/// Whether these are the columns of its table (SQLite and others alike: exactly `version` and `dirty`).
#[must_use]
pub fn is_its_table(columns: &[String]) -> bool {
    columns == ["version", "dirty"]
}

/// Reads the state, and works out what to do about a dirty one.
///
/// # Errors
/// When the database can't be asked.
pub async fn examine(database: &dyn Database, schema: &[SchemaObject], table: &str) -> Result<Recognised> {
    let rows = database.query(&format!("SELECT version, dirty FROM {}", identifier(table))).await?;
    let (version, dirty) = match rows.as_slice() {
        [] => (None, false),
        [row, ..] => (row.first().and_then(Value::as_i64), row.get(1).is_some_and(is_true)),
    };
    let state = State { framework: NAME.to_owned(), table: table.to_owned(), version, dirty };
    let repair = match (rows.len(), version) {
        (2.., _) => Repair::Refused {
            because: format!("{table} has {} rows where golang-migrate keeps one: somebody edited it by hand", rows.len()),
        },
        (_, Some(version)) if dirty => repair(database, schema, table, version).await?,
        _ => Repair::NotNeeded,
    };
    Ok(Recognised::Known { state, repair })
}

/// The driver writes a boolean, which SQLite keeps as 1 or 0; a file edited by hand may hold text.
fn is_true(value: &Value) -> bool {
    value.as_i64().is_some_and(|number| number != 0) || matches!(value.as_str(), Some("true" | "t" | "1"))
}

async fn repair(database: &dyn Database, schema: &[SchemaObject], table: &str, version: i64) -> Result<Repair> {
    if schema.iter().all(|object| object.table == table || object.name.starts_with("sqlite_")) {
        let because = "the database holds nothing but the bookkeeping: no migration took effect".to_owned();
        return Ok(Repair::Set { to: None, because, changes: changes(table, version, None) });
    }
    if !upmeter::is_its_schema(schema) {
        return Ok(Repair::Refused {
            because: format!(
                "migration {version} was running, and only its file tells whether it took effect: compare the schema with the file by hand, \
                 then `migrate force` to the version that is really there"
            ),
        });
    }
    Ok(match upmeter::effect(database, schema, version).await? {
        Effect::At { version: to, because } => Repair::Set { to, because, changes: changes(table, version, to) },
        Effect::Unclear(because) => Repair::Refused { because },
    })
}

/// What to do about a dirty version, judged by the image's migration files.
#[must_use]
pub fn judge(state: &State, schema: &[SchemaObject], evidence: &files::Evidence) -> Repair {
    match evidence.effect(schema, &state.table) {
        Effect::At { version: to, because } => {
            Repair::Set { to, because, changes: changes(&state.table, evidence.version(), to) }
        }
        Effect::Unclear(because) => Repair::Refused { because },
    }
}

/// As `migrate force` does it: the row goes, and another comes unless no migration is applied at all.
fn changes(table: &str, from: i64, to: Option<i64>) -> Vec<Change> {
    let table = identifier(table);
    let mut changes = vec![Change { sql: format!("DELETE FROM {table} WHERE version = {from} AND dirty <> 0"), rows: 1 }];
    if let Some(to) = to {
        changes.push(Change { sql: format!("INSERT INTO {table} (version, dirty) VALUES ({to}, 0)"), rows: 1 });
    }
    changes
}

/// Whether a table of the schema has all the given columns.
async fn has_columns(database: &dyn Database, table: &str, wanted: &[&str]) -> Result<bool> {
    let found = columns(database, table).await?;
    Ok(wanted.iter().all(|name| found.iter().any(|column| column == name)))
}
