//! goose: a row for each migration that ran, and none for one that failed.

use std::collections::HashMap;

use async_trait::async_trait;

use super::available::numbered;
use super::journal::newest;
use super::lock::Key;
use super::repair::Edit;
use super::table::{Signature, is_true};
use super::{Applied, Available, Books, Evidence, Framework, Remedy, Script, State, Table};
use crate::database::{Database, Dialect};
use crate::failure::Result;

pub(super) struct Goose;

#[async_trait]
impl Books for Goose {
    fn framework(&self) -> Framework {
        Framework::Goose
    }

    fn signature(&self) -> Signature {
        Signature::exactly(&["id", "version_id", "is_applied", "tstamp"])
    }

    /// Old versions write a row for the way down too: the newest row of a version counts. Version 0 is the table's own.
    async fn read(&self, database: &dyn Database, state: &mut State, _found: &[Table]) -> Result<()> {
        let rows = newest(database, &state.table, &["version_id", "is_applied", "tstamp"], "id", "version_id <> 0").await?;
        let mut last: HashMap<&str, usize> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            last.insert(row[0].as_deref().unwrap_or_default(), at);
        }
        let counts = |(at, row): &(usize, &Vec<Option<String>>)| {
            is_true(row[1].as_ref()) && last.get(row[0].as_deref().unwrap_or_default()) == Some(at)
        };
        let applied = rows.iter().enumerate().filter(counts).map(|(_, row)| Applied {
            id: row[0].clone().unwrap_or_default(),
            at: row[2].clone(),
            ..Applied::default()
        });
        state.applied = applied.collect();
        state.count = state.applied.len() as u64;
        let highest = state.applied.iter().max_by_key(|applied| applied.id.parse::<i64>().unwrap_or_default());
        state.heads = highest.map(|highest| highest.id.clone()).into_iter().collect();
        Ok(())
    }

    /// pressly/goose, `lock/postgres.go`: only where the program asks for it.
    fn lock(&self, table: &Table, _database_name: &str) -> Option<Key> {
        (table.dialect == Dialect::Postgres).then_some(Key::Advisory(4_097_083_626))
    }

    fn stamp(&self, state: &State, id: &str, _evidence: &Evidence) -> std::result::Result<Remedy, String> {
        id.parse::<u64>().map_err(|_| format!("goose counts versions by numbers, and {id} is none"))?;
        let yes = if state.table.dialect == Dialect::Postgres { "TRUE" } else { "1" };
        let values = [("version_id", id.to_owned()), ("is_applied", yes.to_owned()), ("tstamp", state.table.now("tstamp"))];
        Ok(Edit::of(&state.table).insert(&values, &format!("version_id = {id}")).done())
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[".sql", ".go"]
    }

    fn available(&self, scripts: &[Script]) -> Vec<Available> {
        numbered(scripts, self.suffixes(), true)
    }
}
