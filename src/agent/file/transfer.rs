//! Raw bytes of files over stdout and stdin. Proves nothing: whoever transfers compares digests afterwards.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use dbmig_wire::ErrorKind;
use rustix::fs::{FlockOperation, flock};

use super::{is_ours, lacking, sync_folder};
use crate::error::{Explain, Result, fail};

/// Writes a file from an offset to its end to stdout.
///
/// # Errors
/// What reading and writing show; a reader that went away too.
pub fn send(path: &str, offset: u64) -> Result<()> {
    let mut file = File::open(path).explain(|| format!("cannot open {path}"))?;
    file.seek(SeekFrom::Start(offset)).explain(|| format!("cannot read {path} at byte {offset}"))?;
    let mut stdout = io::stdout().lock();
    io::copy(&mut file, &mut stdout).and_then(|_| stdout.flush()).explain(|| format!("cannot send {path}"))
}

/// Writes `bytes` bytes of stdin to a file of ours that is `offset` long, made for its owner only; returns its new length.
///
/// # Errors
/// `Changed` when it has another length, `Busy` when an earlier call still writes, `NoSpace`; what came before stays.
pub fn receive(path: &str, offset: u64, bytes: u64) -> Result<u64> {
    let doing = || format!("cannot write {path}");
    if !is_ours(Path::new(path)) {
        return Err(fail(ErrorKind::BadRequest, format!("{path} is no name of an operation's own file; nothing was written")));
    }
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path);
    let mut file = file.explain(doing).map_err(|error| lacking(error, Path::new(path), Some(bytes)))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(fail(ErrorKind::Busy, format!("{path} is still being written by an earlier call")));
    }
    let length = file.metadata().explain(doing)?.len();
    if length != offset {
        return Err(fail(ErrorKind::Changed, format!("{path} has {length} bytes, not {offset}; nothing was written")));
    }
    file.seek(SeekFrom::Start(offset)).explain(doing)?;
    let written = io::copy(&mut io::stdin().lock().take(bytes), &mut file).and_then(|_| file.sync_all());
    let length = file.metadata().explain(doing)?.len();
    let stays = || format!("cannot write {path} beyond byte {length}, up to which it stays for the next call to go on");
    written
        .explain(stays)
        .map_err(|error| lacking(error, Path::new(path), Some(offset.saturating_add(bytes).saturating_sub(length))))?;
    sync_folder(Path::new(path))?;
    Ok(length)
}
