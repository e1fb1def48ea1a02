//! Databases for the tests: a SQLite file, or a database of its own in the PostgreSQL that `tools/up` started.

use std::path::{Path, PathBuf};
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
}

/// Folder that `tools/up` filled.
pub(crate) fn tools() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-tools");
    let folder = std::env::var_os("DBMIG_TEST_TOOLS").map_or_else(|| PathBuf::from(default), PathBuf::from);
    assert!(folder.join("postgres").exists(), "run tests/framework/tools/up {} first", folder.display());
    folder
}

/// The socket's folder of the PostgreSQL.
pub(crate) fn socket() -> String {
    std::fs::read_to_string(tools().join("postgres")).unwrap().trim().to_owned()
}

async fn client(database: &str) -> Client {
    let stream = UnixStream::connect(format!("{}/.s.PGSQL.5432", socket())).await.unwrap();
    let (client, connection) =
        tokio_postgres::Config::new().user("dbmig").dbname(database).connect_raw(stream, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Db {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sqlite");
        let connection = rusqlite::Connection::open(&path).unwrap();
        Self { url: format!("sqlite:///{}", path.display()), folder, engine: Engine::Sqlite(Mutex::new(connection)) }
    }

    pub(crate) async fn postgres() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        Self::postgres_named(&name).await
    }

    pub(crate) async fn postgres_named(name: &str) -> Self {
        let server = client("postgres").await;
        server.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
        server.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let url = format!("postgresql://dbmig@/{name}?host={}", socket());
        let engine = Engine::Postgres { client: client(name).await, name: name.to_owned() };
        Self { folder: tempfile::tempdir().unwrap(), url, engine }
    }

    /// Both, for what must hold on either.
    pub(crate) async fn each() -> [Self; 2] {
        [Self::sqlite(), Self::postgres().await]
    }

    /// Name of the PostgreSQL database.
    pub(crate) fn name(&self) -> &str {
        match &self.engine {
            Engine::Postgres { name, .. } => name,
            Engine::Sqlite(_) => panic!("a file has a path"),
        }
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
        if self.is_postgres() { Dialect::Postgres } else { Dialect::Sqlite }
    }

    async fn query(&self, sql: &str) -> Result<Vec<Vec<Value>>> {
        match &self.engine {
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
        self.script("BEGIN").await;
        for change in changes {
            let rows = match &self.engine {
                Engine::Sqlite(connection) => {
                    connection.lock().unwrap().execute(&change.sql, []).map_err(failed).map(|rows| rows as u64)
                }
                Engine::Postgres { client, .. } => client.execute(&change.sql, &[]).await.map_err(failed),
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
