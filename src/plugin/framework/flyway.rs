//! Flyway: a row for each script; where the database can't take a script back, a failed one leaves a row that says so.

use std::collections::HashMap;

use async_trait::async_trait;

use super::available::{file_name, listed, without};
use super::journal::newest;
use super::lock::Key;
use super::repair::{Choice, Edit, either};
use super::table::{Signature, is_true, number};
use super::{Applied, Available, Books, Evidence, Failed, Framework, Remedy, Repair, Script, State, Table};
use crate::database::{Database, Dialect};
use crate::failure::Result;

pub(super) struct Flyway;

#[async_trait]
impl Books for Flyway {
    fn framework(&self) -> Framework {
        Framework::Flyway
    }

    fn signature(&self) -> Signature {
        let all = &[
            "installed_rank",
            "version",
            "description",
            "type",
            "script",
            "checksum",
            "installed_by",
            "installed_on",
            "execution_time",
            "success",
        ];
        Signature::exactly(all)
    }

    /// The newest row of a script counts. One that makes the schema is no migration.
    async fn read(&self, database: &dyn Database, state: &mut State, _found: &[Table]) -> Result<()> {
        let columns = [
            "version",
            "script",
            "description",
            "installed_on",
            "checksum",
            "execution_time",
            "success",
            "installed_rank",
            "type",
        ];
        let rows = newest(database, &state.table, &columns, "installed_rank", "1 = 1").await?;
        let mut last: HashMap<String, usize> = HashMap::new();
        let id = |row: &[Option<String>]| row[0].clone().or_else(|| row[1].clone()).unwrap_or_default();
        for (at, row) in rows.iter().enumerate() {
            last.insert(id(row), at);
        }
        for (_, row) in rows.iter().enumerate().filter(|(at, row)| last.get(&id(row)) == Some(at)) {
            let (id, kind) = (id(row), row[8].as_deref().unwrap_or_default());
            let is_success = is_true(row[6].as_ref());
            if matches!(kind, "SCHEMA" | "DELETE" | "UNDO_SQL") && is_success {
                continue;
            }
            if is_success {
                let [name, when, checksum, key] = [2, 3, 4, 7].map(|column: usize| row[column].clone());
                let duration_ms = number(row, 5);
                state.applied.push(Applied { id, name, at: when, duration_ms, checksum, batch: None, key });
            } else {
                let how = format!("Flyway wrote down that it failed (row {})", row[7].as_deref().unwrap_or_default());
                state.failed.push(Failed::new(id, how));
            }
        }
        state.count = state.applied.len() as u64;
        state.heads =
            state.applied.iter().rev().find(|applied| is_version(&applied.id)).map(|last| last.id.clone()).into_iter().collect();
        Ok(())
    }

    /// flyway/flyway, `PostgreSQLAdvisoryLockTemplate`: "Flyway" in bytes, and Java's hash of the table's quoted name; MySQL's
    /// `MySQLNamedLockTemplate`: the hash alone.
    fn lock(&self, table: &Table, database_name: &str) -> Option<Key> {
        match table.dialect {
            Dialect::Sqlite => None,
            Dialect::Postgres => Some(Key::Advisory(77_431_708_279_161 + i64::from(hash(&table.quoted())))),
            Dialect::Mysql | Dialect::MariaDb => {
                let name = format!("{}.{}", table.dialect.identifier(database_name), table.quoted());
                Some(Key::Named(format!("Flyway-{}", hash(&name))))
            }
        }
    }

    fn repairs(&self, state: &State, _evidence: &Evidence) -> Vec<Repair> {
        state.failed.iter().flat_map(|failed| failed_row(state, failed)).collect()
    }

    fn stamp(&self, state: &State, id: &str, evidence: &Evidence) -> std::result::Result<Remedy, String> {
        let file = evidence.available.iter().flatten().find(|one| one.id == id);
        let file = file.ok_or_else(|| format!("no file of a version {id} is known: give --migrations PATH"))?;
        let ranks = state.applied.iter().filter_map(|applied| applied.key.as_deref()?.parse::<u64>().ok());
        let text = |value: &str| state.table.dialect.text(value);
        let yes = if state.table.dialect == Dialect::Postgres { "TRUE" } else { "1" };
        let values = [
            ("installed_rank", (ranks.max().unwrap_or_default() + 1 + state.failed.len() as u64).to_string()),
            ("version", text(id)),
            ("description", text(&file.name)),
            ("type", text("SQL")),
            ("script", text(file_name(&file.path))),
            // Flyway takes a row without a checksum as it is.
            ("checksum", "NULL".to_owned()),
            ("installed_by", text("kubectl-dbmig")),
            ("installed_on", state.table.now("installed_on")),
            ("execution_time", "0".to_owned()),
            ("success", yes.to_owned()),
        ];
        Ok(Edit::of(&state.table).insert(&values, &format!("{} = {}", state.table.named("version"), text(id))).done())
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[".sql"]
    }

    /// `V1_2__add_users.sql` is version 1.2, `R__views.sql` runs again whenever it changes.
    fn available(&self, scripts: &[Script]) -> Vec<Available> {
        let of = |script: &Script| {
            let file = file_name(&script.path);
            let (prefix, description) = without(file, &[".sql"])?.split_once("__")?;
            let name = description.replace('_', " ");
            let version = prefix.strip_prefix('V').filter(|version| is_version(version)).map(|version| version.replace('_', "."));
            Some((version.or_else(|| (prefix == "R").then(|| file.to_owned()))?, name))
        };
        listed(scripts, of, |one| (!is_version(&one.id), parts(&one.id), one.id.clone()))
    }
}

fn is_version(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'_'))
}

fn parts(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or_default()).collect()
}

/// Deleting the row is what `flyway repair` does.
fn failed_row(state: &State, failed: &Failed) -> Vec<Repair> {
    let table = &state.table;
    let (yes, no, set) = match table.dialect {
        Dialect::Postgres => ("success", "NOT success", "success = TRUE"),
        Dialect::Sqlite | Dialect::Mysql | Dialect::MariaDb => ("success <> 0", "success = 0", "success = 1"),
    };
    let column = if is_version(&failed.id) { "version" } else { "script" };
    let row = format!("{} = {}", table.named(column), table.dialect.text(&failed.id));
    let (half, whole) = (format!("{row} AND {no}"), format!("{row} AND {yes}"));
    either(
        &format!("migration {} failed", failed.id),
        failed,
        Choice {
            what: format!("write {} down as applied", failed.id),
            to: failed.id.clone(),
            remedy: Edit::of(table).update(set, &half, &whole, 1).done(),
        },
        Some(Choice {
            what: format!("delete the failed row of {}, as `flyway repair` does", failed.id),
            to: state.at(),
            remedy: Edit::of(table).delete(&half, 1).done(),
        }),
    )
}

/// `String.hashCode` of Java.
fn hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_javas() {
        assert_eq!(hash("hello"), 99_162_322);
        assert_eq!(hash("polygenelubricants"), i32::MIN);
    }
}
