//! One helper at a time changes or proves a database: one whose pod was deleted by force may still run when the next one begins.
//!
//! The lock is flock(2) on the database file, which SQLite does not use, and which the kernel takes back from whoever dies.
//! NFS turns it into a lock of the kind that SQLite does use, but not for a file opened to be read: there, nobody is kept out.

use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};

use dbmig_wire::ErrorKind;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Result, fail};
use crate::report::Report;

/// A node takes seconds to kill what ran in a pod that is gone.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked.
const POLL: Duration = Duration::from_millis(60);

/// The right to change a database, until it is dropped. `None` where the file is not there or its file system has no such locks.
///
/// # Errors
/// `Busy` when another helper keeps it for longer than [`PATIENCE`].
pub(crate) fn with(database: &str, report: &dyn Report) -> Result<Option<File>> {
    let Ok(file) = File::open(database) else { return Ok(None) };
    let begun = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(fail(ErrorKind::Busy, format!("another helper still works on {database}; nothing was done")));
            }
            Err(_) => return Ok(None),
        }
        report.check()?;
        thread::sleep(POLL);
    }
}
