//! A file that has no name of its own before it is proven.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dbmig_wire::ErrorKind;

use super::remove::PART;
use super::sync_folder;
use crate::error::{Explain, Result, fail};

/// A new, empty file beside where it is to be, and its path for now. What a killed call left there is removed.
///
/// # Errors
/// `BadRequest` when the path is not absolute or has no name, and what the file system says.
pub(crate) fn new_part(to: &Path) -> Result<(PathBuf, File)> {
    let Some(name) = to.file_name().and_then(|name| name.to_str()).filter(|_| to.is_absolute()) else {
        return Err(fail(ErrorKind::BadRequest, format!("{} is no absolute path of a file", to.display())));
    };
    let part = to.with_file_name(format!("{name}{PART}"));
    let doing = || format!("cannot write {}", part.display());
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).explain(doing),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&part).explain(doing)?;
    Ok((part, file))
}

/// Gives it its name, for good.
///
/// # Errors
/// What the file system says.
pub(crate) fn put_in_place(part: &Path, to: &Path) -> Result<()> {
    fs::rename(part, to).explain(|| format!("cannot give the copy its name {}", to.display()))?;
    sync_folder(to)
}
