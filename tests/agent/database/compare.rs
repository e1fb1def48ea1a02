//! Compares two files with plain SQL: each row by rowid, type and value, in both directions.

use std::path::Path;

use rusqlite::Connection;

use super::text;

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The differences between `new` and `old` after the reference's statements were run on a copy of `old`.
pub fn differences(old: &Path, new: &Path, reference: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("reference");
    std::fs::copy(old, &copy).unwrap();
    let both = Connection::open(&copy).unwrap();
    both.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA recursive_triggers = OFF").unwrap();
    both.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    both.execute_batch(reference).unwrap();
    both.execute("ATTACH ?1 AS new", [format!("file:{}?immutable=1", text(new))]).unwrap();
    let mut found = schema_differences(&both);
    let sql = "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND rootpage > 0";
    let tables: Vec<String> = both.prepare(sql).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for table in tables {
        found.extend(row_differences(&both, &table));
    }
    for pragma in ["page_size", "encoding", "user_version", "application_id", "auto_vacuum"] {
        let read = |schema: &str| -> String {
            let value: rusqlite::types::Value =
                both.query_row(&format!("PRAGMA {schema}.{pragma}"), [], |row| row.get(0)).unwrap();
            format!("{value:?}")
        };
        if read("main") != read("new") {
            found.push(format!("{pragma}: {} {}", read("main"), read("new")));
        }
    }
    let check = |schema: &str| -> Vec<String> {
        let mut lines = both.prepare(&format!("PRAGMA {schema}.integrity_check")).unwrap();
        lines.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    if check("new") != check("main") {
        found.extend(check("new"));
    }
    found
}

fn schema_differences(both: &Connection) -> Vec<String> {
    let list = |schema: &str| -> Vec<String> {
        let sql = format!(
            "SELECT rowid || type || name || tbl_name || (rootpage > 0) || coalesce(sql, 'NULL') FROM {schema}.sqlite_schema ORDER BY rowid"
        );
        both.prepare(&sql).unwrap().query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let (old, new) = (list("main"), list("new"));
    if old == new { Vec::new() } else { vec![format!("schema {old:#?} {new:#?}")] }
}

fn row_differences(both: &Connection, table: &str) -> Vec<String> {
    let info = "SELECT name FROM pragma_table_xinfo(?1) WHERE hidden <> 1";
    let columns: Vec<String> =
        both.prepare(info).unwrap().query_map([table], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut wanted: Vec<String> = columns.iter().flat_map(|name| [format!("typeof({0})", quoted(name)), exact(name)]).collect();
    let without_rowid: bool = both
        .query_row("SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1", [table], |row| row.get(0))
        .unwrap();
    let rowid = ["rowid", "_rowid_", "oid"].into_iter().find(|id| !columns.iter().any(|column| column.eq_ignore_ascii_case(id)));
    if let Some(rowid) = rowid.filter(|_| !without_rowid) {
        wanted.push(rowid.to_owned());
    }
    let (list, name) = (wanted.join(", "), quoted(table));
    let count = |a: &str, b: &str| -> i64 {
        let sql = format!(
            "SELECT count(*) FROM (SELECT {list} FROM {a}.{name} NOT INDEXED EXCEPT SELECT {list} FROM {b}.{name} NOT INDEXED)"
        );
        both.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    let rows =
        |schema: &str| -> i64 { both.query_row(&format!("SELECT count(*) FROM {schema}.{name}"), [], |row| row.get(0)).unwrap() };
    let (missing, extra, before, after) = (count("main", "new"), count("new", "main"), rows("main"), rows("new"));
    if (missing, extra) == (0, 0) && before == after {
        return Vec::new();
    }
    vec![format!("table {table}: {missing} rows missing, {extra} rows too many, {before} rows became {after}")]
}

/// Text by its bytes, so that no collation makes different values equal; the rest as it is.
fn exact(column: &str) -> String {
    let name = quoted(column);
    format!("CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) ELSE {name} END")
}
