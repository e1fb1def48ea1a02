//! A proven file from another volume takes the database's place where there is no room for both. A call that was cut off
//! is simply repeated.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dbmig_wire::{Copy, ErrorKind, Progress, Replace, Swapped, Unit};

use crate::error::{Explain, Result, fail};
use crate::file::{carry, copy, data, digest, facts, remove_with_left_behind, sync_folder, volume};
use crate::report::Report;
use crate::swap::look;
use crate::{beside, die};

/// Bytes that the file system may need for itself beside the copy.
const MARGIN: u64 = 1 << 20;

/// Answers [`Replace`].
///
/// # Errors
/// `Unsettled`, `Busy`, `Changed` or `NoSpace` with the database as it was. A failure after the old file had to go, an I/O
/// error for instance, leaves no database on the volume: `from` is the complete one then, and the call can be repeated.
pub fn replace(call: &Replace, report: &dyn Report) -> Result<Swapped> {
    let (database, from) = (Path::new(&call.database), Path::new(&call.from));
    if !crate::file::is_ours(Path::new(&call.beside)) {
        return Err(fail(ErrorKind::BadRequest, format!("{} is no name of an operation's own file", call.beside)));
    }
    if call.beside == call.from || call.beside == call.database {
        return Err(fail(ErrorKind::BadRequest, format!("{} cannot be its own copy; nothing was done", call.beside)));
    }
    let there = look(database)?;
    if let Some(there) = &there
        && there.ino() != call.expect_inode
    {
        return already(call, there.ino(), report);
    }
    let bytes = prove(from, call, report)?;
    let metadata = fs::metadata(from).explain(|| format!("cannot look at {}", call.from))?;
    // What an earlier call that was cut off left: on a small volume it takes the room of this call's copy.
    remove_with_left_behind(&call.beside)?;
    die::point("replace:1");
    if let Some(there) = &there {
        let file = File::open(database).explain(|| format!("cannot open {}", call.database))?;
        beside::must_be_unused(&file, database)?;
        let free = volume(database)?.free_bytes;
        // Under a second name its blocks would stay in use.
        let gives = if there.nlink() == 1 { facts(there).allocated_bytes } else { 0 };
        must_fit(call, data(&metadata), free, gives)?;
        // The copy takes them from there, also when the call is repeated without the old file.
        let new = File::open(from).explain(|| format!("cannot open {}", call.from))?;
        carry(&file, &new, &call.from, report)?;
        new.sync_all().explain(|| format!("cannot sync {}", call.from))?;
        beside::clear(database)?;
        if free < bytes + MARGIN && gives > 0 {
            report.note("the old file makes room for the new one, which is proven elsewhere");
            fs::remove_file(database).explain(|| format!("cannot remove {}", call.database))?;
            sync_folder(database)?;
        }
    }
    die::point("replace:2");
    let copied = Copy {
        from: call.from.clone(),
        to: call.beside.clone(),
        replace: true,
        like: Some(call.like),
        expect_sha256: Some(call.expect_sha256.clone()),
    };
    copy(&copied, report)?;
    die::point("replace:3");
    fs::rename(&call.beside, database).explain(|| format!("cannot rename {} to {}", call.beside, call.database))?;
    die::point("replace:4");
    sync_folder(database)?;
    let inode = fs::metadata(database).explain(|| format!("cannot look at {}", call.database))?.ino();
    Ok(Swapped { inode, already: false })
}

/// Refuses a file that would not fit even without the old one, which `gives` that many bytes, while that one is still there.
fn must_fit(call: &Replace, needs: u64, free: u64, gives: u64) -> Result<()> {
    let room = free.saturating_add(gives);
    if needs <= room {
        return Ok(());
    }
    Err(fail(
        ErrorKind::NoSpace,
        format!(
            "{} has no room for the new file: it needs {needs} bytes, {free} bytes are free and {gives} more without the old \
             file, so {} bytes are missing; nothing was done",
            call.database,
            needs - room
        ),
    ))
}

/// The database is not the file that was rebuilt: right only if it is the new one.
fn already(call: &Replace, inode: u64, report: &dyn Report) -> Result<Swapped> {
    match prove(Path::new(&call.database), call, report) {
        Ok(_) => {
            sync_folder(Path::new(&call.database))?;
            Ok(Swapped { inode, already: true })
        }
        Err(error) if error.kind == ErrorKind::Changed => Err(fail(
            ErrorKind::Changed,
            format!("{} is neither the file that was rebuilt nor the new one; nothing was done", call.database),
        )),
        Err(error) => Err(error),
    }
}

/// The length of a file that has the expected digest.
fn prove(path: &Path, call: &Replace, report: &dyn Report) -> Result<u64> {
    let file = File::open(path).explain(|| format!("cannot open {}", path.display()))?;
    let total = file.metadata().explain(|| format!("cannot look at {}", path.display()))?.len();
    let proof = digest(&file, &|done| {
        report.progress(Progress { phase: format!("proving {}", path.display()), done, total, unit: Unit::Bytes });
        report.check()
    })?;
    if proof.sha256 == call.expect_sha256 {
        return Ok(proof.bytes);
    }
    Err(fail(
        ErrorKind::Changed,
        format!("{} has SHA-256 {}, expected was {}; nothing was done", path.display(), proof.sha256, call.expect_sha256),
    ))
}
