//! Looking at databases, also while writers run, and settling what killed ones left.

use std::fs;

use dbmig_agent::database::{inspect, measure, query, replay, rows_written_since, settle};
use dbmig_wire::{ErrorKind, Inspect, Measure, Query, Replay, Settle};
use rusqlite::Connection;

use super::series::rule;
use super::{Case, Quiet, text, told};
use crate::upmeter::Upmeter;

fn look(case: &Case, quiescent: bool) -> dbmig_agent::error::Result<dbmig_wire::Facts> {
    inspect(&Inspect { database: text(&case.old()), full_check: true, quiescent }, &Quiet)
}

/// A database whose last writer was killed within a transaction: its files are copied while it is open.
fn killed(mode: &str) -> Case {
    let alive = Case::new();
    let writer = alive.open();
    writer.execute_batch(&format!("PRAGMA journal_mode = {mode}; PRAGMA cache_size = 1; CREATE TABLE t (a)")).unwrap();
    writer.execute_batch("INSERT INTO t VALUES (1), (2), (3); BEGIN; UPDATE t SET a = 9").unwrap();
    writer.execute_batch("INSERT INTO t SELECT zeroblob(9000) FROM t, t AS u, t AS v").unwrap();
    let case = Case::new();
    for suffix in ["", "-journal", "-wal"] {
        let name = format!("app.sqlite{suffix}");
        let _ = fs::copy(alive.folder.path().join(&name), case.folder.path().join(&name));
    }
    case
}

#[test]
fn the_bundled_sqlite_has_the_wal_reset_fix() {
    assert!(rusqlite::version_number() >= 3_051_003, "{}", rusqlite::version());
}

#[test]
fn a_database_is_read_beside_a_running_writer() {
    for mode in ["DELETE", "WAL", "PERSIST", "TRUNCATE"] {
        let case = Case::new();
        let writer = case.open();
        writer
            .execute_batch(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)"))
            .unwrap();
        writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (3)").unwrap();
        let facts = look(&case, false).unwrap();
        assert_eq!(facts.unreadable, None, "{mode}");
        let content = facts.content.unwrap();
        assert_eq!((content.tables[0].rows, content.damage.len()), (2, 0), "{mode}");
        writer.execute_batch("COMMIT").unwrap();
        let call = Query { database: text(&case.old()), sql: "SELECT a FROM t".to_owned(), most: 10 };
        assert_eq!(query(&call, &Quiet).unwrap().len(), 3, "{mode}");
    }
}

#[test]
fn a_hot_journal_is_told_and_then_rolled_back() {
    let case = killed("DELETE");
    let facts = look(&case, false).unwrap();
    assert!(facts.content.is_none() && facts.side_files[0].hot, "{facts:?}");
    assert!(facts.unreadable.unwrap().contains("-journal"));
    assert_eq!(look(&case, true).unwrap_err().kind, ErrorKind::Unsettled);
    assert_eq!(case.try_rebuild(&[], &[]).unwrap_err().kind, ErrorKind::Unsettled);
    let settled = settle(&Settle { database: text(&case.old()) }, &Quiet).unwrap();
    assert!(settled.rolled_back && !settled.checkpointed);
    assert_eq!(look(&case, true).unwrap().content.unwrap().tables[0].rows, 3);
    case.rebuild(&[]);
}

#[test]
fn a_wal_that_was_left_is_told_and_then_merged() {
    let case = killed("WAL");
    let facts = look(&case, false).unwrap();
    assert!(facts.content.is_none() && facts.side_files[0].hot, "{facts:?}");
    assert_eq!(case.try_rebuild(&[], &[]).unwrap_err().kind, ErrorKind::Unsettled);
    let settled = settle(&Settle { database: text(&case.old()) }, &Quiet).unwrap();
    assert!(settled.checkpointed && !settled.rolled_back);
    assert_eq!(look(&case, true).unwrap().content.unwrap().tables[0].rows, 3);
    assert_eq!(look(&case, true).unwrap().side_files, []);
}

#[test]
fn measuring_says_what_a_rebuild_keeps_and_is_on_the_safe_side() {
    let upmeter = Upmeter::new(5, 5, 3).odd();
    let case = Case::new();
    upmeter.write(&case.old()).unwrap();
    let rules = [rule(&upmeter)];
    let ask = |quiescent| measure(&Measure { database: text(&case.old()), rules: rules.to_vec(), quiescent }, &Quiet).unwrap();
    let (still, live) = (ask(true), ask(false));
    assert_eq!(still, live);
    let rebuilt = case.rebuild(&rules);
    assert_eq!(still.tables, rebuilt.tables);
    assert!(still.expected_bytes >= rebuilt.bytes && still.expected_bytes < 2 * rebuilt.bytes, "{still:?} {rebuilt:?}");
}

#[test]
fn a_query_only_reads() {
    let case = Case::new();
    case.open().execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1), ('x'), (x'0aff'), (NULL), (1.5)").unwrap();
    let ask = |sql: &str| query(&Query { database: text(&case.old()), sql: sql.to_owned(), most: 5 }, &Quiet);
    let rows = ask("SELECT a FROM t").unwrap();
    assert_eq!(serde_json::to_string(&rows).unwrap(), r#"[[1],["x"],["x:0aff"],[null],[1.5]]"#);
    for bad in ["DELETE FROM t", "SELECT 1; DELETE FROM t", "SELECT * FROM t, t AS u", "nonsense", "", "PRAGMA user_version = 3"]
    {
        assert_eq!(ask(bad).expect_err(bad).kind, ErrorKind::BadRequest, "{bad}");
    }
}

#[test]
fn migration_files_are_replayed_until_one_fails() {
    let scripts = [
        "CREATE TABLE a (x)",
        "BEGIN; ALTER TABLE a RENAME TO b; COMMIT; VACUUM",
        "BEGIN; DROP TABLE b; nonsense",
        "CREATE TABLE never (x)",
    ];
    let states = replay(&Replay { scripts: scripts.map(str::to_owned).to_vec() }, &Quiet).unwrap();
    let names: Vec<&str> = states.iter().map(|state| state.schema[0].name.as_str()).collect();
    assert_eq!(names, ["a", "b", "b"]);
    assert!(states[2].error.is_some() && states[1].error.is_none());
    let file = Case::new();
    for sql in [format!("ATTACH '{}' AS x", text(&file.old())), format!("VACUUM INTO '{}'", text(&file.old()))] {
        let states = replay(&Replay { scripts: vec![sql] }, &Quiet).unwrap();
        assert!(states[0].error.is_some());
        assert!(!file.old().exists());
    }
}

#[test]
fn rows_written_since_are_counted_by_content() {
    let case = Case::new();
    case.open()
        .execute_batch("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z'); CREATE TABLE u (a); INSERT INTO u VALUES (1)")
        .unwrap();
    case.rebuild(&[]);
    assert_eq!(rows_written_since(&case.old(), &case.new_file()).unwrap(), []);
    Connection::open(case.new_file())
        .unwrap()
        .execute_batch("DELETE FROM t WHERE a = 1; INSERT INTO t VALUES (2, 'y'), (4, 'n'); UPDATE t SET b = 'q' WHERE a = 3; CREATE TABLE n (a); INSERT INTO n VALUES (1); VACUUM")
        .unwrap();
    let found: Vec<(String, u64)> =
        rows_written_since(&case.old(), &case.new_file()).unwrap().into_iter().map(|table| (table.name, table.rows)).collect();
    assert_eq!(found, [("t".to_owned(), 3), ("n".to_owned(), 1)]);
}

#[test]
fn free_pages_and_holes_are_counted() {
    let case = Case::new();
    case.open()
        .execute_batch("CREATE TABLE t (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) INSERT INTO t SELECT zeroblob(3000) FROM n; DELETE FROM t")
        .unwrap();
    let facts = look(&case, true).unwrap_or_else(|error| panic!("{}", told(&error)));
    let content = facts.content.unwrap();
    let free = facts.header.free_pages * 4096;
    assert!(content.free_leaf_bytes > free / 2 && content.free_leaf_bytes < free, "{} of {free}", content.free_leaf_bytes);
    assert_eq!(content.hole_bytes, 0);
}
