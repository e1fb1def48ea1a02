//! Finds rows that were written after a rebuild, before the old file is put back. Changes nothing.

use std::path::Path;

use dbmig_wire::TableRows;
use rusqlite::Connection;

use super::open::{quoted, temporary_files_somewhere, unchanging};
use super::schema::{Shape, objects};
use crate::error::{Explain, Result};
use crate::file::lacking;

/// Counts, per table of `new`, the rows that `old` does not have or has not as often, by content: rows are equal when all columns
/// that both know are. Both files must be settled. Tables without such rows are left out; a table that `old` lacks counts whole.
///
/// # Errors
/// `Corrupt`, `NotSqlite`, `NoSpace` (temporary files).
pub fn rows_written_since(old: &Path, new: &Path) -> Result<Vec<TableRows>> {
    let (old, new) = (old.to_string_lossy(), new.to_string_lossy());
    let connection = unchanging(&new)?;
    let before = unchanging(&old)?;
    let temp = temporary_files_somewhere(&connection, &new);
    connection.execute("ATTACH ?1 AS before", [super::open::unchanging_uri(&old)]).explain(|| format!("cannot open {old}"))?;
    let mut found = Vec::new();
    for table in objects(&connection, &new)?.into_iter().filter(super::schema::Object::is_table) {
        let name = table.seen.name;
        // How often autoincrement counted and what the planner knows are not rows of the application.
        if name.starts_with("sqlite_") {
            continue;
        }
        let rows = written(&connection, &Shape::of(&connection, &name)?, Shape::of(&before, &name).ok().as_ref())
            .map_err(|error| lacking(error, &temp, None))?;
        if rows > 0 {
            found.push(TableRows { name, rows });
        }
    }
    Ok(found)
}

fn written(connection: &Connection, new: &Shape, old: Option<&Shape>) -> Result<u64> {
    let table = quoted(&new.name);
    let known = |name: &str| old.is_some_and(|old| old.column(name).is_ok());
    let columns: Vec<String> =
        new.columns.iter().map(|column| &column.name).filter(|name| known(name)).map(|name| quoted(name)).collect();
    let count = |sql: &str| -> Result<u64> {
        connection.query_row(sql, [], |row| row.get(0)).explain(|| format!("cannot compare table {}", new.name))
    };
    if columns.is_empty() {
        return count(&format!("SELECT count(*) FROM main.{table}"));
    }
    let list = columns.join(", ");
    // A collation may take for equal what was changed.
    let exact: Vec<String> = columns.iter().map(|column| format!("{column} COLLATE BINARY")).collect();
    let exact = exact.join(", ");
    let rowids = new.rowid().zip(old.and_then(Shape::rowid));
    let changed = |schema: &str, other: &str| match rowids {
        Some((now, then)) if schema == "main" => unpaired((schema, now), (other, then), &table, &columns),
        Some((now, then)) => unpaired((schema, then), (other, now), &table, &columns),
        None => format!("{schema}.{table}"),
    };
    let candidates = changed("main", "before");
    let different =
        count(&format!("SELECT count(*) FROM (SELECT {exact} FROM {candidates} EXCEPT SELECT {list} FROM before.{table})"))?;
    // Without rowids a key makes all rows different.
    if rowids.is_none() || count(&format!("SELECT count(*) FROM {candidates}"))? == different {
        return Ok(different);
    }
    // Some rows are equal to each other or to rows elsewhere in the old file: moved there, or written once more.
    let gone = changed("before", "main");
    count(&format!(
        "SELECT coalesce(sum(more), 0) FROM (SELECT max(sum(\"dbmig one\"), 0) AS more FROM (\
           SELECT {list}, 1 AS \"dbmig one\" FROM {candidates} UNION ALL SELECT {list}, -1 FROM {gone}) GROUP BY {exact})"
    ))
}

/// The rows of a table that do not stand unchanged under the same rowid in the other file, so that only these need to be kept in
/// memory or on disk.
fn unpaired((schema, rowid): (&str, &str), (other, its_rowid): (&str, &str), table: &str, columns: &[String]) -> String {
    let same: Vec<String> = columns.iter().map(|column| format!("o.{column} COLLATE BINARY IS n.{column}")).collect();
    format!(
        "{schema}.{table} AS n WHERE NOT EXISTS (SELECT 1 FROM {other}.{table} AS o WHERE o.{its_rowid} = n.{rowid} AND {})",
        same.join(" AND ")
    )
}
