//! Looks at a database without changing it, also while its writers run. Decides nothing.

use std::fs;
use std::path::Path;

use dbmig_wire::{AgentError, Content, ErrorKind, Facts, Inspect, Progress, SideFile, TableRows, Unit, Volume};
use rusqlite::{Connection, ErrorCode};

use super::free_list;
use super::header::RawHeader;
use super::open::{Open, live, quoted, temporary_files_somewhere, unchanging};
use super::pages::Pages;
use super::schema::{Object, objects};
use super::side_files;
use super::sql_text::{collations, functions};
use crate::error::{Explain, Result, fail, sqlite_reason};
use crate::file::{facts, volume};
use crate::report::Report;

/// Lines of a check that are passed on.
pub(super) const MOST_LINES: u32 = 1000;

/// Tells what is known of the file, its volume, its side files and, where it can be read now, its content.
///
/// # Errors
/// `NotFound`, `Permission`, `NotSqlite`, `Encrypted`, `Corrupt` where not even the header makes sense; `Unsettled` with `quiescent`
/// and a hot side file.
pub fn inspect(call: &Inspect, report: &dyn Report) -> Result<Facts> {
    let path = &call.database;
    let mut side_files = side_files::list(path)?;
    let header = Pages::open_unsettled(path)?;
    if call.quiescent {
        side_files::refuse_hot(path)?;
    }
    let seen = fs::metadata(path).explain(|| format!("cannot look at {path}"))?;
    let (file, volume) = (facts(&seen), volume(Path::new(path))?);
    let content = content(call, report);
    let journal_is_cold = content.is_ok();
    for side in side_files.iter_mut().filter(|side| side.path.ends_with("-journal")) {
        // A journal that did not keep SQLite from reading belongs to a writer at work.
        side.hot &= !journal_is_cold;
    }
    let (content, unreadable) = match content {
        Ok(content) => (Some(content), None),
        Err(error) if error.kind == ErrorKind::Stopped => return Err(error),
        Err(error) => (None, Some(explained(&error, &side_files))),
    };
    let can_punch = can_punch(path, &header, &volume)?;
    Ok(Facts { file, volume, side_files, header: header.facts(), content, unreadable, can_punch })
}

fn explained(error: &AgentError, side_files: &[SideFile]) -> String {
    let hot =
        side_files.iter().filter(|side| side.hot).map(|side| format!("; {} ({} bytes) is not settled", side.path, side.bytes));
    let details = error.details.iter().map(|detail| format!("; {detail}"));
    error.message.clone() + &details.chain(hot).collect::<String>()
}

/// A connection for reading a database whose writers may run, and the way it was opened.
///
/// # Errors
/// `Unsettled` if only a writer could make it readable; `Corrupt`, `NotSqlite`, `Busy` and the like.
pub(super) fn reading(path: &str) -> Result<(Connection, Open)> {
    let header = Pages::open_unsettled(path)?;
    let side_files = side_files::list(path)?;
    let length = |suffix: &str| side_files.iter().find(|side| side.path.ends_with(suffix)).map_or(0, |side| side.bytes);
    let unsettled = |reason: &str| fail(ErrorKind::Unsettled, format!("{path} cannot be read before it is settled: {reason}"));
    let mut open: Open = live;
    if header.wal() && length("-shm") == 0 {
        if length("-wal") > 0 {
            return Err(unsettled("its WAL was left by a process that is gone"));
        }
        // Whoever has a WAL database open keeps these two files beside it.
        open = unchanging;
    }
    let connection = open(path)?;
    temporary_files_somewhere(&connection, path);
    let first = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    match first {
        Err(error) if matches!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen)) => {
            Err(unsettled("a hot journal or WAL is beside it"))
        }
        other => other.map(|_| (connection, open)).explain(|| format!("cannot read {path}")),
    }
}

fn content(call: &Inspect, report: &dyn Report) -> Result<Content> {
    let path = &call.database;
    // Opened first and so closed last: closing a file drops every lock that this process has on it.
    let pages = Pages::open(path)?;
    let (connection, _) = if call.quiescent { (unchanging(path)?, unchanging as Open) } else { reading(path)? };
    connection.execute_batch("BEGIN").explain(|| format!("cannot read {path}"))?;
    let objects = objects(&connection, path)?;
    let mut damage = Vec::new();
    let free = free_list::leaves(&pages).unwrap_or_else(|error| {
        // A WAL may hold newer pages than the file; then the list in the file proves nothing.
        let certain = call.quiescent || !pages.header.wal();
        damage.extend(error.details.into_iter().filter(|_| certain));
        free_list::Leaves::default()
    });
    let tables = count_tables(&connection, &objects, &mut damage, report)?;
    if call.full_check {
        report.progress(Progress { phase: "checking every page".to_owned(), done: 0, total: 0, unit: Unit::Pages });
        damage.extend(check(&connection)?);
    }
    Ok(Content {
        obstacles: obstacles(&connection, &objects)?,
        schema: objects.into_iter().map(|object| object.seen).collect(),
        tables,
        free_leaf_bytes: free.bytes,
        hole_bytes: free.hole_bytes,
        damage,
    })
}

fn count_tables(
    connection: &Connection,
    objects: &[Object],
    damage: &mut Vec<String>,
    report: &dyn Report,
) -> Result<Vec<TableRows>> {
    let mut tables = Vec::new();
    for table in objects.iter().filter(|object| object.is_table()) {
        report.check()?;
        let name = &table.seen.name;
        let phase = format!("counting table {name}");
        report.progress(Progress { phase, done: tables.len() as u64, total: 0, unit: Unit::Rows });
        let rows = match count(connection, name, "NOT INDEXED") {
            Ok(rows) => rows,
            Err(error) => {
                damage.push(format!("table {name}: {}", sqlite_reason(&error)));
                continue;
            }
        };
        for index in objects.iter().filter(|object| object.is_index_of(name)) {
            damage.extend(miscounted(connection, name, rows, index));
        }
        tables.push(TableRows { name: name.clone(), rows });
    }
    Ok(tables)
}

/// Rows counted in one particular tree: `sum(1)` because `count(*)` may take whatever tree is the smallest.
fn count(connection: &Connection, table: &str, how: &str) -> rusqlite::Result<u64> {
    let sql = format!("SELECT coalesce(sum(1), 0) FROM main.{} {how}", quoted(table));
    connection.query_row(&sql, [], |row| row.get(0))
}

fn miscounted(connection: &Connection, table: &str, rows: u64, index: &Object) -> Option<String> {
    let name = &index.seen.name;
    let condition = index.partial().map(|condition| format!("WHERE {condition}")).unwrap_or_default();
    let through = format!("INDEXED BY {} {condition}", quoted(name));
    let expected = if condition.is_empty() { Ok(rows) } else { count(connection, table, &format!("NOT INDEXED {condition}")) };
    match (expected, count(connection, table, &through)) {
        (Ok(rows), Ok(entries)) if rows == entries => None,
        (Ok(rows), Ok(entries)) => Some(format!("index {name} of table {table} has {entries} entries for {rows} rows")),
        // What SQLite as bundled cannot compute is an obstacle and no damage.
        (Err(error), _) | (_, Err(error)) if matches!(error, rusqlite::Error::SqlInputError { .. }) => None,
        (Err(error), _) | (_, Err(error)) => Some(format!("index {name} of table {table}: {}", sqlite_reason(&error))),
    }
}

/// The lines of an `integrity_check`; none when all is well.
pub(super) fn check(connection: &Connection) -> Result<Vec<String>> {
    let doing = || "cannot check the database".to_owned();
    let mut statement = connection.prepare(&format!("PRAGMA main.integrity_check({MOST_LINES})")).explain(doing)?;
    let lines = statement.query_map([], |row| row.get(0)).explain(doing)?;
    let mut found = Vec::new();
    for line in lines {
        match line {
            Ok(line) => found.push(line),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => found.push(sqlite_reason(&error)),
            Err(error) => return Err(error).explain(doing),
        }
    }
    found.retain(|line| line != "ok");
    Ok(found)
}

/// Collations and functions of the schema that SQLite as bundled does not know.
fn obstacles(connection: &Connection, objects: &[Object]) -> Result<Vec<String>> {
    let known = |list: &str| -> Result<Vec<String>> {
        let doing = || "cannot list what SQLite knows".to_owned();
        let mut names = connection.prepare(&format!("SELECT DISTINCT lower(name) FROM pragma_{list}_list")).explain(doing)?;
        let names = names.query_map([], |row| row.get(0)).explain(doing)?;
        names.collect::<rusqlite::Result<_>>().explain(doing)
    };
    let (known_collations, known_functions) = (known("collation")?, known("function")?);
    let mut found = Vec::new();
    for object in objects.iter().filter(|object| object.root > 0) {
        let Some(sql) = &object.seen.sql else { continue };
        let index = object.seen.kind == "index";
        let of = if index { format!(" on {}", object.seen.table) } else { String::new() };
        let mut note = |what: &str, name: String, known: &[String]| {
            let line = format!("{what} {name} ({} {}{of})", object.seen.kind, object.seen.name);
            if !known.contains(&name.to_ascii_lowercase()) && !found.contains(&line) {
                found.push(line);
            }
        };
        collations(sql).into_iter().for_each(|name| note("collation", name, &known_collations));
        functions(sql, index).into_iter().for_each(|name| note("function", name, &known_functions));
    }
    Ok(found)
}

/// File systems that are known to punch holes: ext4, XFS, Btrfs, tmpfs, F2FS, bcachefs, by the numbers of Linux's `magic.h`.
const PUNCHABLE: [u64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0xf2f5_2010, 0xca45_1a4e];

/// Pages smaller than a block give nothing back unless several adjoin; SQLite's free leaves mostly do.
fn can_punch(path: &str, header: &RawHeader, volume: &Volume) -> Result<bool> {
    let seen = rustix::fs::statfs(path).explain(|| format!("cannot look at the volume of {path}"))?;
    let aligned =
        u64::from(header.page_size) >= volume.block_bytes || volume.block_bytes.is_multiple_of(u64::from(header.page_size));
    Ok(aligned && PUNCHABLE.contains(&(seen.f_type as u64 & 0xffff_ffff)) && !volume.read_only)
}
