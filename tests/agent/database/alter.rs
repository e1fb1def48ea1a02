//! Changing rows of a database that others have open.

use dbmig_agent::database::alter;
use dbmig_wire::{Alter, Change, ErrorKind};

use super::{Case, Quiet, text};

fn change(sql: &str, rows: u64) -> Change {
    Change { sql: sql.to_owned(), rows }
}

fn alter_it(case: &Case, changes: &[Change]) -> dbmig_agent::error::Result<()> {
    alter(&Alter { database: text(&case.old()), changes: changes.to_vec() }, &Quiet)
}

fn rows(case: &Case) -> Vec<(i64, bool)> {
    let connection = case.open();
    let mut select = connection.prepare("SELECT version, dirty FROM m ORDER BY 1").unwrap();
    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

fn case(mode: &str) -> Case {
    let case = Case::new();
    let script = format!("PRAGMA journal_mode = {mode}; CREATE TABLE m (version, dirty); INSERT INTO m VALUES (3, 0), (4, 1)");
    case.open().execute_batch(&script).unwrap();
    case
}

#[test]
fn all_changes_are_made_while_others_have_it_open() {
    for mode in ["DELETE", "WAL"] {
        let case = case(mode);
        let other = case.open();
        assert_eq!(other.query_row("SELECT count(*) FROM m", [], |row| row.get::<_, i64>(0)).unwrap(), 2);
        alter_it(&case, &[change("UPDATE m SET dirty = 0 WHERE version = 4", 1), change("DELETE FROM m WHERE version = 3", 1)])
            .unwrap();
        assert_eq!(rows(&case), [(4, false)], "{mode}");
        drop(other);
    }
}

#[test]
fn another_number_of_rows_or_bad_sql_changes_nothing() {
    let case = case("DELETE");
    let good = change("DELETE FROM m WHERE version = 3", 1);
    let error = alter_it(&case, &[good.clone(), change("UPDATE m SET dirty = 0 WHERE version = 9", 1)]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed, "{error:?}");
    let error = alter_it(&case, &[good.clone(), change("UPDATE nothing SET x = 1", 1)]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadRequest, "{error:?}");
    let error = alter_it(&case, &[good, change("DELETE FROM m; DELETE FROM m", 1)]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadRequest, "{error:?}");
    assert_eq!(rows(&case), [(3, false), (4, true)]);
}

#[test]
fn a_writer_that_keeps_its_lock_is_told_and_nothing_is_changed() {
    let case = case("DELETE");
    let writer = case.open();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = alter_it(&case, &[change("DELETE FROM m WHERE version = 3", 1)]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy, "{error:?}");
    writer.execute_batch("ROLLBACK").unwrap();
    assert_eq!(rows(&case).len(), 2);
}
