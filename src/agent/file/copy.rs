//! A copy that is proven before it gets its name; must never truncate what is there.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use dbmig_wire::{Copy, ErrorKind, Progress, Proof, Unit, hex};
use rustix::fs::{Gid, Mode, SeekFrom, Uid, fchmod, fchown, seek};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::proof::CHUNK;
use super::{carry, data, digest, lacking, new_part, put_in_place};
use crate::error::{Explain, Result, fail};
use crate::report::Report;

/// Answers [`wire::Copy`](dbmig_wire::Copy).
///
/// # Errors
/// `NoSpace` when it does not fit, `Changed` when source or target is not as expected, `Unproven` when what was
/// read back differs. In each case `to` is as it was and the unfinished copy is gone.
pub fn copy(call: &Copy, report: &dyn Report) -> Result<Proof> {
    let (from, to) = (Path::new(&call.from), Path::new(&call.to));
    let metadata = fs::metadata(from).explain(|| format!("cannot look at {}", call.from))?;
    if !metadata.is_file() || !from.is_absolute() || !to.is_absolute() {
        return Err(fail(ErrorKind::BadRequest, format!("{} is no absolute path of a regular file", call.from)));
    }
    look_at_target(call, &metadata)?;
    let source = File::open(from).explain(|| format!("cannot read {}", call.from))?;
    let (part, copy) = new_part(to)?;
    let proof = write_part(call, &source, &part, &copy, report).map_err(|error| {
        // The first failure is the one to tell; a left-over is overwritten by the next try.
        let _ = fs::remove_file(&part);
        lacking(error, &part, Some(data(&metadata)))
    })?;
    if let Err(error) = look_at_target(call, &metadata).and_then(|()| put_in_place(&part, to)) {
        let _ = fs::remove_file(&part);
        return Err(error);
    }
    Ok(proof)
}

fn look_at_target(call: &Copy, from: &fs::Metadata) -> Result<()> {
    match fs::symlink_metadata(&call.to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).explain(|| format!("cannot look at {}", call.to)),
        Ok(_) if !call.replace => Err(fail(ErrorKind::Changed, format!("{} is there already; it was left as it is", call.to))),
        Ok(there) if there.dev() == from.dev() && there.ino() == from.ino() => {
            Err(fail(ErrorKind::BadRequest, format!("{} and {} are the same file", call.from, call.to)))
        }
        Ok(there) if !there.is_file() => Err(fail(ErrorKind::BadRequest, format!("{} is no regular file", call.to))),
        Ok(_) => Ok(()),
    }
}

fn write_part(call: &Copy, source: &File, part: &Path, copy: &File, report: &dyn Report) -> Result<Proof> {
    let doing = || format!("cannot write {}", part.display());
    let before = source.metadata().explain(doing)?;
    let sent = transfer(call, source, copy, before.len(), report)?;
    let after = source.metadata().explain(doing)?;
    if (before.len(), before.mtime(), before.mtime_nsec()) != (after.len(), after.mtime(), after.mtime_nsec()) {
        return Err(fail(ErrorKind::Changed, format!("{} changed while it was copied", call.from)));
    }
    if call.expect_sha256.as_ref().is_some_and(|expected| *expected != sent.sha256) {
        return Err(fail(ErrorKind::Changed, format!("{} has another SHA-256 than expected: {}", call.from, sent.sha256)));
    }
    let (uid, gid, mode) = call.like.unwrap_or((before.uid(), before.gid(), before.mode() & 0o7777));
    own(copy, uid, gid, mode).explain(|| format!("cannot give {} its owner and mode", part.display()))?;
    carry(source, copy, &call.to, report)?;
    copy.sync_all().explain(doing)?;
    let each = |done| {
        report.progress(Progress { phase: format!("proving {}", call.to), done, total: sent.bytes, unit: Unit::Bytes });
        report.check()
    };
    let read = digest(copy, &each)?;
    if read != sent {
        return Err(fail(
            ErrorKind::Unproven,
            format!("the copy of {} reads back differently: {} bytes written, {} read", call.from, sent.bytes, read.bytes),
        ));
    }
    Ok(read)
}

/// Gives a file its owner, group and mode; asks for nothing that it has already.
pub(crate) fn own(file: &File, uid: u32, gid: u32, mode: u32) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) != (uid, gid) {
        fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    // After the owner: changing that clears the set-id bits.
    if file.metadata()?.mode() & 0o7777 != mode {
        fchmod(file, Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

/// Copies the data, leaves the holes, and takes the digest of all of it.
fn transfer(call: &Copy, source: &File, copy: &File, total: u64, report: &dyn Report) -> Result<Proof> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let zeros = vec![0; CHUNK];
    let mut at = 0;
    while at < total {
        let (data, end) = next_data(source, at, total).explain(|| format!("cannot read {}", call.from))?;
        while at < data {
            let hole = usize::try_from(data - at).unwrap_or(CHUNK).min(CHUNK);
            hash.update(&zeros[..hole]);
            at += hole as u64;
        }
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let part = &mut chunk[..most];
            source.read_exact_at(part, at).explain(|| format!("cannot read {} at byte {at}", call.from))?;
            copy.write_all_at(part, at).explain(|| format!("cannot write byte {at} of {total} of {}", call.to))?;
            hash.update(&*part);
            at += most as u64;
            let phase = format!("copying {}", call.from);
            report.progress(Progress { phase, done: at, total, unit: Unit::Bytes });
            report.check()?;
        }
    }
    copy.set_len(total).explain(|| format!("cannot write {}", call.to))?;
    Ok(Proof { bytes: total, sha256: hex(&hash.finalize()) })
}

/// The next stretch of data at or after `at`; everything where the file system knows no holes.
fn next_data(file: &File, at: u64, total: u64) -> rustix::io::Result<(u64, u64)> {
    let data = match seek(file, SeekFrom::Data(at)) {
        Ok(data) => data.min(total),
        Err(Errno::NXIO) => return Ok((total, total)),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok((at, total)),
        Err(error) => return Err(error),
    };
    let end = seek(file, SeekFrom::Hole(data)).unwrap_or(total).min(total);
    Ok((data, end))
}
