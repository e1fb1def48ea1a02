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
        match std::fs::remove_file(path) {
            Ok(()) => {
                sync_folder(Path::new(path))?;
                paths.push(path.clone());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).explain(|| format!("cannot remove {path}")),
        }
    }
    Ok(Removed { paths })
}
