//! The last, visible step of a vacuum: the new file takes the old one's name. A call that was cut off is simply repeated.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dbmig_wire::{ErrorKind, Progress, Proof, Swap, Swapped, Unit};

use crate::error::{Explain, Result, fail};
use crate::file::{carry, digest, lacking, own, sync_folder};
use crate::report::Report;
use crate::{beside, die};

/// Answers [`Swap`].
///
/// # Errors
/// `Unsettled` while a side file is hot, `Busy` while a process uses the database, `Changed` when a file is not the
/// expected one. Before the rename, which is one step of the file system, the database is as it was.
pub fn swap(call: &Swap, report: &dyn Report) -> Result<Swapped> {
    let (database, new) = (Path::new(&call.database), Path::new(&call.new));
    let Some(there) = look(database)? else {
        return Err(fail(ErrorKind::NotFound, format!("{} is not there; nothing was done", call.database)));
    };
    let old = call.old.as_deref().map(Path::new);
    if there.ino() != call.expect_inode {
        return already(call, &there, old, report);
    }
    let file = File::open(database).explain(|| format!("cannot open {}", call.database))?;
    beside::must_be_unused(&file, database)?;
    beside::must_be_settled(database)?;
    beside::must_be_settled(new)?;
    let fresh = prove_new(call, &there, report)?;
    if let Some(old) = old {
        look_at_old(old, &there)?;
    }
    own(&fresh, there.uid(), there.gid(), there.mode() & 0o7777)
        .explain(|| format!("cannot give {} the owner and mode of {}", call.new, call.database))?;
    carry(&file, &fresh, &call.new, report).map_err(|error| lacking(error, new, None))?;
    die::point("swap:1");
    fresh.sync_all().explain(|| format!("cannot sync {}", call.new))?;
    die::point("swap:2");
    beside::clear(new)?;
    beside::clear(database)?;
    die::point("swap:3");
    if let Some(old) = old {
        keep(database, old, &there)?;
    }
    die::point("swap:5");
    fs::rename(new, database).explain(|| format!("cannot rename {} to {}", call.new, call.database))?;
    die::point("swap:6");
    sync_folder(database)?;
    sync_folder(new)?;
    die::point("swap:7");
    let inode = fresh.metadata().explain(|| format!("cannot look at {}", call.database))?.ino();
    Ok(Swapped { inode, already: false })
}

/// What is at a path, a symbolic link counting as itself.
pub(crate) fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => Ok(Some(there)),
        Ok(_) => Err(fail(ErrorKind::BadRequest, format!("{} is no regular file; nothing was done", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).explain(|| format!("cannot look at {}", path.display())),
    }
}

/// Hard link from the database to where it is kept, durable.
pub(crate) fn keep(database: &Path, old: &Path, there: &Metadata) -> Result<()> {
    match fs::hard_link(database, old) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).explain(|| format!("cannot link {} to {}", old.display(), database.display()));
        }
        // Made by an earlier call, or just now.
        _ => look_at_old(old, there)?,
    }
    die::point("swap:4");
    sync_folder(old)
}

fn look_at_old(old: &Path, there: &Metadata) -> Result<()> {
    match look(old)? {
        Some(kept) if kept.ino() != there.ino() || kept.dev() != there.dev() => {
            Err(fail(ErrorKind::Changed, format!("{} is another file already; nothing was done", old.display())))
        }
        _ => Ok(()),
    }
}

/// The database is not the old file: right only if it is the new one.
fn already(call: &Swap, there: &Metadata, old: Option<&Path>, report: &dyn Report) -> Result<Swapped> {
    let changed = |why: &str| Err(fail(ErrorKind::Changed, format!("{} {why}; nothing was done", call.database)));
    if look(Path::new(&call.new))?.is_some() {
        return changed("is not the file that was rebuilt, and the new file still waits beside it");
    }
    if let Some(old) = old
        && look(old)?.is_none_or(|kept| kept.ino() != call.expect_inode)
    {
        return changed("is not the file that was rebuilt, and that one is not kept where it should be");
    }
    let file = File::open(&call.database).explain(|| format!("cannot open {}", call.database))?;
    if prove(&file, there.len(), report)? != expected(call) {
        return changed("is neither the file that was rebuilt nor the new one");
    }
    sync_folder(Path::new(&call.database))?;
    sync_folder(Path::new(&call.new))?;
    Ok(Swapped { inode: there.ino(), already: true })
}

fn expected(call: &Swap) -> Proof {
    Proof { bytes: call.expect_bytes, sha256: call.expect_sha256.clone() }
}

fn prove_new(call: &Swap, there: &Metadata, report: &dyn Report) -> Result<File> {
    let Some(new) = look(Path::new(&call.new))? else {
        return Err(fail(ErrorKind::NotFound, format!("{} is not there; nothing was done", call.new)));
    };
    if new.dev() != there.dev() {
        return Err(fail(ErrorKind::BadRequest, format!("{} is on another file system; nothing was done", call.new)));
    }
    let file = File::open(&call.new).explain(|| format!("cannot open {}", call.new))?;
    let proof = prove(&file, call.expect_bytes, report)?;
    if proof == expected(call) {
        return Ok(file);
    }
    Err(fail(
        ErrorKind::Changed,
        format!(
            "{} has {} bytes and SHA-256 {}, expected were {} bytes and {}; nothing was done",
            call.new, proof.bytes, proof.sha256, call.expect_bytes, call.expect_sha256
        ),
    ))
}

fn prove(file: &File, total: u64, report: &dyn Report) -> Result<Proof> {
    digest(file, &|done| {
        report.progress(Progress { phase: "proving the new file".to_owned(), done, total, unit: Unit::Bytes });
        report.check()
    })
}
