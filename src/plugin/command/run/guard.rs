//! A lock of our own in the database, held by the session through which we look at it: two clusters, or two namespaces, that use one
//! database don't migrate it at once. The Lease and the Job's name keep people of one namespace apart.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::database::{Database, Dialect};
use crate::failure::{Failure, Result};

/// The lock's key in PostgreSQL, where a lock is of one database: this number, which says "dbmg", and 1.
const KEY: u32 = 0x6462_6d67;
/// The lock's name in MySQL and MariaDB, where it is the server's.
const NAME: &str = "CONCAT('kubectl-dbmig ', SHA1(COALESCE(DATABASE(), '')))";
/// How long a session that has just been given up may take to go.
const MOMENT: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(500);
/// A session that is so much older than our connection is a pooler's.
const SLACK: i64 = 60;

/// Why there is no lock behind a pooler.
pub(super) const POOLED: &str = "a pooler is in between, which gives each transaction to a session of its own";

/// What came of asking for the lock.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// It is ours until the session ends.
    Ours,
    /// There is nobody else whom it would keep out: an SQLite file is of one namespace.
    Pointless,
    /// It would be another session's soon: [`POOLED`].
    Pooled,
    /// Somebody else has it; who.
    Theirs(String),
}

/// Asks for the lock, for `us`; `pooled` is what [`is_pooled`] has said.
///
/// # Errors
/// The database can't be asked.
pub(super) async fn ask(database: &dyn Database, us: &str, pooled: bool) -> Result<Asked> {
    let dialect = database.dialect();
    if dialect == Dialect::Sqlite {
        return Ok(Asked::Pointless);
    }
    if pooled {
        return Ok(Asked::Pooled);
    }
    let until = Instant::now() + MOMENT;
    loop {
        if database.number(&take(dialect)).await? == Some(1) {
            name_session(database, us).await?;
            return Ok(Asked::Ours);
        }
        if Instant::now() > until {
            return Ok(Asked::Theirs(holder(database).await?));
        }
        sleep(LOOK).await;
    }
}

/// Gives it back, where the session would not end with the connection.
pub(super) async fn give_back(database: &dyn Database) {
    // Where this fails, the connection is lost, and the lock with it.
    let _ = database.query(&give(database.dialect())).await;
}

/// That somebody else holds it.
pub(super) fn held(who: &str, location: &str) -> Failure {
    Failure::new(crate::exit::Exit::Held, format!("another kubectl dbmig works on {location}"))
        .fact(format!("its lock in the database is held by {who}"))
        .state("nothing was changed")
        .next("wait until it has ended, or ask who started it: it may be in another namespace or cluster")
}

/// [`ask`] does not get here with SQLite, nor does anybody who has not asked.
fn take(dialect: Dialect) -> String {
    match dialect {
        Dialect::Postgres | Dialect::Sqlite => format!("SELECT CASE WHEN pg_try_advisory_lock({KEY}, 1) THEN 1 ELSE 0 END"),
        Dialect::Mysql | Dialect::MariaDb => format!("SELECT GET_LOCK({NAME}, 0)"),
    }
}

fn give(dialect: Dialect) -> String {
    match dialect {
        Dialect::Postgres | Dialect::Sqlite => format!("SELECT pg_advisory_unlock({KEY}, 1)"),
        Dialect::Mysql | Dialect::MariaDb => format!("SELECT RELEASE_LOCK({NAME})"),
    }
}

/// Whether the server's sessions are not those of whoever connects: a pooler lends the same one to whoever asks next. `opened` is
/// when the connection was, `another` opens one more.
///
/// # Errors
/// The database can't be asked.
pub(super) async fn is_pooled(
    database: &dyn Database,
    opened: Instant,
    another: impl AsyncFnOnce() -> Result<Box<dyn Database>>,
) -> Result<bool> {
    if database.dialect() != Dialect::Postgres {
        return Ok(false);
    }
    const SESSION: &str = "SELECT pg_backend_pid(), extract(epoch FROM clock_timestamp() - backend_start)::bigint, \
        host(client_addr), client_port FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    let session = async |database: &dyn Database| database.query(SESSION).await.map(|rows| Session::of(&rows));
    let first = session(database).await?;
    // Who is seen where we are has nobody in between.
    if first.client.is_some() && first.client == database.from() {
        return Ok(false);
    }
    let second = session(database).await?;
    let ours = i64::try_from(opened.elapsed().as_secs()).unwrap_or(i64::MAX).saturating_add(SLACK);
    if first.pid != second.pid || first.age.is_some_and(|age| age > ours) {
        return Ok(true);
    }
    let another = another().await?;
    Ok(session(&*another).await?.pid == first.pid)
}

/// What a server says of the session that asks.
struct Session {
    pid: Option<i64>,
    /// In seconds.
    age: Option<i64>,
    /// Who the server talks with.
    client: Option<SocketAddr>,
}

impl Session {
    fn of(rows: &[Vec<Value>]) -> Self {
        let field = |at: usize| rows.first().and_then(|row| row.get(at));
        let number = |at: usize| field(at).and_then(Value::as_i64);
        let address = field(2).and_then(Value::as_str).and_then(|address| address.parse::<IpAddr>().ok());
        let port = number(3).and_then(|port| u16::try_from(port).ok());
        Self { pid: number(0), age: number(1), client: address.zip(port).map(SocketAddr::from) }
    }
}

/// Tells whoever meets the lock whose it is.
async fn name_session(database: &dyn Database, us: &str) -> Result<()> {
    if database.dialect() == Dialect::Postgres {
        let us = Dialect::Postgres.text(us);
        database.query(&format!("SELECT set_config('application_name', {us}, false)")).await?;
    }
    Ok(())
}

async fn holder(database: &dyn Database) -> Result<String> {
    let sql = match database.dialect() {
        Dialect::Postgres | Dialect::Sqlite => format!(
            "SELECT format('%s: session %s of %s from %s since %s', coalesce(nullif(a.application_name, ''), 'nobody who says a name'), \
                l.pid, coalesce(a.usename, '?'), coalesce(host(a.client_addr), 'its own host'), \
                coalesce(date_trunc('second', a.backend_start)::text, '?')) \
             FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
             WHERE l.locktype = 'advisory' AND l.granted AND l.classid = {KEY} AND l.objid = 1 AND l.objsubid = 2 \
                AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ),
        Dialect::Mysql | Dialect::MariaDb => format!(
            "SELECT CONCAT('connection ', IS_USED_LOCK({NAME}), \
                COALESCE((SELECT CONCAT(' of ', p.USER, ' from ', p.HOST) FROM information_schema.PROCESSLIST p \
                    WHERE p.ID = IS_USED_LOCK({NAME})), ''))"
        ),
    };
    let rows = database.query(&sql).await?;
    let who = rows.first().and_then(|row| row.first()).and_then(Value::as_str);
    Ok(who.map_or_else(|| "a session that has ended just now".to_owned(), str::to_owned))
}
