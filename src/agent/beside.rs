//! The files that SQLite keeps beside a database, and the locks on it, seen without SQLite; rolls nothing back.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use dbmig_wire::ErrorKind;
use rustix::process::{Flock, FlockType, fcntl_getlk};

use crate::error::{Explain, Result, fail};
use crate::file::sync_folder;

/// First of SQLite's lock bytes; the next is the one that a writer holds, then 510 that readers share
/// (sqlite.org/lockingv3.html; `PENDING_BYTE` in its os.h).
const PENDING: u64 = 0x4000_0000;

/// Bytes of the header of a WAL (sqlite.org/fileformat2.html): no frame in a file that is no longer.
const WAL_HEADER: u64 = 32;

/// The path with SQLite's suffix.
pub(crate) fn with_suffix(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Length of a file, 0 when it is not there.
pub(crate) fn length(path: &Path) -> Result<u64> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).explain(|| format!("cannot look at {}", path.display())),
    }
}

/// There is a rollback journal with a header that is not wiped: hot, unless a writer holds its lock.
pub(crate) fn has_journal(database: &Path) -> Result<bool> {
    let path = with_suffix(database, "-journal");
    let mut first = [0];
    match File::open(&path).and_then(|mut file| file.read(&mut first)) {
        Ok(read) => Ok(read == 1 && first[0] != 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).explain(|| format!("cannot read {}", path.display())),
    }
}

/// Refuses when anything beside the database may still have to be settled by SQLite.
pub(crate) fn must_be_settled(database: &Path) -> Result<()> {
    let wal = length(&with_suffix(database, "-wal"))?;
    if has_journal(database)? || wal > WAL_HEADER {
        return Err(fail(
            ErrorKind::Unsettled,
            format!("{} has a rollback journal or a WAL of {wal} bytes beside it; nothing was done", database.display()),
        ));
    }
    Ok(())
}

/// Removes the side files of a settled database, so that no other file is ever paired with them.
pub(crate) fn clear(database: &Path) -> Result<()> {
    must_be_settled(database)?;
    let mut gone = false;
    for suffix in ["-journal", "-wal", "-shm"] {
        let path = with_suffix(database, suffix);
        match fs::remove_file(&path) {
            Ok(()) => gone = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).explain(|| format!("cannot remove {}", path.display())),
        }
    }
    if gone { sync_folder(database) } else { Ok(()) }
}

/// Another process holds the lock of a writer.
pub(crate) fn has_writer(file: &File) -> Result<bool> {
    locked(file, PENDING, 2)
}

/// Refuses when another process has any of SQLite's locks: it has the database in use.
pub(crate) fn must_be_unused(file: &File, path: &Path) -> Result<()> {
    if locked(file, PENDING, 512)? {
        return Err(fail(ErrorKind::Busy, format!("another process holds a lock on {}; nothing was done", path.display())));
    }
    Ok(())
}

fn locked(file: &File, start: u64, length: u64) -> Result<bool> {
    let lock = Flock { start, length, ..Flock::from(FlockType::WriteLock) };
    let held = fcntl_getlk(file, &lock).explain(|| "cannot ask for locks".to_owned())?;
    Ok(held.is_some_and(|held| !matches!(held.typ, FlockType::Unlocked)))
}
