//! Changes rows of a database that others may use meanwhile.

use dbmig_wire::{Alter, Change, ErrorKind};
use rusqlite::{Transaction, TransactionBehavior};

use super::open::{temporary_files_somewhere, writing};
use crate::error::{Explain, Result, fail};
use crate::report::Report;

/// Answers [`Alter`]: all changes or none, on the disk when it is answered.
///
/// # Errors
/// `Changed` when one finds another number of rows than it should, `Busy` while somebody keeps a lock, `BadRequest` for bad SQL.
pub fn alter(call: &Alter, report: &dyn Report) -> Result<()> {
    report.check()?;
    let doing = || format!("cannot change {}", call.database);
    let mut connection = writing(&call.database)?;
    temporary_files_somewhere(&connection, &call.database);
    connection.pragma_update(None, "synchronous", "FULL").explain(doing)?;
    // The lock is taken before anything is read: what the changes find cannot change under them.
    let all = connection.transaction_with_behavior(TransactionBehavior::Immediate).explain(doing)?;
    carry_out(&all, &call.changes)?;
    all.commit().explain(doing)
}

/// Runs changes whose numbers of rows must be right; the caller commits.
pub(super) fn carry_out(all: &Transaction<'_>, changes: &[Change]) -> Result<()> {
    for change in changes {
        let sql = &change.sql;
        let rows =
            all.prepare(sql).and_then(|mut statement| statement.execute([])).explain(|| format!("the change '{sql}' failed"))?;
        if rows as u64 != change.rows {
            let message = format!("the change '{sql}' would hit {rows} rows instead of {}; nothing was changed", change.rows);
            return Err(fail(ErrorKind::Changed, message));
        }
    }
    Ok(())
}
