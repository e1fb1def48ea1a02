//! Databases with a bit of everything, and what is in them, short enough to be compared many times.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::process::text;

/// Writes a database of about `mib` MiB: rowids with gaps and autoincrement, values of every type, long ones with overflow
/// pages, a table without rowids, indexes, and every pragma that must stay.
pub(super) fn write(path: &Path, mib: u32) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA page_size = 8192; PRAGMA auto_vacuum = 2; PRAGMA encoding = 'UTF-16le'; PRAGMA synchronous = OFF;
             PRAGMA user_version = 7; PRAGMA application_id = 77; PRAGMA cache_size = -65536; BEGIN;
             CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, a, b TEXT); CREATE INDEX i ON t (b);
             CREATE TABLE w (k TEXT PRIMARY KEY, n) WITHOUT ROWID; CREATE TABLE big (v);
             CREATE TABLE n (i INTEGER PRIMARY KEY);
             WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 6000) INSERT INTO n SELECT i FROM c;
             INSERT INTO t SELECT i * 3, CASE i % 5 WHEN 0 THEN i WHEN 1 THEN i / 2.0 WHEN 2 THEN NULL WHEN 3 THEN x'00' || i
                 ELSE 'ö' || i END, 'b' || (i * 7919 % 6000) FROM n;
             INSERT INTO w SELECT 'k' || i, i FROM n WHERE i <= 2000;
             INSERT INTO big (rowid, v) SELECT i * i, CAST(randomblob(16000 + i) AS BLOB) FROM n WHERE i <= {};
             DELETE FROM t WHERE id > 17000; COMMIT",
            mib * 60
        ))
        .unwrap();
    connection
}

/// Every schema row, pragma and table, each as a line; the rows of a table with their rowids, types and values as a number.
pub(super) fn lines(path: &Path) -> Vec<String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let file = Connection::open_with_flags(format!("file:{}?immutable=1", text(path)), flags).unwrap();
    let list = |sql: &str| -> Vec<String> {
        let mut rows = file.prepare(sql).unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let mut lines = list("SELECT rowid || type || name || tbl_name || coalesce(sql, '-') FROM sqlite_schema ORDER BY rowid");
    for pragma in ["page_size", "encoding", "user_version", "application_id", "auto_vacuum"] {
        lines.push(format!("{pragma} {:?}", list(&format!("SELECT CAST({pragma} AS TEXT) FROM pragma_{pragma}"))));
    }
    for table in list("SELECT name FROM sqlite_schema WHERE type = 'table'") {
        let rowid = if table == "w" { "" } else { "rowid," };
        lines.push(format!("{table} {:?}", rows(&file, &format!("SELECT {rowid} * FROM \"{table}\" NOT INDEXED"))));
    }
    lines.extend(list("PRAGMA integrity_check"));
    lines
}

/// Number of rows, and one number for all their values.
fn rows(file: &Connection, sql: &str) -> (u64, u64) {
    let (mut hash, mut count) = (DefaultHasher::new(), 0);
    let mut select = file.prepare(sql).unwrap();
    let columns = select.column_count();
    let mut rows = select.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        count += 1;
        for column in 0..columns {
            let (kind, bytes) = match row.get_ref(column).unwrap() {
                ValueRef::Null => (0, Vec::new()),
                ValueRef::Integer(value) => (1, value.to_be_bytes().to_vec()),
                ValueRef::Real(value) => (2, value.to_be_bytes().to_vec()),
                ValueRef::Text(bytes) => (3, bytes.to_vec()),
                ValueRef::Blob(bytes) => (4, bytes.to_vec()),
            };
            hash.write_u8(kind);
            hash.write_usize(bytes.len());
            hash.write(&bytes);
        }
    }
    (count, hash.finish())
}

/// What plain SQL makes of a copy of `path`.
pub(super) fn reference(path: &Path, sql: &str) -> Vec<String> {
    let copy = path.with_file_name("reference");
    fs::copy(path, &copy).unwrap();
    Connection::open(&copy).unwrap().execute_batch(sql).unwrap();
    let expected = lines(&copy);
    fs::remove_file(copy).unwrap();
    expected
}

/// Names in a folder, sorted.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
