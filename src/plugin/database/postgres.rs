//! PostgreSQL, over a connection that is made inside the pod.
//!
//! Each question is a transaction of its own with its limits set for it alone, so that a pooler in transaction mode
//! (PgBouncer) may stand between.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::{StreamExt as _, join, pin_mut};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, NoTls, TlsConnect};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::trouble::{Said, in_doubt, other_rows};
use super::url::{Location, Password, Server, TlsMode};
use super::{
    APPLICATION, Change, Database, Dialect, GRACE, LOGIN, Limits, MOST_ROWS, Trouble, Unreached, first_that_answers, tls,
};
use crate::cluster::agent::Agent;
use crate::cluster::error::chain_in_words;
use crate::cluster::relay::{Endpoint, Relay};
use crate::failure::{Failure, Result};

/// A session.
pub struct Postgres {
    client: Client,
    /// Why the connection ended, once it has.
    ended: Arc<OnceLock<String>>,
    limits: Limits,
    /// For messages.
    name: String,
    /// See [`Database::from`].
    from: Option<SocketAddr>,
    /// One transaction at a time; true while one is open that nobody will end any more.
    left_open: Mutex<bool>,
}

impl Postgres {
    /// Reaches the server from where the agent is, and logs in.
    ///
    /// # Errors
    /// [`Unreached`].
    pub async fn connect(agent: &Agent, server: &Server, limits: Limits) -> Result<Self, Unreached> {
        let name = Location::Server(server.clone()).to_string();
        let (relay, endpoint) = first_that_answers(agent, server, &name).await?;
        log_in(agent, server, endpoint, relay, limits, name).await
    }
}

async fn log_in(
    agent: &Agent,
    server: &Server,
    endpoint: &Endpoint,
    relay: Relay,
    limits: Limits,
    name: String,
) -> Result<Postgres, Unreached> {
    let mut config = Config::new();
    // libpq's default would be the name of the container's user, which nobody gives a database to but by this name.
    config.application_name(APPLICATION).user(server.user.as_deref().unwrap_or("postgres"));
    if let Some(password) = &server.password {
        config.password(Password::reveal(password));
    }
    if let Some(database) = &server.database {
        config.dbname(database);
    }
    let Endpoint::Tcp(host, _) = endpoint else {
        config.ssl_mode(SslMode::Disable);
        return session(&config, relay, NoTls, limits, name).await;
    };
    let settings = tls::config(agent, &server.tls).await.map_err(|failure| Unreached::of(Trouble::Tls, failure))?;
    let Some(settings) = settings else {
        config.ssl_mode(SslMode::Disable);
        return session(&config, relay, NoTls, limits, name).await;
    };
    config.ssl_mode(if server.tls.mode == TlsMode::Prefer { SslMode::Prefer } else { SslMode::Require });
    let connector = MakeTlsConnect::<Relay>::make_tls_connect(&mut MakeRustlsConnect::new(settings), host);
    match connector {
        Ok(connector) => session(&config, relay, connector, limits, name).await,
        Err(error) => Err(Unreached::new(Trouble::Tls, &name, error.to_string())),
    }
}

async fn session<T>(config: &Config, relay: Relay, tls: T, limits: Limits, name: String) -> Result<Postgres, Unreached>
where
    T: TlsConnect<Relay>,
    T::Stream: Send + 'static,
{
    let from = relay.from;
    let opened = timeout(LOGIN, config.connect_raw(relay, tls)).await;
    let silent = |_| Unreached::silent(&name, LOGIN);
    let (client, connection) = opened.map_err(silent)?.map_err(|error| refused(&error, &name))?;
    let ended = Arc::new(OnceLock::new());
    let ended_tx = Arc::clone(&ended);
    // Ends by itself when the client is dropped, or the connection ends.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            // The first reason is the one that counts.
            let _ = ended_tx.set(in_words(&error));
        }
    });
    Ok(Postgres { client, ended, limits, name, from, left_open: Mutex::new(false) })
}

fn refused(error: &Error, name: &str) -> Unreached {
    let Some(said) = error.as_db_error() else {
        let words = in_words(error);
        // The driver's own words: it does not tell these kinds apart otherwise.
        let trouble = match () {
            () if words.contains("TLS") || words.contains("certificate") => Trouble::Tls,
            () if words.contains("password missing") || words.contains("authentication") => Trouble::Login,
            () if error.is_closed() || words.contains("outcome unknown") => Trouble::Lost,
            () => Trouble::Other,
        };
        return Unreached::new(trouble, name, words);
    };
    let trouble = match said.code() {
        &SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => Trouble::Login,
        &SqlState::INVALID_CATALOG_NAME => Trouble::NoDatabase,
        &SqlState::TOO_MANY_CONNECTIONS => Trouble::TooMany,
        &SqlState::CANNOT_CONNECT_NOW => Trouble::NotReady,
        _ => Trouble::Other,
    };
    let unreached = Unreached::new(trouble, name, said.message());
    Unreached { failure: unreached.failure.facts(said.detail()).facts(said.hint()), ..unreached }
}

/// The driver's error with its causes, as one line.
fn in_words(error: &Error) -> String {
    error.source().map_or_else(|| error.to_string(), chain_in_words)
}

/// What becomes of a transaction that went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is made permanent.
    Commit,
    /// It has only been tried.
    Rollback,
}

impl Postgres {
    /// As [`Database::query`], with settings (`SET LOCAL …; SET LOCAL …`) that hold for this statement alone.
    ///
    /// # Errors
    /// As [`Database::query`].
    pub async fn ask(&self, settings: &str, sql: &str) -> Result<Vec<Vec<Value>>> {
        let found = self.within("ask", 1, self.read(settings, sql)).await;
        if found.is_err() {
            self.taken_back().await;
        }
        found
    }

    /// Runs a script in one transaction, and one reading statement after it in the same. The script must not end it.
    ///
    /// # Errors
    /// As [`Database::change`].
    pub async fn transact(&self, script: &str, question: &str, end: End) -> Result<Vec<Vec<Value>>> {
        let permanent = AtomicBool::new(false);
        let done = self.within("change", 3, self.script(script, question, end, &permanent)).await;
        let failure = match done {
            Ok(rows) => return Ok(rows),
            Err(failure) => failure,
        };
        self.taken_back().await;
        Err(match failure {
            failure if failure.passing && permanent.into_inner() => in_doubt(failure),
            failure => failure.state("nothing was changed"),
        })
    }

    async fn script(&self, script: &str, question: &str, end: End, permanent: &AtomicBool) -> Result<Vec<Vec<Value>>> {
        let mut left_open = self.left_open.lock().await;
        self.begin("READ WRITE", "", &mut left_open, "change").await?;
        self.run("change", script).await?;
        let statement = self.client.prepare(question).await.map_err(|error| self.failure("ask", &error))?;
        let types: Vec<Type> = statement.columns().iter().map(|column| column.type_().clone()).collect();
        let rows = self.rows(question, &types).await?;
        permanent.store(end == End::Commit, Ordering::Relaxed);
        self.run("change", if end == End::Commit { "COMMIT" } else { "ROLLBACK" }).await?;
        *left_open = false;
        Ok(rows)
    }

    fn failure(&self, doing: &str, error: &Error) -> Failure {
        let doing = format!("{doing} {}", self.name);
        let Some(said) = error.as_db_error() else {
            let why = self.ended.get().cloned().unwrap_or_else(|| in_words(error));
            return Failure::failed(format!("cannot {doing}: the connection was lost")).passing().fact(why);
        };
        let details = [said.detail(), said.hint()].into_iter().flatten().map(str::to_owned);
        let code = format!("SQLSTATE {}", said.code().code());
        Said { message: said.message().to_owned(), details: details.chain([code]).collect() }.failure(&doing)
    }

    async fn run(&self, doing: &str, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).await.map_err(|error| self.failure(doing, &error))
    }

    async fn begin(&self, how: &str, settings: &str, left_open: &mut bool, doing: &str) -> Result<()> {
        if *left_open {
            self.run(doing, "ROLLBACK").await?;
        }
        *left_open = true;
        let Limits { statement, lock } = self.limits;
        let begin = format!(
            "BEGIN {how}; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; {settings}",
            statement.as_millis(),
            lock.as_millis()
        );
        self.run(doing, &begin).await
    }

    /// A server that does not even keep its own limit is given up.
    async fn within<T>(&self, doing: &str, statements: usize, work: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = self.limits.statement * u32::try_from(statements).unwrap_or(u32::MAX) + GRACE;
        timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Failure::failed(format!("cannot {doing} {}: no answer within {} s", self.name, limit.as_secs())).passing())
        })
    }

    async fn read(&self, settings: &str, sql: &str) -> Result<Vec<Vec<Value>>> {
        let mut left_open = self.left_open.lock().await;
        let begin = self.begin("ISOLATION LEVEL REPEATABLE READ, READ ONLY", settings, &mut left_open, "ask");
        // It refuses more than one statement, and tells the columns' types. Sent along with the beginning: the way is long.
        // Gone before the transaction is: a pooler may give the next one to another server process.
        let types: Vec<Type> = {
            let (begun, prepared) = join!(begin, self.client.prepare(sql));
            begun?;
            let statement = prepared.map_err(|error| self.failure("ask", &error))?;
            statement.columns().iter().map(|column| column.type_().clone()).collect()
        };
        let (found, ended) = join!(self.rows(sql, &types), self.run("ask", "COMMIT"));
        *left_open = ended.is_err();
        found
    }

    async fn rows(&self, sql: &str, types: &[Type]) -> Result<Vec<Vec<Value>>> {
        let rows = self.client.simple_query_raw(sql).await.map_err(|error| self.failure("ask", &error))?;
        pin_mut!(rows);
        let mut found = Vec::new();
        while let Some(message) = rows.next().await {
            let SimpleQueryMessage::Row(row) = message.map_err(|error| self.failure("ask", &error))? else { continue };
            if found.len() == MOST_ROWS {
                return Err(Failure::failed(format!("cannot ask {}: more than {MOST_ROWS} rows", self.name)).fact(sql));
            }
            found.push(types.iter().enumerate().map(|(at, kind)| shown(row.get(at), kind)).collect());
        }
        Ok(found)
    }

    async fn write(&self, changes: &[Change], permanent: &AtomicBool) -> Result<()> {
        let mut left_open = self.left_open.lock().await;
        self.begin("READ WRITE", "", &mut left_open, "change").await?;
        for change in changes {
            let said = self.client.simple_query(&change.sql).await.map_err(|error| self.failure("change", &error))?;
            let counts = said.into_iter().filter_map(|message| match message {
                SimpleQueryMessage::CommandComplete(rows) => Some(rows),
                _ => None,
            });
            other_rows(&change.sql, counts.sum(), change.rows)?;
        }
        permanent.store(true, Ordering::Relaxed);
        self.run("change", "COMMIT").await?;
        *left_open = false;
        Ok(())
    }

    /// Ends the transaction of something that failed, so that no lock stays until the next question. A connection that is
    /// lost takes its transaction with it.
    async fn taken_back(&self) {
        let mut left_open = self.left_open.lock().await;
        if *left_open && !self.client.is_closed() {
            let back = timeout(GRACE, self.client.batch_execute("ROLLBACK")).await;
            *left_open = !matches!(back, Ok(Ok(())));
        }
    }
}

#[async_trait]
impl Database for Postgres {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn from(&self) -> Option<SocketAddr> {
        self.from
    }

    async fn query(&self, sql: &str) -> Result<Vec<Vec<Value>>> {
        self.ask("", sql).await
    }

    async fn change(&self, changes: &[Change]) -> Result<()> {
        let permanent = AtomicBool::new(false);
        let changed = self.within("change", changes.len() + 1, self.write(changes, &permanent)).await;
        let Err(failure) = changed else { return Ok(()) };
        self.taken_back().await;
        Err(match failure {
            failure if failure.passing && permanent.into_inner() => in_doubt(failure),
            failure => failure.state("nothing was changed"),
        })
    }
}

/// The server's text for a value, as JSON where JSON has the like.
fn shown(text: Option<&str>, kind: &Type) -> Value {
    let Some(text) = text else { return Value::Null };
    let known = match *kind {
        Type::BOOL => Some(Value::Bool(text == "t")),
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => text.parse::<i64>().ok().map(Value::from),
        Type::FLOAT4 | Type::FLOAT8 => text.parse::<f64>().ok().filter(|value| value.is_finite()).map(Value::from),
        Type::JSON | Type::JSONB => serde_json::from_str(text).ok(),
        Type::BYTEA => text.strip_prefix("\\x").map(|hex| Value::from(format!("x:{hex}"))),
        _ => None,
    };
    known.unwrap_or_else(|| Value::from(text))
}
