//! MySQL and MariaDB, over a connection that is made inside the pod.

mod session;

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use mysql_common::constants::ColumnType;
use mysql_common::packets::Column;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::session::{Answer, Error, Login, Secure, Session};
use super::trouble::{Said, in_doubt, other_rows};
use super::url::{Location, Password, Server, TlsMode};
use super::{Change, Database, Dialect, GRACE, LOGIN, Limits, MOST_ROWS, Trouble, Unreached, first_that_answers, tls};
use crate::cluster::agent::Agent;
use crate::cluster::relay::{Endpoint, Relay};
use crate::failure::{Failure, Result};

/// The character set of bytes that are no text.
const BINARY: u16 = 63;
/// A variable that this server does not have.
const UNKNOWN_VARIABLE: u16 = 1193;

/// A session.
pub struct Mysql {
    /// `None` once it is over: it broke, or nobody waited for the end of an answer.
    session: Mutex<Option<Session>>,
    dialect: Dialect,
    limits: Limits,
    /// For messages.
    name: String,
}

impl Mysql {
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
) -> Result<Mysql, Unreached> {
    let secure = match endpoint {
        Endpoint::Socket(_) => None,
        Endpoint::Tcp(host, _) => {
            let settings = tls::config(agent, &server.tls).await.map_err(|failure| Unreached::of(Trouble::Tls, failure))?;
            settings.map(|settings| Secure { settings, host, required: server.tls.mode != TlsMode::Prefer })
        }
    };
    let login = Login {
        user: server.user.as_deref().unwrap_or("root"),
        password: server.password.as_ref().map_or("", Password::reveal),
        database: server.database.as_deref(),
    };
    let opened = timeout(LOGIN, open(relay, &login, secure, limits)).await;
    let silent = |_| Unreached::silent(&name, LOGIN);
    let session = opened.map_err(silent)?.map_err(|error| refused(error, &name))?;
    let dialect = if is_maria(&session) { Dialect::MariaDb } else { Dialect::Mysql };
    Ok(Mysql { session: Mutex::new(Some(session)), dialect, limits, name })
}

fn is_maria(session: &Session) -> bool {
    session.version.contains("MariaDB")
}

async fn open(relay: Relay, login: &Login<'_>, secure: Option<Secure<'_>>, limits: Limits) -> Result<Session, Error> {
    let mut session = Session::open(relay, login, secure).await?;
    // Seconds, at least one. The SQL is the same for all databases then: " around names, and ' in texts only as ''.
    let lock = limits.lock.as_secs().max(1);
    let settings = format!(
        "SET SESSION sql_mode = CONCAT_WS(',', NULLIF(@@SESSION.sql_mode, ''), 'ANSI_QUOTES', 'NO_BACKSLASH_ESCAPES'), \
         SESSION lock_wait_timeout = {lock}, SESSION innodb_lock_wait_timeout = {lock}"
    );
    session.statement(&settings, 0).await?;
    // For the session: a statement that ends the transaction by itself, as CREATE TABLE does, would write outside of one.
    session.statement("SET SESSION TRANSACTION READ ONLY", 0).await?;
    let limit = match is_maria(&session) {
        true => format!("SET SESSION max_statement_time = {}", limits.statement.as_secs_f64()),
        false => format!("SET SESSION max_execution_time = {}", limits.statement.as_millis()),
    };
    match session.statement(&limit, 0).await {
        // MySQL before 5.7.8, MariaDB before 10.1: our own limit has to do.
        Err(Error::Server { code: UNKNOWN_VARIABLE, .. }) => {}
        other => drop(other?),
    }
    Ok(session)
}

fn refused(error: Error, name: &str) -> Unreached {
    let (trouble, why) = match error {
        Error::Server { code, message, .. } => {
            let trouble = match code {
                // Denied: for the password, and for all databases but one's own.
                1045 | 1698 => Trouble::Login,
                1044 | 1049 => Trouble::NoDatabase,
                1040 | 1203 | 1226 => Trouble::TooMany,
                1053 => Trouble::NotReady,
                _ => Trouble::Other,
            };
            (trouble, message)
        }
        Error::Tls(why) => (Trouble::Tls, why),
        Error::Login(why) => (Trouble::Login, why),
        Error::Broken(why) => (Trouble::Lost, why),
    };
    Unreached::new(trouble, name, why)
}

impl Mysql {
    fn failure(&self, doing: &str, error: Error) -> Failure {
        let doing = format!("{doing} {}", self.name);
        match error {
            Error::Server { code, state, message } => {
                let details = (code > 0).then(|| format!("error {code}, SQLSTATE {state}"));
                Said { message, details: details.into_iter().collect() }.failure(&doing)
            }
            Error::Tls(why) | Error::Login(why) | Error::Broken(why) => {
                Failure::failed(format!("cannot {doing}: the connection was lost")).passing().fact(why)
            }
        }
    }

    /// Does something with the session alone. Whatever ends in the middle of an answer ends the session.
    async fn alone<T>(
        &self,
        doing: &str,
        statements: usize,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, Stop>,
    ) -> Result<T> {
        let mut place = self.session.lock().await;
        let Some(mut session) = place.take() else {
            let lost = Error::Broken("it broke earlier, or an answer took too long".to_owned());
            return Err(self.failure(doing, lost));
        };
        let limit = self.limits.statement * u32::try_from(statements).unwrap_or(u32::MAX) + GRACE;
        let done = match timeout(limit, work(&mut session)).await {
            Ok(done) => done,
            Err(_) => Err(Stop::Error(Error::Broken(format!("no answer within {} s", limit.as_secs())))),
        };
        match done {
            Ok(value) => {
                *place = Some(session);
                Ok(value)
            }
            Err(Stop::Error(error @ Error::Server { .. })) => {
                let failure = self.failure(doing, error);
                Err(self.taken_back(session, &mut place, failure).await)
            }
            Err(Stop::Failure(failure)) => Err(self.taken_back(session, &mut place, failure).await),
            // Its transaction goes with it.
            Err(Stop::Error(error)) => Err(self.failure(doing, error).state("nothing was changed")),
        }
    }

    /// Ends the transaction of something that failed, so that no lock stays.
    async fn taken_back(&self, mut session: Session, place: &mut Option<Session>, failure: Failure) -> Failure {
        match timeout(GRACE, session.statement("ROLLBACK", 0)).await {
            Ok(Ok(Answer::Done { warnings: 1.., .. })) => {
                *place = Some(session);
                failure.state("changes to tables that know no transactions (MyISAM, Aria) could not be taken back: look at them")
            }
            Ok(Ok(_)) => {
                *place = Some(session);
                failure.state("nothing was changed")
            }
            // The server takes it back when it notices.
            _ => failure.state("nothing was changed"),
        }
    }
}

/// What ends a transaction early.
enum Stop {
    Error(Error),
    Failure(Failure),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

#[async_trait]
impl Database for Mysql {
    fn dialect(&self) -> Dialect {
        self.dialect
    }

    async fn query(&self, sql: &str) -> Result<Vec<Vec<Value>>> {
        let answer = self
            .alone("ask", 1, async |session: &mut Session| {
                session.statement("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", 0).await?;
                let answer = session.statement(sql, MOST_ROWS).await?;
                session.statement("COMMIT", 0).await?;
                Ok(answer)
            })
            .await?;
        match answer {
            Answer::Rows(columns, rows) => {
                let shown =
                    |row: Vec<Option<Vec<u8>>>| columns.iter().zip(row).map(|(column, value)| shown(value, column)).collect();
                Ok(rows.into_iter().map(shown).collect())
            }
            Answer::Done { .. } => Err(Failure::failed(format!("cannot ask {}: this is no question", self.name)).fact(sql)),
        }
    }

    async fn change(&self, changes: &[Change]) -> Result<()> {
        let permanent = AtomicBool::new(false);
        let changed = self.alone("change", changes.len() + 1, async |session: &mut Session| {
            session.statement("START TRANSACTION READ WRITE", 0).await?;
            for change in changes {
                let found = match session.statement(&change.sql, 0).await? {
                    Answer::Done { rows, .. } => rows,
                    Answer::Rows(..) => 0,
                };
                other_rows(&change.sql, found, change.rows).map_err(Stop::Failure)?;
            }
            permanent.store(true, Ordering::Relaxed);
            session.statement("COMMIT", 0).await?;
            Ok(())
        });
        let changed = changed.await;
        // The server says no to what it took back; a connection that is lost says nothing.
        changed.map_err(|failure| if failure.passing && permanent.into_inner() { in_doubt(failure) } else { failure })
    }
}

/// The server's text for a value, as JSON where JSON has the like.
fn shown(value: Option<Vec<u8>>, column: &Column) -> Value {
    use ColumnType as Type;
    let Some(bytes) = value else { return Value::Null };
    let is_bytes = || column.character_set() == BINARY;
    let text = String::from_utf8_lossy(&bytes);
    let known = match column.column_type() {
        Type::MYSQL_TYPE_TINY
        | Type::MYSQL_TYPE_SHORT
        | Type::MYSQL_TYPE_LONG
        | Type::MYSQL_TYPE_INT24
        | Type::MYSQL_TYPE_LONGLONG
        | Type::MYSQL_TYPE_YEAR => {
            text.parse::<i64>().ok().map(Value::from).or_else(|| text.parse::<u64>().ok().map(Value::from))
        }
        Type::MYSQL_TYPE_FLOAT | Type::MYSQL_TYPE_DOUBLE => text.parse::<f64>().ok().map(Value::from),
        Type::MYSQL_TYPE_JSON => serde_json::from_str(&text).ok(),
        Type::MYSQL_TYPE_BIT => Some(blob(&bytes)),
        Type::MYSQL_TYPE_TINY_BLOB
        | Type::MYSQL_TYPE_BLOB
        | Type::MYSQL_TYPE_MEDIUM_BLOB
        | Type::MYSQL_TYPE_LONG_BLOB
        | Type::MYSQL_TYPE_STRING
        | Type::MYSQL_TYPE_VAR_STRING
        | Type::MYSQL_TYPE_VARCHAR
            if is_bytes() =>
        {
            Some(blob(&bytes))
        }
        _ => None,
    };
    known.unwrap_or_else(|| Value::from(text))
}

fn blob(bytes: &[u8]) -> Value {
    Value::from(format!("x:{}", dbmig_wire::hex(bytes)))
}
