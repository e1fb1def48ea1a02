//! What files and volumes are like; changes nothing.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dbmig_wire::{ErrorKind, FileFacts, Progress, Stat, StatReply, Unit, Volume};
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::digest;
use crate::error::{Explain, Result, fail};
use crate::report::Report;

/// Answers [`Stat`]. Symbolic links are followed.
///
/// # Errors
/// `BadRequest` without a path; what the file system says.
pub fn stat(call: &Stat, report: &dyn Report) -> Result<StatReply> {
    let Some(first) = call.paths.first() else {
        return Err(fail(ErrorKind::BadRequest, "no path was given"));
    };
    let files = call.paths.iter().map(|path| look(path, call.hash, report)).collect::<Result<_>>()?;
    let first = Path::new(first);
    let volume = if first.exists() { volume(first) } else { volume(first.parent().unwrap_or(first)) };
    Ok(StatReply { files, volume: volume? })
}

fn look(path: &str, hash: bool, report: &dyn Report) -> Result<Option<FileFacts>> {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error).explain(|| format!("cannot look at {path}")),
    };
    let mut facts = facts(&metadata);
    if hash && metadata.is_file() {
        let file = File::open(path).explain(|| format!("cannot read {path}"))?;
        let each = |done| {
            let phase = format!("reading {path}");
            report.progress(Progress { phase, done, total: metadata.len(), unit: Unit::Bytes });
            report.check()
        };
        facts.sha256 = Some(digest(&file, &each)?.sha256);
    }
    Ok(Some(facts))
}

/// The facts in a file's metadata; no digest.
#[must_use]
pub fn facts(metadata: &Metadata) -> FileFacts {
    FileFacts {
        bytes: metadata.len(),
        // POSIX leaves the unit open; Linux counts 512 bytes whatever the block size (stat(2)).
        allocated_bytes: metadata.blocks() * 512,
        inode: metadata.ino(),
        links: metadata.nlink(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mode: metadata.mode() & 0o7777,
        sha256: None,
    }
}

/// The volume that a path lies on.
///
/// # Errors
/// What the file system says.
pub fn volume(path: &Path) -> Result<Volume> {
    let seen = statvfs(path).explain(|| format!("cannot look at the volume of {}", path.display()))?;
    Ok(Volume {
        total_bytes: seen.f_blocks.saturating_mul(seen.f_frsize),
        free_bytes: seen.f_bavail.saturating_mul(seen.f_frsize),
        free_inodes: (seen.f_files > 0).then_some(seen.f_favail),
        block_bytes: seen.f_frsize,
        read_only: seen.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}
