//! SQLite, through the agent beside the file.

use async_trait::async_trait;
use dbmig_wire::Query;
use serde_json::Value;

use super::{Database, Dialect};
use crate::cluster::agent::Agent;
use crate::failure::Result;

/// Rows that one question may have as its answer.
const MOST_ROWS: u32 = 1000;

/// A database file that an agent sees.
#[derive(Clone)]
pub struct SqliteFile<'a> {
    /// The agent.
    pub agent: &'a Agent,
    /// Absolute path where the agent is.
    pub path: &'a str,
}

#[async_trait]
impl Database for SqliteFile<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn query(&self, sql: &str) -> Result<Vec<Vec<Value>>> {
        let call = Query { database: self.path.to_owned(), sql: sql.to_owned(), most: MOST_ROWS };
        self.agent.ask(call, None).await.map_err(|error| error.into_failure(&format!("ask {}", self.path)))
    }
}
