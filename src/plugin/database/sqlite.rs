//! SQLite, through the agent beside the file.

use async_trait::async_trait;
use dbmig_wire::{Alter, Change, Query};
use serde_json::Value;

use super::{Database, Dialect, MOST_ROWS};
use crate::cluster::agent::Agent;
use crate::failure::Result;

/// A database file that an agent sees.
#[derive(Clone)]
pub struct SqliteFile {
    /// The agent.
    pub agent: Agent,
    /// Absolute path where the agent is.
    pub path: String,
}

#[async_trait]
impl Database for SqliteFile {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn query(&self, sql: &str) -> Result<Vec<Vec<Value>>> {
        let most = u32::try_from(MOST_ROWS).unwrap_or(u32::MAX);
        let call = Query { database: self.path.clone(), sql: sql.to_owned(), most };
        self.agent.ask(call, None).await.map_err(|error| error.into_failure(&format!("ask {}", self.path)))
    }

    async fn change(&self, changes: &[Change]) -> Result<()> {
        let call = Alter { database: self.path.clone(), changes: changes.to_vec() };
        self.agent.ask(call, None).await.map_err(|error| error.into_failure(&format!("change {}", self.path)))
    }
}
