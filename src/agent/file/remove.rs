//! Removes an operation's own files; must never touch any other.

use std::io;
use std::path::Path;

use dbmig_wire::{ErrorKind, Remove, Removed};

use super::sync_folder;
use crate::error::{Explain, Result, fail};
use crate::report::Report;

/// Whether a path names a file that belongs to an operation.
#[must_use]
pub fn is_ours(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(".dbmig-"))
}

/// What a call that was killed may leave beside the file that it was to make: SQLite's side files, the first stage of a
/// rebuild, the part that a copy had written.
const LEFT_BEHIND: [&str; 5] = ["-journal", "-wal", "-shm", "-stage", PART];

/// How the name of a copy ends that is not proven yet.
pub(super) const PART: &str = ".dbmig-part";

/// Removes a file, if it is there, and what a killed call left beside it. Tells whether anything was there.
///
/// # Errors
/// What the file system says.
pub(crate) fn remove_with_left_behind(path: &str) -> Result<bool> {
    let mut was_there = false;
    for suffix in LEFT_BEHIND.iter().chain(&[""]) {
        let name = format!("{path}{suffix}");
        match std::fs::remove_file(&name) {
            Ok(()) => was_there = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).explain(|| format!("cannot remove {name}")),
        }
    }
    if was_there {
        sync_folder(Path::new(path))?;
    }
    Ok(was_there)
}

/// Answers [`Remove`]. Looks at all names before it removes the first file.
///
/// # Errors
/// `BadRequest` when any name is not an operation's own; nothing is removed then.
pub fn remove(call: &Remove, _: &dyn Report) -> Result<Removed> {
    if let Some(path) = call.paths.iter().find(|path| !path.starts_with('/') || !is_ours(Path::new(path))) {
        return Err(fail(
            ErrorKind::BadRequest,
            format!("{path} is no absolute path of a file of an operation (its name lacks .dbmig-); nothing was removed"),
        ));
    }
    let mut paths = Vec::new();
    for path in &call.paths {
        if remove_with_left_behind(path)? {
            paths.push(path.clone());
        }
    }
    Ok(Removed { paths })
}
