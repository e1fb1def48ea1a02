//! Proves a rebuilt file: whole, equal where it must be equal, on durable storage. Changes neither file.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::thread;

use dbmig_wire::{AgentError, ErrorKind, KeptRows, Progress, Proof, Rule, SchemaObject, Unit, Verify, hex};
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use super::header::RawHeader;
use super::inspect;
use super::measure::{count_kept, count_rows};
use super::open::{temporary_files_somewhere, unchanging};
use super::pages::Pages;
use super::schema::{Object, objects};
use super::{rules, sql_text};
use crate::error::{Explain, Result, fail};
use crate::file::lacking;
use crate::report::Report;

/// Checks everything once; what does not depend on each other runs side by side.
///
/// # Errors
/// `Unproven`, with a line of evidence for everything that is not as it must be; `Stopped`; an I/O error.
pub fn verify(call: &Verify, report: &dyn Report) -> Result<Proof> {
    let phase = |phase: &str| report.progress(Progress { phase: phase.to_owned(), done: 0, total: 0, unit: Unit::Pages });
    report.check()?;
    let temp = temporary_files_somewhere(&unchanging(&call.database)?, &call.target);
    // Nothing but temporary files is written here.
    let lacking = |error| lacking(error, &temp, None);
    phase("checking the new file");
    let (proof, check, mut doubts) = thread::scope(|scope| -> Result<_> {
        let check = scope.spawn(|| unchanging(&call.target).and_then(|new| inspect::check(&new)));
        let hash = scope.spawn(|| prove(&call.target));
        let doubts = compare(call, report);
        let joined = |lost: &str| fail(ErrorKind::Other, format!("{lost} of {} ended unexpectedly", call.target));
        let check = check.join().map_err(|_| joined("the check"))?;
        let hash = hash.join().map_err(|_| joined("the digest"))?;
        let doubts = match doubts {
            // The new file cannot even be read.
            Err(error) if error.kind == ErrorKind::Corrupt => [vec![error.message], error.details].concat(),
            other => other?,
        };
        Ok((hash?, check?, doubts))
    })
    .map_err(lacking)?;
    report.check()?;
    doubts.extend(new_complaints(call, check, report).map_err(lacking)?);
    if doubts.is_empty() {
        return Ok(proof);
    }
    let message = format!("the new file {} does not prove equal to what it must hold; the old file is as it was", call.target);
    Err(AgentError { details: doubts, ..fail(ErrorKind::Unproven, message) })
}

/// Leaves out what a check says of values, where the old file's check says the same: values are kept as found.
fn new_complaints(call: &Verify, check: Vec<String>, report: &dyn Report) -> Result<Vec<String>> {
    const OF_VALUES: [&str; 4] = ["TEXT value in ", "NUMERIC value in ", "NULL value in ", "CHECK constraint failed in "];
    let of_values = |line: &String| OF_VALUES.iter().any(|start| line.starts_with(start));
    if check.len() as u32 == inspect::MOST_LINES || !check.iter().any(of_values) {
        return Ok(check);
    }
    let before = inspect::check(&unchanging(&call.database)?)?;
    let (known, new): (Vec<String>, Vec<String>) = check.into_iter().partition(|line| of_values(line) && before.contains(line));
    if let Some(first) = known.first() {
        report.note(&format!("kept as found: {} values that break the schema's own rules, first: {first}", known.len()));
    }
    Ok(new)
}

/// Everything that two connections can tell.
fn compare(call: &Verify, report: &dyn Report) -> Result<Vec<String>> {
    let (old, new) = (unchanging(&call.database)?, unchanging(&call.target)?);
    let (old_objects, new_objects) = (objects(&old, &call.database)?, objects(&new, &call.target)?);
    let mut doubts = compare_schemas(&old_objects, &new_objects);
    doubts.extend(compare_headers(&Pages::open(&call.database)?.header, &Pages::open(&call.target)?.header));
    doubts.extend(compare_foreign_keys(&old, &new, report)?);
    let changed = changed_tables(&new, call)?;
    for table in old_objects.iter().filter(|object| object.is_table()) {
        report.check()?;
        let name = &table.seen.name;
        let rule = call.rules.iter().find(|rule| rule.table().eq_ignore_ascii_case(name));
        let Some(told) = call.tables.iter().find(|rows| rows.name == *name) else {
            doubts.push(format!("nothing was told of table {name}"));
            continue;
        };
        let unchanged = !changed.contains(&name.to_ascii_lowercase());
        doubts.extend(compare_rows(&old, &new, told, rule.is_none() && unchanged)?);
        if let Some(rule) = rule.filter(|_| unchanged)
            && let Some(table) = new_objects.iter().find(|object| object.is_table() && object.seen.name == *name)
        {
            doubts.extend(rule_holds(call, (&old, &new), table, rule, told, report)?);
        }
    }
    Ok(doubts)
}

fn compare_schemas(old: &[Object], new: &[Object]) -> Vec<String> {
    let same = |old: &Object, new: &Object| old.seen == new.seen && (old.root > 0) == (new.root > 0);
    if old.len() != new.len() {
        return vec![format!("the schema has {} rows instead of {}", new.len(), old.len())];
    }
    let name = |object: &SchemaObject| format!("the schema row of {} {} differs", object.kind, object.name);
    old.iter().zip(new).filter(|(old, new)| !same(old, new)).map(|(old, _)| name(&old.seen)).collect()
}

fn compare_headers(old: &RawHeader, new: &RawHeader) -> Vec<String> {
    let (old, new) = (old.facts(), new.facts());
    let pairs = [
        ("page_size", old.page_size.to_string(), new.page_size.to_string()),
        ("journal_mode", old.journal_mode, new.journal_mode),
        ("auto_vacuum", old.auto_vacuum.to_string(), new.auto_vacuum.to_string()),
        ("encoding", old.encoding, new.encoding),
        ("user_version", old.user_version.to_string(), new.user_version.to_string()),
        ("application_id", old.application_id.to_string(), new.application_id.to_string()),
    ];
    let differing = pairs.into_iter().filter(|(_, old, new)| old != new);
    differing.map(|(name, old, new)| format!("{name} is {new} instead of {old}")).collect()
}

/// Violations that the old file has, too, are told and count for nothing.
fn compare_foreign_keys(old: &Connection, new: &Connection, report: &dyn Report) -> Result<Vec<String>> {
    let now = violations(new)?;
    if now.is_empty() {
        return Ok(Vec::new());
    }
    let before = violations(old)?;
    let mut doubts = Vec::new();
    for (key, count) in now {
        let had = before.get(&key).copied().unwrap_or(0);
        let (child, parent) = &key;
        if had > 0 {
            report.note(&format!("{had} rows of table {child} violated its foreign key to {parent} before, {count} do now"));
        }
        if count > had {
            doubts.push(format!("{count} rows of table {child} violate its foreign key to {parent}, {had} did before"));
        }
    }
    Ok(doubts)
}

fn violations(connection: &Connection) -> Result<HashMap<(String, String), u64>> {
    let doing = || "cannot check foreign keys".to_owned();
    let sql = "SELECT \"table\", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2";
    match connection.prepare(sql) {
        Err(error) => Err(error).explain(doing),
        Ok(mut statement) => {
            let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?))).explain(doing)?;
            rows.collect::<rusqlite::Result<_>>().explain(doing)
        }
    }
}

/// Tables that the changes write to, in lower case.
fn changed_tables(new: &Connection, call: &Verify) -> Result<Vec<String>> {
    let words = call.afterwards.iter().flat_map(|change| sql_text::tokens(&change.sql));
    let names: Vec<String> = words.map(|token| token.name().to_ascii_lowercase()).collect();
    let tables =
        objects(new, &call.target)?.into_iter().filter(Object::is_table).map(|table| table.seen.name.to_ascii_lowercase());
    Ok(tables.filter(|table| names.contains(table)).collect())
}

fn compare_rows(old: &Connection, new: &Connection, told: &KeptRows, whole: bool) -> Result<Vec<String>> {
    let (before, now) = (count_rows(old, &told.name)?, count_rows(new, &told.name)?);
    let mut doubts = Vec::new();
    if before != told.rows {
        doubts.push(format!("table {} of the old file has {before} rows, {} were read", told.name, told.rows));
    }
    if now != told.kept {
        doubts.push(format!("table {} has {now} rows instead of {}", told.name, told.kept));
    }
    if whole && now != before {
        doubts.push(format!("table {} has {now} rows, the old file has {before}", told.name));
    }
    Ok(doubts)
}

/// The rule must drop none of the rows in the new file. A condition must also keep as many of the old file's rows when SQLite counts
/// them; for a series that would take longer than the whole rebuild, and the rebuild's own count stands.
fn rule_holds(
    call: &Verify,
    (old, new): (&Connection, &Connection),
    table: &Object,
    rule: &Rule,
    told: &KeptRows,
    report: &dyn Report,
) -> Result<Vec<String>> {
    if moves(rule) {
        return Ok(Vec::new());
    }
    let mut doubts = Vec::new();
    let pages = Pages::open(&call.target)?;
    let kept = count_kept(new, &pages, &call.target, table, rule, report)?;
    if kept != told.kept {
        doubts.push(format!("of the {} rows in table {} only {kept} are to be kept by its rule", told.kept, told.name));
    }
    if matches!(rule, Rule::Where { .. }) {
        let before = rules::count(old, rule)?;
        if before != told.kept {
            doubts.push(format!("table {} has {} rows, its rule keeps {before} of the old file", told.name, told.kept));
        }
    }
    Ok(doubts)
}

/// A condition that looks at the clock or at other tables may tell something else in the new file, some minutes later.
fn moves(rule: &Rule) -> bool {
    let Rule::Where { condition, .. } = rule else { return false };
    const WORDS: [&str; 11] = [
        "select",
        "date",
        "time",
        "datetime",
        "julianday",
        "unixepoch",
        "strftime",
        "timediff",
        "current_time",
        "current_date",
        "current_timestamp",
    ];
    sql_text::tokens(condition).iter().any(|token| WORDS.iter().any(|word| token.is(word)))
}

/// Makes the file durable, then reads it back for its digest.
fn prove(path: &str) -> Result<Proof> {
    let doing = || format!("cannot read {path} back");
    let mut file = File::open(path).explain(doing)?;
    file.sync_all().explain(doing)?;
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer).explain(doing)?;
        if read == 0 {
            return Ok(Proof { bytes, sha256: hex(&digest.finalize()) });
        }
        digest.update(&buffer[..read]);
        bytes += read as u64;
    }
}
