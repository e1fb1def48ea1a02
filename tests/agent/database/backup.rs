//! A copy by SQLite's own backup, also beside a writer.

use std::fs;
use std::thread;
use std::time::Duration;

use dbmig_wire::{Backup, ErrorKind};
use rusqlite::Connection;

use super::{Case, text};
use crate::process::ask;

const TABLE: &str = "CREATE TABLE t (n INTEGER PRIMARY KEY, s TEXT)";
const ROWS: &str = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000)
    INSERT INTO t SELECT n, hex(randomblob(100)) FROM c";

fn call(case: &Case) -> Backup {
    Backup { database: text(&case.old()), to: text(&case.folder.path().join("copy.sqlite")) }
}

fn count(path: &str) -> i64 {
    Connection::open(path).unwrap().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

fn names(case: &Case) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(case.folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_copy_holds_what_was_committed_in_either_journal_mode_and_leaves_nothing_beside_it() {
    for mode in ["delete", "wal"] {
        let case = Case::new();
        let writer = case.open();
        writer.pragma_update(None, "journal_mode", mode).unwrap();
        writer.execute_batch(&format!("{TABLE}; {ROWS}")).unwrap();
        let proof = ask(call(&case)).unwrap();
        let copy = call(&case).to;
        assert_eq!((fs::metadata(&copy).unwrap().len(), proof.sha256.len()), (proof.bytes, 64), "{mode}");
        // Once more, in place of the first one.
        writer.execute_batch("DELETE FROM t WHERE n > 5").unwrap();
        assert_eq!(count(&copy), 20_000, "{mode}");
        ask(call(&case)).unwrap();
        assert_eq!(count(&copy), 5, "{mode}");
        drop(writer);
        assert_eq!(names(&case), ["app.sqlite", "copy.sqlite"], "{mode}");
    }
}

#[test]
fn a_writer_in_wal_mode_goes_on_and_the_copy_is_of_one_moment() {
    let case = Case::new();
    let writer = case.open();
    writer.pragma_update(None, "journal_mode", "wal").unwrap();
    // Both tables always have the same number of rows.
    writer
        .execute_batch(&format!("{TABLE}; CREATE TABLE u (n INTEGER PRIMARY KEY); {ROWS}; INSERT INTO u SELECT n FROM t"))
        .unwrap();
    let writing = thread::spawn(move || {
        for n in 0..400 {
            writer
                .execute_batch(&format!(
                    "BEGIN; INSERT INTO t VALUES ({}, 'x'); INSERT INTO u VALUES ({}); COMMIT",
                    30_000 + n,
                    30_000 + n
                ))
                .unwrap();
            thread::sleep(Duration::from_millis(1));
        }
    });
    for _ in 0..5 {
        ask(call(&case)).unwrap();
        let copy = Connection::open(call(&case).to).unwrap();
        let same: bool =
            copy.query_row("SELECT (SELECT count(*) FROM t) = (SELECT count(*) FROM u)", [], |row| row.get(0)).unwrap();
        assert!(same);
    }
    writing.join().unwrap();
}

#[test]
fn a_damaged_database_is_no_backup_and_what_was_there_stays() {
    let case = Case::new();
    let writer = case.open();
    writer.execute_batch(&format!("{TABLE}; {ROWS}")).unwrap();
    drop(writer);
    ask(call(&case)).unwrap();
    let mut bytes = fs::read(case.old()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0x5a);
    fs::write(case.old(), &bytes).unwrap();
    let error = ask(call(&case)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt, "{error:?}");
    assert_eq!(count(&call(&case).to), 20_000);
    assert_eq!(names(&case), ["app.sqlite", "copy.sqlite"]);
    let copied = ask(Backup { database: text(&case.folder.path().join("none")), ..call(&case) }).unwrap_err();
    assert_eq!(copied.kind, ErrorKind::NotFound);
}
