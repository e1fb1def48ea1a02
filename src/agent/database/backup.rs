//! A copy of a database whose writers may run, by SQLite's own backup; must never touch the database itself.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use dbmig_wire::{Backup, ErrorKind, Progress, Proof, Unit};
use rusqlite::Connection;
use rusqlite::backup::StepResult;

use super::inspect::{check, reading};
use super::side_files;
use crate::error::{Explain, Result, fail};
use crate::file::{digest, lacking, new_part, own, put_in_place, remove_with_left_behind};
use crate::report::Report;

/// Pages between two looks at whether the work should go on.
const PAGES_PER_STEP: i32 = 2048;
/// Between two tries to read what a writer has locked.
const PAUSE: Duration = Duration::from_millis(50);

/// Answers [`Backup`]. The copy holds what was committed at its beginning; with a rollback journal, writers wait until it is read.
///
/// # Errors
/// `Unsettled` where only a writer could make the database readable, `Changed` when somebody began to write to one that nobody had
/// open, `Corrupt` when the copy does not pass SQLite's check, `Unproven` when it reads back differently, `NoSpace` when it does
/// not fit. What was at `to` is as it was then.
pub fn backup(call: &Backup, report: &dyn Report) -> Result<Proof> {
    let to = Path::new(&call.to);
    let before = fs::metadata(&call.database).explain(|| format!("cannot look at {}", call.database))?;
    let (part, file) = new_part(to)?;
    let copied = fill(call, &part.to_string_lossy(), &file, &before, report).and_then(|proof| {
        put_in_place(&part, to)?;
        Ok(proof)
    });
    copied.map_err(|error| {
        // The first failure is the one to tell; a left-over is overwritten by the next try.
        let _ = remove_with_left_behind(&part.to_string_lossy());
        lacking(error, &part, Some(before.len()))
    })
}

fn fill(call: &Backup, part: &str, file: &File, before: &Metadata, report: &dyn Report) -> Result<Proof> {
    let has_wal = has_wal(&call.database)?;
    copy(&call.database, part, report)?;
    let after = fs::metadata(&call.database).explain(|| format!("cannot look at {}", call.database))?;
    let same = |of: &Metadata| (of.ino(), of.len(), of.mtime(), of.mtime_nsec());
    // Without a WAL either our lock has kept everybody out, or nobody had it open, and it was read without locks.
    if !has_wal && (same(before) != same(&after) || self::has_wal(&call.database)?) {
        return Err(fail(ErrorKind::Changed, format!("somebody began to write to {} while it was copied", call.database)));
    }
    // As its owner one may; anybody else has a copy that is their own.
    let _ = own(file, before.uid(), before.gid(), before.mode() & 0o7777);
    let doing = || format!("cannot write {part}");
    let each = |done| {
        report.progress(Progress { phase: format!("proving {}", call.to), done, total: before.len(), unit: Unit::Bytes });
        report.check()
    };
    let written = digest(file, &each)?;
    file.sync_all().explain(doing)?;
    let read = digest(file, &each)?;
    match written == read {
        true => Ok(read),
        false => Err(fail(ErrorKind::Unproven, format!("the copy of {} reads back differently", call.database))),
    }
}

fn has_wal(database: &str) -> Result<bool> {
    Ok(side_files::list(database)?.iter().any(|side| !side.path.ends_with("-journal")))
}

/// Copies all pages as of one moment, and has SQLite check the copy.
fn copy(database: &str, part: &str, report: &dyn Report) -> Result<()> {
    let reads = || format!("cannot read {database}");
    let writes = || format!("cannot write {part}");
    let (source, _) = reading(database)?;
    // One transaction around all steps: a writer does not make it begin again.
    source.execute_batch("BEGIN").explain(reads)?;
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).explain(reads)?;
    let mut copy = Connection::open(part).explain(writes)?;
    // It is synced as a whole, and is nothing before it is.
    copy.execute_batch("PRAGMA synchronous = OFF").explain(writes)?;
    let backup = rusqlite::backup::Backup::new(&source, &mut copy).explain(writes)?;
    loop {
        let step = backup.step(PAGES_PER_STEP).explain(|| format!("cannot copy {database} to {part}"))?;
        let all = backup.progress();
        let count = |pages: i32| u64::try_from(pages).unwrap_or_default();
        let (done, total) = (count(all.pagecount - all.remaining), count(all.pagecount));
        report.progress(Progress { phase: format!("copying {database}"), done, total, unit: Unit::Pages });
        report.check()?;
        match step {
            StepResult::Done => break,
            StepResult::More => {}
            _ => thread::sleep(PAUSE),
        }
    }
    drop(backup);
    let damage = check(&copy)?;
    if !damage.is_empty() {
        let message = format!("{database} does not pass SQLite's integrity_check");
        return Err(dbmig_wire::AgentError { details: damage, ..fail(ErrorKind::Corrupt, message) });
    }
    copy.close().map_err(|(_, error)| error).explain(writes)?;
    match fs::metadata(format!("{part}-wal")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(fail(ErrorKind::Other, format!("the copy at {part} has a WAL beside it"))),
    }
}
