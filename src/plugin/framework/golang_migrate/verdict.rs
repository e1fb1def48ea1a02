//! What `vacuum --repair` does about a dirty version, and keeps in its record: only what is proven, and golang-migrate's only.

use dbmig_wire::{Change, SchemaObject};
use serde::{Deserialize, Serialize};

use super::{Effect, NAME, effect, files, in_sqlite, set};
use crate::database::Database;
use crate::failure::Result;
use crate::framework::{Framework, Remedy, State};

/// Where golang-migrate believes a database to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// The framework: `golang-migrate`.
    pub framework: String,
    /// Its table.
    pub table: String,
    /// Version it believes to be at; `None` before the first migration.
    pub version: Option<i64>,
    /// It began a migration and did not write down its end.
    pub dirty: bool,
}

impl Version {
    /// In words: `golang-migrate, version 4, dirty`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let version = self.version.map_or_else(|| "no migration applied".to_owned(), |version| format!("version {version}"));
        format!("{}, {version}{}", self.framework, if self.dirty { ", dirty" } else { "" })
    }
}

/// What to do about a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "repair")]
pub enum Verdict {
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
    /// golang-migrate.
    Known {
        /// Where it believes to be.
        state: Version,
        /// What to do if that is dirty.
        repair: Verdict,
    },
    /// The bookkeeping table of another framework.
    Other(String),
    /// No bookkeeping table.
    None,
}

/// Finds golang-migrate's table, else another framework's, and works out what to do about a dirty version.
///
/// # Errors
/// When the database can't be asked.
pub async fn recognise(database: &dyn Database, schema: &[SchemaObject]) -> Result<Recognised> {
    let states = crate::framework::recognise(database).await?;
    match states.iter().find(|state| state.framework == Framework::GolangMigrate) {
        Some(state) => examine(database, schema, state).await,
        None => Ok(states.first().map_or(Recognised::None, |state| Recognised::Other(state.framework.to_string()))),
    }
}

async fn examine(database: &dyn Database, schema: &[SchemaObject], state: &State) -> Result<Recognised> {
    let (table, dirty) = (state.table.name.clone(), !state.failed.is_empty());
    let version = state.heads.first().and_then(|head| head.parse().ok());
    let repair = match (state.count, version) {
        (rows @ 2.., _) => {
            Verdict::Refused { because: format!("{table} has {rows} rows where {NAME} keeps one: somebody edited it by hand") }
        }
        (_, Some(version)) if dirty => match effect(database, schema, &table, version).await? {
            Some(effect) => verdict(&table, version, effect),
            None => Verdict::Refused {
                because: format!(
                    "migration {version} was running, and only its file tells whether it took effect: compare the schema with the file by hand, \
                     then `migrate force` to the version that is really there"
                ),
            },
        },
        _ => Verdict::NotNeeded,
    };
    Ok(Recognised::Known { state: Version { framework: NAME.to_owned(), table, version, dirty }, repair })
}

/// What to do about a dirty version, judged by the image's migration files.
#[must_use]
pub fn judge(state: &Version, schema: &[SchemaObject], evidence: &files::Evidence) -> Verdict {
    verdict(&state.table, evidence.version(), evidence.effect(schema, &state.table))
}

fn verdict(table: &str, version: i64, effect: Effect) -> Verdict {
    match effect {
        Effect::Unclear(because) => Verdict::Refused { because },
        Effect::At { version: to, because } => {
            let changes = match set(&in_sqlite(table), &version.to_string(), true, to) {
                Remedy::Rows(rows) => rows.changes,
                Remedy::Session { .. } | Remedy::Elsewhere { .. } => Vec::new(),
            };
            Verdict::Set { to, because, changes }
        }
    }
}
