//! What each migration framework writes down, and how its state is set right. One file per framework; a new one is a
//! new file and a line in [`recognise`].

pub mod golang_migrate;

use dbmig_wire::{Change, SchemaObject};
use serde::{Deserialize, Serialize};

use crate::database::Database;
use crate::failure::Result;

/// What a framework's bookkeeping says of a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The framework: `golang-migrate`.
    pub framework: String,
    /// Its table.
    pub table: String,
    /// Version it believes to be at; `None` before the first migration.
    pub version: Option<i64>,
    /// It began a migration and did not write down its end.
    pub dirty: bool,
}

impl State {
    /// In words: `golang-migrate, version 4, dirty`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let version = self.version.map_or_else(|| "no migration applied".to_owned(), |version| format!("version {version}"));
        format!("{}, {version}{}", self.framework, if self.dirty { ", dirty" } else { "" })
    }
}

/// What to do about a dirty state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "repair")]
pub enum Repair {
    /// Nothing is dirty.
    NotNeeded,
    /// Set the version; the evidence proves it right.
    #[serde(rename_all = "camelCase")]
    Set {
        /// Version to write; `None` for no row at all.
        to: Option<i64>,
        /// Evidence, as a sentence without a full stop.
        because: String,
        /// The statements, run in one transaction.
        changes: Vec<Change>,
    },
    /// The evidence does not allow it; the row stays as it is.
    #[serde(rename_all = "camelCase")]
    Refused {
        /// What is half-applied, or what is not known.
        because: String,
    },
}

/// What is known of a database's framework.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Recognised {
    /// A framework whose state can be read.
    Known {
        /// Its state.
        state: State,
        /// What to do if it is dirty.
        repair: Repair,
    },
    /// The bookkeeping table of a framework that this version can't read.
    Other(String),
    /// No bookkeeping table.
    None,
}

/// Tables that other frameworks keep, by the columns that give them away.
const OTHERS: &[(&str, &[&str])] = &[
    ("Alembic", &["version_num"]),
    ("Django", &["id", "app", "name", "applied"]),
    ("goose", &["id", "version_id", "is_applied", "tstamp"]),
    ("Knex", &["id", "name", "batch", "migration_time"]),
    ("Flyway", &["installed_rank", "version", "description", "checksum", "success"]),
    ("Liquibase", &["id", "author", "filename", "dateexecuted", "md5sum"]),
    ("Prisma", &["id", "checksum", "finished_at", "migration_name", "rolled_back_at"]),
    ("sqlx", &["version", "description", "installed_on", "success", "checksum", "execution_time"]),
    ("Drizzle", &["id", "hash", "created_at"]),
    ("EF Core", &["migrationid", "productversion"]),
];

/// Finds the framework by the columns of its table, not by the table's name alone.
///
/// # Errors
/// When the database can't be asked.
pub async fn recognise(database: &dyn Database, schema: &[SchemaObject]) -> Result<Recognised> {
    for table in schema.iter().filter(|object| object.kind == "table" && !object.name.starts_with("sqlite_")) {
        let columns = columns(database, &table.name).await?;
        if golang_migrate::is_its_table(&columns) {
            return golang_migrate::examine(database, schema, &table.name).await;
        }
        let has = |name: &&str| columns.iter().any(|column| column == name);
        if let Some((framework, _)) = OTHERS.iter().find(|(_, signature)| signature.iter().all(has)) {
            return Ok(Recognised::Other((*framework).to_owned()));
        }
    }
    Ok(Recognised::None)
}

/// Columns of a table, lower-cased, in order.
///
/// # Errors
/// When the database can't be asked.
pub async fn columns(database: &dyn Database, table: &str) -> Result<Vec<String>> {
    let rows = database.query(&format!("SELECT lower(name) FROM pragma_table_info({})", text(table))).await?;
    Ok(rows.into_iter().filter_map(|row| row.first().and_then(|name| name.as_str().map(str::to_owned))).collect())
}

/// An SQL string literal.
#[must_use]
pub fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// An SQL identifier.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
