//! Lets SQLite finish what a killed writer left: a hot journal or a WAL. Removes side files only once nothing is in them.

use std::path::Path;

use dbmig_wire::{ErrorKind, Settle, Settled};

use super::open::alone;
use super::side_files::list;
use crate::beside;
use crate::error::{Explain, Result, fail};
use crate::file::lacking;
use crate::report::Report;

/// Rolls a hot journal back, or merges a WAL and truncates it. Writers must be stopped.
///
/// # Errors
/// `Busy` while another process has the database open, `Corrupt`, `NoSpace`, `Permission`; what was hot is still there then.
pub fn settle(call: &Settle, report: &dyn Report) -> Result<Settled> {
    report.check()?;
    finish(call).map_err(|error| lacking(error, Path::new(&call.database), None))
}

fn finish(call: &Settle) -> Result<Settled> {
    let path = &call.database;
    let doing = || format!("cannot settle {path}");
    let hot = |suffix: &str| -> Result<bool> {
        let side = format!("{path}{suffix}");
        Ok(list(path)?.iter().any(|file| file.hot && file.path == side))
    };
    let before = (hot("-journal")?, hot("-wal")?);
    super::pages::Pages::open_unsettled(path)?;
    let connection = alone(path)?;
    // The first read rolls a hot journal back.
    let _: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).explain(doing)?;
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).explain(doing)?;
    if mode == "wal" {
        let busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).explain(doing)?;
        if busy != 0 {
            return Err(fail(
                ErrorKind::Busy,
                format!("another process still reads or writes {path}, so its WAL was not merged"),
            ));
        }
    } else {
        // Takes the write lock once: an empty transaction shows that no writer is left.
        connection.execute_batch("BEGIN IMMEDIATE; COMMIT").explain(doing)?;
    }
    connection.close().map_err(|(_, error)| error).explain(doing)?;
    let after = (hot("-journal")?, hot("-wal")?);
    if after.0 || after.1 {
        return Err(fail(ErrorKind::Busy, format!("{path} is still not settled: another process has it open")));
    }
    // The index of a WAL that is merged; SQLite leaves one that it did not open itself.
    beside::clear(Path::new(path))?;
    Ok(Settled { rolled_back: before.0, checkpointed: before.1 })
}
