//! What the way back tells of rows that the application wrote since the swap.

use std::fs;
use std::path::PathBuf;

use dbmig_wire::{Restore, Restored};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::process::{ask, text};

struct Place {
    dir: TempDir,
    app: PathBuf,
}

/// As after a vacuum that dropped rows: the old file is kept, the new one is in use.
fn place() -> Place {
    let dir = TempDir::new().unwrap();
    let (app, old) = (dir.path().join("app"), dir.path().join("app.dbmig-old"));
    Connection::open(&old)
        .unwrap()
        .execute_batch(
            "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT COLLATE NOCASE, b);
             CREATE TABLE w (k TEXT PRIMARY KEY, n) WITHOUT ROWID; CREATE TABLE plain (a, b); CREATE TABLE still (one);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) INSERT INTO plain SELECT i, 'x' || i FROM n;
             INSERT INTO t (a, b) SELECT b, a FROM plain; INSERT INTO w SELECT b, a FROM plain; INSERT INTO still SELECT a FROM plain",
        )
        .unwrap();
    fs::copy(&old, &app).unwrap();
    Connection::open(&app).unwrap().execute_batch("DELETE FROM t WHERE id <= 50; DELETE FROM w WHERE n > 70").unwrap();
    Place { dir, app }
}

impl Place {
    fn restore(&self) -> Restored {
        let at = |suffix: &str| text(&self.dir.path().join(format!("app.dbmig-{suffix}")));
        ask(Restore { database: text(&self.app), old: at("old"), set_aside: at("aside") }).unwrap()
    }
}

/// What a restore tells, at once and when it is repeated, after the application ran these statements.
fn told(sql: &str) -> Vec<(String, u64)> {
    let place = place();
    Connection::open(&place.app).unwrap().execute_batch(sql).unwrap();
    let (first, again) = (place.restore(), place.restore());
    assert!(!first.already && again.already);
    assert_eq!(first.written_since, again.written_since, "the file that was taken out still tells it");
    first.written_since.into_iter().map(|table| (table.name, table.rows)).collect()
}

fn one(table: &str, rows: u64) -> Vec<(String, u64)> {
    vec![(table.to_owned(), rows)]
}

#[test]
fn nothing_written_is_nothing_told() {
    assert_eq!(told(""), []);
    assert_eq!(told("DELETE FROM t WHERE id > 90; DELETE FROM plain"), [], "what was deleted is in the old file");
    assert_eq!(told("VACUUM; CREATE INDEX i ON t (a); ANALYZE"), []);
    assert_eq!(told("UPDATE t SET a = a, b = b"), []);
}

#[test]
fn new_and_changed_rows_are_counted_per_table() {
    assert_eq!(told("INSERT INTO t (a) VALUES ('new'), ('newer'), ('newest')"), one("t", 3));
    assert_eq!(told("UPDATE t SET b = -b WHERE id > 90; INSERT INTO t (a) VALUES ('new')"), one("t", 11));
    assert_eq!(told("UPDATE w SET n = -1 WHERE n <= 5; INSERT INTO w VALUES ('new', 1)"), one("w", 6));
    assert_eq!(told("INSERT INTO plain VALUES (7, 'seven')"), one("plain", 1));
    let both = told("INSERT INTO plain VALUES (7, 'seven'); UPDATE w SET n = NULL WHERE n = 1");
    assert_eq!(both, [one("w", 1), one("plain", 1)].concat());
}

#[test]
fn a_change_that_only_bytes_show_is_told() {
    assert_eq!(told("UPDATE t SET a = upper(a) WHERE id = 60"), one("t", 1), "its collation takes both for equal");
    assert_eq!(told("UPDATE t SET b = CAST(b AS TEXT) WHERE id = 60"), one("t", 1));
    assert_eq!(told("UPDATE t SET b = NULL WHERE id = 60"), one("t", 1));
    assert_eq!(told("UPDATE plain SET b = CAST(b AS BLOB) WHERE a < 3"), one("plain", 2));
}

#[test]
fn a_row_that_only_moved_is_not_told() {
    assert_eq!(told("UPDATE plain SET rowid = rowid + 1000"), []);
    assert_eq!(told("UPDATE t SET id = id + 1000 WHERE id = 60"), one("t", 1), "this rowid is a column");
}

#[test]
fn a_row_written_once_more_is_told() {
    assert_eq!(told("INSERT INTO plain SELECT a, b FROM plain WHERE a = 7"), one("plain", 1));
    assert_eq!(told("INSERT INTO plain VALUES (500, 'new'), (500, 'new'), (500, 'new')"), one("plain", 3));
    // Three moved and one of them doubled, one moved to where another was, one gone and back.
    assert_eq!(told("UPDATE plain SET rowid = rowid + 1000 WHERE a < 4; INSERT INTO plain VALUES (2, 'x2')"), one("plain", 1));
    assert_eq!(told("DELETE FROM plain WHERE a = 5; UPDATE plain SET rowid = 5 WHERE a = 6"), []);
    assert_eq!(told("DELETE FROM plain WHERE a = 5; INSERT INTO plain VALUES (5, 'x5')"), []);
    assert_eq!(told("DELETE FROM still WHERE one > 50; VACUUM; INSERT INTO still VALUES (99)"), [], "it was there once");
    assert_eq!(told("INSERT INTO still VALUES (7), (7)"), one("still", 2));
}

#[test]
fn a_migration_since_counts_by_the_columns_that_both_know() {
    assert_eq!(told("ALTER TABLE t ADD COLUMN c DEFAULT 5"), []);
    assert_eq!(told("ALTER TABLE t ADD COLUMN c DEFAULT 5; INSERT INTO t (a) VALUES ('new')"), one("t", 1));
    assert_eq!(told("CREATE TABLE fresh (a); INSERT INTO fresh VALUES (1), (2), (2)"), one("fresh", 3));
    assert_eq!(told("DROP TABLE still"), []);
}
