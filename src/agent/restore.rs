//! Puts the old file back; the file that is taken out is set aside, never lost. A call that was cut off is simply repeated.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dbmig_wire::{ErrorKind, Restore, Restored};

use crate::database::rows_written_since;
use crate::error::{Explain, Result, fail};
use crate::file::{is_ours, sync_folder};
use crate::report::Report;
use crate::swap::{keep, look};
use crate::{beside, die};

/// Answers [`Restore`].
///
/// # Errors
/// `Unsettled` while a side file is hot, `Busy` while a process uses the database, `Changed` when a file is not one
/// of the two. Until the rename, which is one step of the file system, the database is as it was.
pub fn restore(call: &Restore, report: &dyn Report) -> Result<Restored> {
    report.check()?;
    let (database, old, aside) = (Path::new(&call.database), Path::new(&call.old), Path::new(&call.set_aside));
    let Some(kept) = look(old)? else {
        return already(call);
    };
    let Some(there) = look(database)? else {
        return Err(fail(
            ErrorKind::NotFound,
            format!("{} is not there; the old file waits at {}; nothing was done", call.database, call.old),
        ));
    };
    if kept.dev() != there.dev() {
        return Err(fail(ErrorKind::BadRequest, format!("{} is on another file system; nothing was done", call.old)));
    }
    if kept.ino() == there.ino() {
        // Cut off between the swap's link and its rename: the old file never left its place, and this is its second name.
        if is_ours(old) && kept.nlink() > 1 {
            fs::remove_file(old).explain(|| format!("cannot remove {}", call.old))?;
            sync_folder(old)?;
        }
        return Ok(Restored { written_since: Vec::new(), already: true });
    }
    let file = File::open(database).explain(|| format!("cannot open {}", call.database))?;
    beside::must_be_unused(&file, database)?;
    for path in [database, old, aside] {
        beside::must_be_settled(path)?;
    }
    let written_since = rows_written_since(old, database)?;
    for path in [database, old, aside] {
        beside::clear(path)?;
    }
    die::point("restore:1");
    keep(database, aside, &there)?;
    die::point("restore:2");
    fs::rename(old, database).explain(|| format!("cannot rename {} to {}", call.old, call.database))?;
    die::point("restore:3");
    sync_folder(database)?;
    sync_folder(old)?;
    die::point("restore:4");
    Ok(Restored { written_since, already: false })
}

/// The old file is not where it was kept: right only if it is the database and the other one is set aside.
fn already(call: &Restore) -> Result<Restored> {
    let (database, aside) = (Path::new(&call.database), Path::new(&call.set_aside));
    match (look(database)?, look(aside)?) {
        (Some(there), Some(out)) if there.ino() != out.ino() => {
            sync_folder(database)?;
            sync_folder(Path::new(&call.old))?;
            Ok(Restored { written_since: rows_written_since(database, aside)?, already: true })
        }
        _ => Err(fail(ErrorKind::NotFound, format!("the old file is not at {}; nothing was done", call.old))),
    }
}
