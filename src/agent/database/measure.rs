//! Counts what rules would keep and estimates the new file's size. Changes nothing.

use dbmig_wire::{KeptRows, Measure, Measured, Progress, Rule, Unit};
use rusqlite::Connection;

use super::copy::Choice;
use super::inspect::reading;
use super::open::{Open, quoted, temporary_files_somewhere, unchanging};
use super::pages::Pages;
use super::rules;
use super::schema::{Object, Shape, objects};
use super::side_files::refuse_hot;
use super::walk::Walk;
use crate::error::{Explain, Result};
use crate::report::Report;

/// Tells for each table how many rows stay.
///
/// With `quiescent` rows are read straight from the file; else through SQLite, under its locks.
///
/// # Errors
/// `BadRequest` for a rule that cannot be carried out; `Unsettled`, `Busy`, `Corrupt`.
pub fn measure(call: &Measure, report: &dyn Report) -> Result<Measured> {
    let path = &call.database;
    let (mut connection, open): (Connection, Open) = if call.quiescent {
        refuse_hot(path)?;
        Pages::open(path)?;
        (unchanging(path)?, unchanging)
    } else {
        reading(path)?
    };
    temporary_files_somewhere(&connection, path);
    rules::check(&mut connection, &call.rules)?;
    let connection = connection;
    let pages = Pages::open(path)?;
    let objects = objects(&connection, path)?;
    let mut tables = Vec::new();
    let mut dropped = 0.0;
    for table in objects.iter().filter(|object| object.is_table()) {
        report.check()?;
        let phase = format!("counting table {}", table.seen.name);
        report.progress(Progress { phase, done: tables.len() as u64, total: 0, unit: Unit::Rows });
        let name = &table.seen.name;
        let rows: u64 = count_rows(&connection, name)?;
        let rule = call.rules.iter().find(|rule| rule.table().eq_ignore_ascii_case(name));
        let kept = match rule {
            None => rows,
            Some(rule) if call.quiescent => count_kept(&connection, &pages, path, table, rule, report)?,
            Some(rule) => {
                rules::teach(&connection, rule, path, open)?;
                rules::count(&connection, rule)?
            }
        };
        if kept < rows {
            // Beside a running writer the file may be in flux; what cannot be told counts as kept.
            let whole = pages_of(&pages, &objects, table).unwrap_or(0);
            dropped += (rows - kept) as f64 / rows as f64 * whole as f64;
        }
        tables.push(KeptRows { name: name.clone(), rows, kept });
    }
    let header = pages.header.facts();
    let used = header.page_count.saturating_sub(header.free_pages) as f64;
    // A twentieth more, and some pages for each tree's top: dropped rows may have been shorter than those that stay.
    let expected = ((used - dropped).max(1.0) * 1.05 + 8.0 + 2.0 * objects.len() as f64).min(used + 8.0);
    Ok(Measured { tables, expected_bytes: expected as u64 * u64::from(header.page_size) })
}

/// Rows of a table, through SQLite.
pub(super) fn count_rows(connection: &Connection, table: &str) -> Result<u64> {
    let sql = format!("SELECT count(*) FROM main.{}", quoted(table));
    connection.query_row(&sql, [], |row| row.get(0)).explain(|| format!("cannot count the rows of table {table}"))
}

/// Rows that a rule keeps in a file that nobody writes to.
pub(super) fn count_kept(
    connection: &Connection,
    pages: &Pages,
    path: &str,
    table: &Object,
    rule: &Rule,
    report: &dyn Report,
) -> Result<u64> {
    if Shape::of(connection, &table.seen.name)?.without_rowid {
        rules::teach(connection, rule, path, unchanging)?;
        return rules::count(connection, rule);
    }
    match rules::choice(connection, pages, path, rule)? {
        Choice::Of(kept) => Ok(kept.rows()),
        Choice::Ask(mut ask) => {
            let mut walk = Walk::new(pages, table.root)?;
            let (mut kept, mut rows) = (0, 0u64);
            while let Some(cell) = walk.next()? {
                kept += u64::from(ask(&cell).map_err(|error| *error)?);
                rows += 1;
                if rows.is_multiple_of(65_536) {
                    report.check()?;
                }
            }
            Ok(kept)
        }
    }
}

/// B-tree pages of a table and its indexes, overflow pages left out: reads only the pages above the leaves.
fn pages_of(pages: &Pages, objects: &[Object], table: &Object) -> Result<u64> {
    let trees = objects.iter().filter(|object| object.root == table.root || object.is_index_of(&table.seen.name));
    trees.map(|tree| super::walk::count_pages(pages, tree.root)).sum()
}
