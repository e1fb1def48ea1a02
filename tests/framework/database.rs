//! Databases for the tests: a SQLite file, or a database of its own in the PostgreSQL that `tools/up` started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use dbmig::database::{Change, Database, Dialect};
use dbmig::failure::{Failure, Result};
use rusqlite::types::ValueRef;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A database, with the folder that the tools work in.
pub(crate) struct Db {
    pub(crate) folder: tempfile::TempDir,
    /// As SQLAlchemy and most others write it.
    pub(crate) url: String,
    engine: Engine,
}

enum Engine {
    Sqlite(Mutex<rusqlite::Connection>),
    Postgres { client: Client, name: String },
    MariaDb { name: String },
}

/// Folder that `tools/up` filled.
pub(crate) fn tools() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-tools");
    let folder = std::env::var_os("DBMIG_TEST_TOOLS").map_or_else(|| PathBuf::from(default), PathBuf::from);
    assert!(folder.join("servers").exists(), "run tests/framework/tools/up {} first", folder.display());
    folder
}

/// The socket's folder of the PostgreSQL.
pub(crate) fn socket() -> String {
    std::fs::read_to_string(tools().join("servers")).unwrap().trim().to_owned()
}

async fn client(database: &str) -> Client {
    let stream = UnixStream::connect(format!("{}/.s.PGSQL.5432", socket())).await.unwrap();
    let (client, connection) =
        tokio_postgres::Config::new().user("dbmig").dbname(database).connect_raw(stream, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A name that no other test uses.
fn unused_name() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("t{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The client with the mode that the plugin's own sessions have.
fn mariadb_client(database: &str, sql: &str) -> Command {
    let socket = format!("{}/mariadb.sock", socket());
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "--batch", "-N", "-u", "root", "-S", &socket, "-e"]);
    client
        .arg(format!("SET SESSION sql_mode = '{MARIADB_MODE}'; {sql}"))
        .arg(database)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    client
}

fn mariadb(database: &str, sql: &str) -> Result<String> {
    let output = mariadb_client(database, sql).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(failed(text(&output.stderr))) }
}

/// As `src/plugin/database/mysql/session.rs` sets it.
const MARIADB_MODE: &str = "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,ONLY_FULL_GROUP_BY";

impl Db {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sqlite");
        let connection = rusqlite::Connection::open(&path).unwrap();
        Self { url: format!("sqlite:///{}", path.display()), folder, engine: Engine::Sqlite(Mutex::new(connection)) }
    }

    pub(crate) async fn postgres() -> Self {
        Self::postgres_named(&unused_name()).await
    }

    pub(crate) async fn postgres_named(name: &str) -> Self {
        let server = client("postgres").await;
        server.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
        server.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let url = format!("postgresql://dbmig@/{name}?host={}", socket());
        let engine = Engine::Postgres { client: client(name).await, name: name.to_owned() };
        Self { folder: tempfile::tempdir().unwrap(), url, engine }
    }

    /// A database in the MariaDB, through its own client.
    pub(crate) fn mariadb() -> Self {
        let name = unused_name();
        mariadb("mysql", &format!("CREATE DATABASE {name}")).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), url: String::new(), engine: Engine::MariaDb { name } }
    }

    /// SQLite and PostgreSQL, for what must hold on either and the tools can talk to.
    pub(crate) async fn each() -> [Self; 2] {
        [Self::sqlite(), Self::postgres().await]
    }

    /// One of each, for what must hold on all and needs no tool.
    pub(crate) async fn all() -> [Self; 3] {
        [Self::sqlite(), Self::postgres().await, Self::mariadb()]
    }

    /// Name of the PostgreSQL database.
    pub(crate) fn name(&self) -> &str {
        match &self.engine {
            Engine::Postgres { name, .. } | Engine::MariaDb { name } => name,
            Engine::Sqlite(_) => panic!("a file has a path"),
        }
    }

    /// The URL as sqlx writes it, which wants a host though it goes by the socket.
    pub(crate) fn url_of_sqlx(&self) -> String {
        match &self.engine {
            Engine::Postgres { name, .. } => format!("postgres://dbmig@localhost/{name}?host={}", socket()),
            Engine::MariaDb { name } => format!("mysql://root@localhost/{name}?socket={}/mariadb.sock", socket()),
            Engine::Sqlite(_) => self.url.clone(),
        }
    }

    /// A session of MariaDB that runs a statement and then stays for a minute.
    pub(crate) fn hold(&self, sql: &str) -> std::process::Child {
        mariadb_client(self.name(), &format!("{sql}; SELECT SLEEP(60)")).spawn().unwrap()
    }

    /// Another session of the same PostgreSQL database.
    pub(crate) async fn session(&self) -> Client {
        client(self.name()).await
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.engine, Engine::Postgres { .. })
    }

    /// Runs a script as the accident would.
    pub(crate) async fn script(&self, sql: &str) {
        match &self.engine {
            Engine::Sqlite(connection) => connection.lock().unwrap().execute_batch(sql).unwrap(),
            Engine::Postgres { client, .. } => client.batch_execute(sql).await.unwrap(),
            Engine::MariaDb { name } => drop(mariadb(name, sql).unwrap()),
        }
    }

    /// Values of the first column, as text.
    pub(crate) async fn column(&self, sql: &str) -> Vec<String> {
        let rows = self.query(sql).await.unwrap();
        rows.into_iter().map(|row| row[0].as_str().map_or_else(|| row[0].to_string(), str::to_owned)).collect()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::failed(error.to_string())
}

fn shown(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => json!(value),
        ValueRef::Real(value) => json!(value),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => json!(String::from_utf8_lossy(bytes)),
    }
}

#[async_trait]
impl Database for Db {
    fn dialect(&self) -> Dialect {
        match self.engine {
            Engine::Sqlite(_) => Dialect::Sqlite,
            Engine::Postgres { .. } => Dialect::Postgres,
            Engine::MariaDb { .. } => Dialect::MariaDb,
        }
    }

    async fn query(&self, sql: &str) -> Result<Vec<Vec<Value>>> {
        match &self.engine {
            Engine::MariaDb { name } => {
                let value = |text: &str| if text == "NULL" { Value::Null } else { json!(text) };
                let answer = mariadb(name, &format!("START TRANSACTION READ ONLY; {sql}"))?;
                Ok(answer.lines().map(|line| line.split('\t').map(value).collect()).collect())
            }
            Engine::Sqlite(connection) => {
                let connection = connection.lock().unwrap();
                let mut statement = connection.prepare(sql).map_err(failed)?;
                assert!(statement.readonly(), "the plugin only reads: {sql}");
                let columns = statement.column_count();
                let row = |row: &rusqlite::Row<'_>| (0..columns).map(|at| row.get_ref(at).map(shown)).collect();
                statement.query_map([], row).map_err(failed)?.collect::<rusqlite::Result<_>>().map_err(failed)
            }
            Engine::Postgres { client, .. } => {
                let reading = format!("BEGIN READ ONLY; {sql}; COMMIT");
                let answer = client.simple_query(&reading).await;
                let Ok(messages) = answer else {
                    client.batch_execute("ROLLBACK").await.map_err(failed)?;
                    return Err(failed(answer.unwrap_err().as_db_error().unwrap()));
                };
                let row = |message: SimpleQueryMessage| match message {
                    SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| json!(row.get(at))).collect()),
                    _ => None,
                };
                Ok(messages.into_iter().filter_map(row).collect())
            }
        }
    }

    async fn change(&self, changes: &[Change]) -> Result<()> {
        if let Engine::MariaDb { name } = &self.engine {
            return change_mariadb(name, changes);
        }
        self.script("BEGIN").await;
        for change in changes {
            let rows = match &self.engine {
                Engine::Sqlite(connection) => {
                    connection.lock().unwrap().execute(&change.sql, []).map_err(failed).map(|rows| rows as u64)
                }
                Engine::Postgres { client, .. } => client.execute(&change.sql, &[]).await.map_err(failed),
                Engine::MariaDb { .. } => Err(failed("has a way of its own")),
            };
            if rows != Ok(change.rows) {
                self.script("ROLLBACK").await;
                return Err(Failure::failed(format!("{rows:?} rows instead of {}: {}", change.rows, change.sql)));
            }
        }
        self.script("COMMIT").await;
        Ok(())
    }
}

/// Tries the changes and takes them back, and does them if each found as many rows as it should.
fn change_mariadb(name: &str, changes: &[Change]) -> Result<()> {
    let script: String = changes.iter().map(|change| format!("{}; SELECT ROW_COUNT();", change.sql)).collect();
    let found = mariadb(name, &format!("START TRANSACTION; {script} ROLLBACK"))?;
    let wanted: Vec<String> = changes.iter().map(|change| change.rows.to_string()).collect();
    if found.lines().ne(wanted.iter().map(String::as_str)) {
        return Err(failed(format!("{found:?} rows instead of {wanted:?}: {changes:?}")));
    }
    mariadb(name, &format!("START TRANSACTION; {script} COMMIT")).map(drop)
}
