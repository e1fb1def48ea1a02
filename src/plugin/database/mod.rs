//! How a database is asked, whatever it is and wherever it runs.

pub mod blocked;
mod dialect;
pub mod dump;
pub mod find;
pub mod mysql;
pub mod postgres;
pub mod sqlite;
mod tls;
mod trouble;
pub mod url;
pub mod words;

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
pub use dbmig_wire::Change;
use serde_json::Value;

pub use self::tls::text_of;
pub use self::trouble::{Trouble, Unreached};
use self::url::{Engine, Location, Server};
use crate::cluster::agent::Agent;
use crate::cluster::relay::{Endpoint, Relay};
use crate::failure::Result;

/// Rows that one question may have as its answer.
pub const MOST_ROWS: usize = 1000;

/// How a server calls itself in lists of sessions.
pub const APPLICATION: &str = "kubectl-dbmig";

/// What is true in `pg_stat_activity` of our own sessions, those included that say more about themselves behind the name.
#[must_use]
pub fn is_ours() -> String {
    format!("split_part(coalesce(application_name, ''), ' ', 1) = '{APPLICATION}'")
}

/// Whose SQL a database understands. In all of them `'` is around texts, where only `''` stands for itself, and `"` around names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Dialect {
    Postgres,
    Mysql,
    MariaDb,
    Sqlite,
}

/// How long a database may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For one statement.
    pub statement: Duration,
    /// For one lock, so that nobody queues up behind us.
    pub lock: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { statement: Duration::from_secs(15), lock: Duration::from_secs(3) }
    }
}

/// A database that answers questions without being changed by them, and changes only as a whole.
#[async_trait]
pub trait Database: Send + Sync {
    /// Whose SQL it understands.
    fn dialect(&self) -> Dialect;

    /// Our address and port on the connection, as the pod sees it that we connect from; `None` where that is not known.
    fn from(&self) -> Option<SocketAddr> {
        None
    }

    /// Runs one reading statement in a transaction that can't write. Whole numbers come as such, so do truth values, NULL and
    /// JSON; everything else comes as the database's own text for it, blobs as lower-case hex after `x:`.
    ///
    /// # Errors
    /// When the statement fails or takes too long, or answers with more than [`MOST_ROWS`] rows.
    async fn query(&self, sql: &str) -> Result<Vec<Vec<Value>>>;

    /// Runs all the changes in one transaction; each must find just as many rows as it says.
    ///
    /// # Errors
    /// When a statement fails, takes too long, or finds another number of rows: nothing was changed then. When the
    /// connection is lost while they are made permanent, the failure's `state` says that it is not known.
    async fn change(&self, changes: &[Change]) -> Result<()>;

    /// Runs one reading statement whose first column of its first row is a whole number; `None` for no row or NULL.
    ///
    /// # Errors
    /// As [`Database::query`].
    async fn number(&self, sql: &str) -> Result<Option<i64>> {
        Ok(self.query(sql).await?.first().and_then(|row| row.first()).and_then(Value::as_i64))
    }
}

/// Time for a server that has accepted the connection to let us in.
const LOGIN: Duration = Duration::from_secs(30);
/// Beyond the server's own limit, so that its words come first.
const GRACE: Duration = Duration::from_secs(15);

/// A connection to the first of a server's hosts that answers, from where the agent is; which one. `name` is for messages.
async fn first_that_answers<'a>(agent: &Agent, server: &'a Server, name: &str) -> Result<(Relay, &'a Endpoint), Unreached> {
    let mut last = Unreached::new(Trouble::Other, name, "no host is named");
    for endpoint in &server.endpoints {
        match Relay::open(agent, endpoint).await {
            Ok(relay) => return Ok((relay, endpoint)),
            Err(error) => last = Unreached::network(error, name, endpoint),
        }
    }
    Err(last)
}

/// Reaches a database from where the agent is, and logs in. A file's path is the one that the agent sees.
///
/// # Errors
/// [`Unreached`]: of several servers, what the last one said.
pub async fn connect(agent: &Agent, location: &Location, limits: Limits) -> Result<Box<dyn Database>, Unreached> {
    match location {
        Location::File(path) => Ok(Box::new(sqlite::SqliteFile { agent: agent.clone(), path: path.clone() })),
        Location::Server(server) => match server.engine {
            Engine::Postgres => Ok(Box::new(postgres::Postgres::connect(agent, server, limits).await?)),
            Engine::Mysql => Ok(Box::new(mysql::Mysql::connect(agent, server, limits).await?)),
        },
    }
}
