//! Builds a new database out of the rows to keep. Only reads the old file; leaves either the whole new file or none.
//!
//! Every b-tree is copied cell by cell in its own order: no sorting, no triggers, no foreign keys, no module of a virtual
//! table, and every rowid and every value as it was stored. Then the schema table is written with the new root pages.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use dbmig_wire::{Change, ErrorKind, KeptRows, Rebuild, Rebuilt, Rule};
use rusqlite::types::Value as Bound;
use rusqlite::{Connection, params_from_iter};

use super::alter::carry_out;
use super::header::WRITE_VERSION;
use super::open::{quoted, temporary_files, unchanging, writing};
use super::pages::Pages;
use super::schema::Shape;
use super::trees::copy_all;
use super::{rules, side_files};
use crate::error::{Explain, Result, fail};
use crate::file::{is_ours, lacking, remove_with_left_behind};
use crate::report::Report;

/// Builds the new file, fsynced, from an old one that nobody writes to.
///
/// # Errors
/// `Corrupt` when reading shows damage, `NoSpace`, `BadRequest` for a rule that cannot be carried out or keeps nothing,
/// `Changed` when a change of `afterwards` did not hit the rows it names, `Unsettled` for a hot journal or WAL, `Stopped`.
/// After each of them the target is gone and the old file is as it was.
pub fn rebuild(call: &Rebuild, report: &dyn Report) -> Result<Rebuilt> {
    let start = Instant::now();
    if !is_ours(Path::new(&call.target)) || call.target == call.database {
        return Err(fail(ErrorKind::BadRequest, format!("the new file must have .dbmig- in its name, {} has not", call.target)));
    }
    remove_with_left_behind(&call.target)?;
    let (tables, bytes) = match build(call, report) {
        Ok(built) => built,
        Err(error) => {
            remove_with_left_behind(&call.target)?;
            return Err(lacking(error, Path::new(&call.target), None));
        }
    };
    Ok(Rebuilt { tables, bytes, elapsed_ms: start.elapsed().as_millis() as u64 })
}

fn build(call: &Rebuild, report: &dyn Report) -> Result<(Vec<KeptRows>, u64)> {
    side_files::refuse_hot(&call.database)?;
    // Says what is wrong with a file that is no sound database before SQLite does, in more words.
    Pages::open(&call.database)?;
    let mut old = unchanging(&call.database)?;
    temporary_files(&old, &call.temp)?;
    rules::check(&mut old, &call.rules)?;
    let clustered: Vec<&Rule> =
        call.rules.iter().filter(|rule| Shape::of(&old, rule.table()).is_ok_and(|shape| shape.without_rowid)).collect();
    let others: Vec<Rule> = call.rules.iter().filter(|rule| !clustered.contains(rule)).cloned().collect();
    let mut tables;
    if clustered.is_empty() {
        tables = copy_all(&call.database, &old, &call.target, &others, call.leave_free_bytes, report)?;
    } else {
        // Entries of such a table's indexes name no rowid to leave out by, so it is thinned out in a copy of its own first.
        let stage = format!("{}-stage", call.target);
        tables = copy_all(&call.database, &old, &stage, &others, call.leave_free_bytes, report)?;
        clustered.iter().try_for_each(|rule| thin_out(&old, &call.database, &stage, rule, report))?;
        let thinned = copy_all(&stage, &unchanging(&stage)?, &call.target, &[], call.leave_free_bytes, report)?;
        fs::remove_file(&stage).explain(|| format!("cannot remove {stage}"))?;
        tables.iter_mut().zip(thinned).for_each(|(table, thinned)| table.kept = thinned.kept);
    }
    refuse_empty(&call.rules, &tables)?;
    change(&call.target, &call.afterwards, &mut tables)?;
    let bytes = finish(&call.database, &call.target)?;
    Ok((tables, bytes))
}

/// Deletes what a rule drops from a table without rowids in the copy `stage`; the rule is asked of the old file.
fn thin_out(old: &Connection, database: &str, stage: &str, rule: &Rule, report: &dyn Report) -> Result<()> {
    rules::teach(old, rule, database, unchanging)?;
    let shape = Shape::of(old, rule.table())?;
    let doing = || format!("cannot thin out table {}", shape.name);
    let (table, key) = (quoted(&shape.name), shape.key());
    let list = format!("SELECT {} FROM main.{table} WHERE (\n{}\n) IS NOT TRUE", key.join(", "), rules::condition(rule));
    let equal: Vec<String> = key.iter().enumerate().map(|(at, column)| format!("{column} IS ?{}", at + 1)).collect();
    let new = writing(stage)?;
    new.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN").explain(doing)?;
    let mut drop = new.prepare(&format!("DELETE FROM main.{table} WHERE {}", equal.join(" AND "))).explain(doing)?;
    let mut list = old.prepare(&list).explain(doing)?;
    let mut rows = list.query([]).explain(doing)?;
    let mut count = 0u64;
    while let Some(row) = rows.next().explain(doing)? {
        let values = (0..key.len()).map(|at| row.get::<_, Bound>(at)).collect::<rusqlite::Result<Vec<_>>>().explain(doing)?;
        drop.execute(params_from_iter(values)).explain(doing)?;
        count += 1;
        if count.is_multiple_of(4096) {
            report.check()?;
        }
    }
    std::mem::drop(drop);
    new.execute_batch("COMMIT").explain(doing)
}

fn refuse_empty(rules: &[Rule], tables: &[KeptRows]) -> Result<()> {
    let emptied = |rule: &&Rule| match rule {
        Rule::Where { table, allow_empty, .. } => {
            !allow_empty && tables.iter().any(|rows| rows.name.eq_ignore_ascii_case(table) && rows.rows > 0 && rows.kept == 0)
        }
        Rule::SummedUp { .. } => false,
    };
    match rules.iter().find(emptied) {
        Some(rule) => Err(fail(
            ErrorKind::BadRequest,
            format!("the condition for table {} keeps none of its rows; if that is meant, allow it", rule.table()),
        )),
        None => Ok(()),
    }
}

/// Runs the changes in one transaction and counts the rows of the tables again.
fn change(target: &str, changes: &[Change], tables: &mut [KeptRows]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut new = writing(target)?;
    let doing = || "cannot carry out the changes in the new file".to_owned();
    new.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF").explain(doing)?;
    let all = new.transaction().explain(doing)?;
    carry_out(&all, changes)?;
    for table in tables {
        let sql = format!("SELECT count(*) FROM main.{}", quoted(&table.name));
        table.kept = all.query_row(&sql, [], |row| row.get(0)).explain(doing)?;
    }
    all.commit().explain(doing)
}

/// Sets the WAL mark if the old file has it, then makes file and folder durable.
fn finish(database: &str, target: &str) -> Result<u64> {
    let doing = || format!("cannot finish {target}");
    let old = Pages::open(database)?;
    let file = File::options().read(true).write(true).open(target).explain(doing)?;
    file.write_all_at(&old.header.bytes[WRITE_VERSION..WRITE_VERSION + 2], WRITE_VERSION as u64).explain(doing)?;
    file.sync_all().explain(doing)?;
    let folder = Path::new(target).parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).explain(doing)?;
    Ok(file.metadata().explain(doing)?.len())
}
