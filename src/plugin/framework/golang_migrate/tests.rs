//! The repair of every dirty state that upmeter's migrations can leave, on real SQLite databases.

use async_trait::async_trait;
use dbmig_wire::SchemaObject;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Value, json};

use super::verdict::{Recognised, Verdict, recognise};
use crate::database::{Change, Database, Dialect};
use crate::failure::{Failure, Result};

const BOOKKEEPING: &str = "CREATE TABLE schema_migrations (version uint64, dirty bool); CREATE UNIQUE INDEX version_unique ON schema_migrations (version);";
const ONE: &str = "CREATE TABLE downtime30s (timeslot INTEGER NOT NULL, success_seconds INTEGER NOT NULL, fail_seconds INTEGER NOT NULL, group_name TEXT NOT NULL, probe_name TEXT NOT NULL, unknown_seconds INTEGER NOT NULL DEFAULT 0, nodata_seconds INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE downtime5m (timeslot INTEGER NOT NULL, success_seconds INTEGER NOT NULL, fail_seconds INTEGER NOT NULL, group_name TEXT NOT NULL, probe_name TEXT NOT NULL, unknown_seconds INTEGER NOT NULL DEFAULT 0, nodata_seconds INTEGER NOT NULL DEFAULT 0);
    CREATE UNIQUE INDEX downtime30s_time_group_probe ON downtime30s (timeslot, group_name, probe_name);
    CREATE UNIQUE INDEX downtime5m_time_group_probe ON downtime5m (timeslot, group_name, probe_name);";
const THREE: &str = "CREATE TABLE export_episodes (sync_id TEXT, timeslot INTEGER, group_name TEXT, probe_name TEXT, success INTEGER, fail INTEGER, unknown INTEGER, nodata INTEGER, origins TEXT, origins_count INTEGER);
    CREATE UNIQUE INDEX sync_id_sorted ON export_episodes (sync_id, timeslot, group_name, probe_name);";
const ROWS: &str = "INSERT INTO downtime30s VALUES (1600000000, 30, 0, 'g', 'p', 0, 0); INSERT INTO downtime5m VALUES (1600000000, 300, 0, 'g', 'p', 0, 0);";
const RENAME_30S: &str = "ALTER TABLE downtime30s RENAME TO episodes_30s; ALTER TABLE episodes_30s RENAME COLUMN success_seconds TO nano_up;
    ALTER TABLE episodes_30s RENAME COLUMN fail_seconds TO nano_down; ALTER TABLE episodes_30s RENAME COLUMN unknown_seconds TO nano_unknown;
    ALTER TABLE episodes_30s RENAME COLUMN nodata_seconds TO nano_unmeasured;";
const RENAME_5M: &str = "ALTER TABLE downtime5m RENAME TO episodes_5m; ALTER TABLE episodes_5m RENAME COLUMN success_seconds TO nano_up;
    ALTER TABLE episodes_5m RENAME COLUMN fail_seconds TO nano_down; ALTER TABLE episodes_5m RENAME COLUMN unknown_seconds TO nano_unknown;
    ALTER TABLE episodes_5m RENAME COLUMN nodata_seconds TO nano_unmeasured;";
const RENAME_EXPORT: &str = "ALTER TABLE export_episodes RENAME COLUMN success TO nano_up; ALTER TABLE export_episodes RENAME COLUMN fail TO nano_down;
    ALTER TABLE export_episodes RENAME COLUMN unknown TO nano_unknown; ALTER TABLE export_episodes RENAME COLUMN nodata TO nano_unmeasured;";
const SCALE: &str =
    "UPDATE episodes_30s SET nano_up = nano_up * 1000000000; UPDATE episodes_5m SET nano_up = nano_up * 1000000000;";

/// A database in memory that answers like the agent does.
struct InMemory(std::sync::Mutex<Connection>);

#[async_trait]
impl Database for InMemory {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn change(&self, _: &[Change]) -> Result<()> {
        Err(Failure::failed("nothing here changes it"))
    }

    async fn query(&self, sql: &str) -> Result<Vec<Vec<Value>>> {
        let connection = self.0.lock().expect("no test panics while it holds this");
        let failed = |error: rusqlite::Error| Failure::failed(error.to_string());
        let mut statement = connection.prepare(sql).map_err(failed)?;
        let columns = statement.column_count();
        let rows = statement
            .query_map([], |row| (0..columns).map(|column| Ok(json_of(row.get_ref(column)?))).collect())
            .map_err(failed)?;
        rows.collect::<std::result::Result<_, _>>().map_err(failed)
    }
}

fn json_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Integer(number) => json!(number),
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(text) => json!(String::from_utf8_lossy(text)),
        ValueRef::Null | ValueRef::Blob(_) => Value::Null,
    }
}

async fn recognised(scripts: &[&str]) -> Recognised {
    let connection = Connection::open_in_memory().expect("opens");
    for script in scripts {
        connection.execute_batch(script).expect("the fixture is valid");
    }
    let schema: Vec<SchemaObject> = connection
        .prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")
        .expect("prepares")
        .query_map([], |row| Ok(SchemaObject { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, sql: row.get(3)? }))
        .expect("reads")
        .collect::<std::result::Result<_, _>>()
        .expect("reads");
    recognise(&InMemory(std::sync::Mutex::new(connection)), &schema).await.expect("examines")
}

/// The version that the repair would write (`Ok(None)`: no row), or why it refuses.
async fn repaired(dirty: i64, scripts: &[&str]) -> std::result::Result<Option<i64>, String> {
    let row = format!("INSERT INTO schema_migrations VALUES ({dirty}, 1)");
    let all: Vec<&str> = [BOOKKEEPING, &row].into_iter().chain(scripts.iter().copied()).collect();
    match recognised(&all).await {
        Recognised::Known { repair: Verdict::Set { to, changes, .. }, state } => {
            assert_eq!((state.version, state.dirty), (Some(dirty), true));
            assert_eq!(changes.len(), if to.is_some() { 2 } else { 1 });
            Ok(to)
        }
        Recognised::Known { repair: Verdict::Refused { because }, .. } => Err(because),
        other => panic!("not a dirty golang-migrate database: {other:?}"),
    }
}

#[tokio::test]
async fn a_migration_4_that_rolled_back_goes_back_to_3() {
    assert_eq!(repaired(4, &[ONE, THREE, ROWS]).await, Ok(Some(3)));
}

#[tokio::test]
async fn a_migration_4_that_only_lost_its_last_note_stays_at_4() {
    assert_eq!(repaired(4, &[ONE, THREE, ROWS, RENAME_30S, RENAME_5M, RENAME_EXPORT, SCALE]).await, Ok(Some(4)));
}

#[tokio::test]
async fn a_migration_4_that_renamed_one_table_is_never_guessed_at() {
    let refusal = repaired(4, &[ONE, THREE, ROWS, RENAME_30S]).await.expect_err("half-applied");
    assert!(refusal.contains("downtime5m and episodes_30s"), "{refusal}");
}

#[tokio::test]
async fn a_migration_4_that_renamed_all_but_scaled_nothing_is_never_guessed_at() {
    let refusal = repaired(4, &[ONE, THREE, ROWS, RENAME_30S, RENAME_5M, RENAME_EXPORT]).await.expect_err("half-applied");
    assert!(refusal.contains("still count seconds"), "{refusal}");
}

#[tokio::test]
async fn a_migration_4_that_left_the_export_table_is_never_guessed_at() {
    let refusal = repaired(4, &[ONE, THREE, ROWS, RENAME_30S, RENAME_5M, SCALE]).await.expect_err("half-applied");
    assert!(refusal.contains("export_episodes"), "{refusal}");
}

#[tokio::test]
async fn the_first_migration_leaves_no_row_when_it_is_not_whole() {
    let half = "CREATE TABLE downtime30s (timeslot INTEGER)";
    assert_eq!(repaired(1, &[half]).await, Ok(None));
    assert_eq!(repaired(1, &[ONE]).await, Ok(Some(1)));
}

#[tokio::test]
async fn a_database_with_nothing_but_bookkeeping_has_no_migration_whatever_its_number() {
    assert_eq!(repaired(20_260_101_120_000, &[]).await, Ok(None));
}

#[tokio::test]
async fn migration_3_is_judged_by_its_table_and_index() {
    assert_eq!(repaired(3, &[ONE]).await, Ok(Some(2)));
    assert_eq!(repaired(3, &[ONE, THREE]).await, Ok(Some(3)));
    assert!(repaired(3, &[ONE, "CREATE TABLE export_episodes (sync_id TEXT)"]).await.is_err());
}

#[tokio::test]
async fn migration_7_goes_back_to_5_because_there_is_no_6() {
    let to_four = [ONE, THREE, ROWS, RENAME_30S, RENAME_5M, RENAME_EXPORT, SCALE];
    assert_eq!(repaired(7, &to_four).await, Ok(Some(5)));
}

#[tokio::test]
async fn migration_8_is_judged_by_its_totals() {
    let to_four = [ONE, THREE, ROWS, RENAME_30S, RENAME_5M, RENAME_EXPORT, SCALE];
    assert_eq!(repaired(8, &to_four).await, Ok(Some(7)));
    let total = "INSERT INTO episodes_5m VALUES (1600000000, 300000000000, 0, 'g', '__total__', 0, 0)";
    assert_eq!(repaired(8, &[&to_four[..], &[total]].concat()).await, Ok(Some(8)));
}

#[tokio::test]
async fn the_broken_migration_9_goes_back_to_8() {
    assert_eq!(repaired(9, &[ONE, THREE, ROWS, RENAME_30S, RENAME_5M, RENAME_EXPORT, SCALE]).await, Ok(Some(8)));
}

#[tokio::test]
async fn an_unknown_schema_is_left_as_it_is() {
    let refusal = repaired(12, &["CREATE TABLE users (id INTEGER)"]).await.expect_err("nobody knows migration 12");
    assert!(refusal.contains("migration 12"), "{refusal}");
}

#[tokio::test]
async fn two_rows_are_somebody_elses_work_and_stay() {
    let two = "INSERT INTO schema_migrations VALUES (3, 0)";
    let refusal = repaired(4, &[two, ONE]).await.expect_err("two rows");
    assert!(refusal.contains("2 rows"), "{refusal}");
}

#[tokio::test]
async fn other_frameworks_and_none_are_told_apart() {
    assert_eq!(
        recognised(&["CREATE TABLE alembic_version (version_num VARCHAR(32))"]).await,
        Recognised::Other("Alembic".into())
    );
    let dbmate = "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)";
    assert_eq!(recognised(&[dbmate]).await, Recognised::Other("dbmate".into()));
    assert_eq!(recognised(&[]).await, Recognised::None);
}

#[tokio::test]
async fn a_clean_database_needs_no_repair() {
    let clean = recognised(&[BOOKKEEPING, "INSERT INTO schema_migrations VALUES (3, 0)", ONE]).await;
    assert!(matches!(clean, Recognised::Known { repair: Verdict::NotNeeded, .. }), "{clean:?}");
}
