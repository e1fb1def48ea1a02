//! One helper at a time changes or proves a database: one whose pod was deleted by force may still run when the next one begins.
//!
//! The lock is flock(2) on the database's folder: SQLite does not use it, the kernel takes it back from whoever dies, and it
//! keeps no block of a file that is replaced in use. NFS turns it into a lock on bytes, which a folder cannot have: there,
//! nobody is kept out.

use std::fs::File;
use std::path::Path;
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

/// The right to change a database, until it is dropped. `None` where its file system has no such locks.
///
/// # Errors
/// `Busy` when another helper keeps it for longer than [`PATIENCE`].
pub(crate) fn with(database: &str, report: &dyn Report) -> Result<Option<File>> {
    let Some(Ok(folder)) = Path::new(database).parent().map(File::open) else { return Ok(None) };
    let begun = Instant::now();
    loop {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(folder)),
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
