//! The folder `.dbmig-OPERATION` in a data directory: what an operation removed or replaced there, and a note of how the cluster
//! was then. The note comes last and goes first: with it the folder is whole. What belongs to the data directory's owner stays
//! readable for it, as a base backup must be able to take everything along.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use dbmig_wire::{Control, Copy, DataDirectory, ErrorKind};
use serde::{Deserialize, Serialize};

use super::{AUTO_CONF, RECOVERY_CONF, RECOVERY_SIGNAL, STANDBY_SIGNAL, newest_history};
use super::{SIGNAL_FILES, content, is_there, open};
use crate::die;
use crate::error::{Explain, Result, fail};
use crate::file::{carry, copy, lacking, new_part, own, put_in_place, remove_with_left_behind, sync_folder};
use crate::report::Report;

/// Name of the note in the folder.
const NOTE: &str = "note.json";

/// The cluster as it was when its files were kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// The control file.
    pub(super) control: Control,
    /// The newest timeline with a history in `pg_wal`, 0 for none.
    pub(super) history: u32,
}

/// Where an operation keeps things.
pub(super) struct Kept<'a> {
    directory: &'a Path,
    folder: PathBuf,
    facts: &'a DataDirectory,
    report: &'a dyn Report,
}

impl<'a> Kept<'a> {
    /// The folder of an operation, which may not be there.
    ///
    /// # Errors
    /// `BadRequest` for what is no operation's id.
    pub(super) fn new(directory: &'a Path, operation: &str, facts: &'a DataDirectory, report: &'a dyn Report) -> Result<Self> {
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if operation.is_empty() || !operation.bytes().all(is_id) {
            return Err(fail(ErrorKind::BadRequest, format!("{operation:?} is no operation's id; nothing was done")));
        }
        Ok(Self { directory, folder: directory.join(format!(".dbmig-{operation}")), facts, report })
    }

    /// Files of the data directory that are kept, in the order in which they are put back: whatever is there when that is cut
    /// off, no server takes the directory for a primary's.
    pub(super) const fn names(&self) -> &'static [&'static str] {
        if self.facts.major < SIGNAL_FILES { &[RECOVERY_CONF] } else { &[STANDBY_SIGNAL, AUTO_CONF, RECOVERY_SIGNAL] }
    }

    /// The note, if everything is kept.
    pub(super) fn note(&self) -> Result<Option<Note>> {
        let path = self.folder.join(NOTE);
        let Some(bytes) = content(&path)? else { return Ok(None) };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|_| fail(ErrorKind::Changed, format!("{} is not what was written there; nothing was done", path.display())))
    }

    /// Makes the folder anew.
    pub(super) fn make(&self) -> Result<()> {
        self.remove()?;
        let doing = || format!("cannot make {}", self.folder.display());
        // Beyond the reach of others, as the data directory.
        DirBuilder::new().mode(self.facts.mode & 0o777).create(&self.folder).explain(doing)?;
        own(&open(&self.folder)?, self.facts.uid, self.facts.gid, self.facts.mode & 0o777).explain(doing)?;
        sync_folder(&self.folder)
    }

    /// Keeps a file of the data directory, if it is there, with its owner, mode and attributes.
    pub(super) fn keep(&self, name: &str) -> Result<()> {
        let from = self.directory.join(name);
        if is_there(&from)? { self.copy(&from, &self.folder.join(name)) } else { Ok(()) }
    }

    /// Notes how the cluster is: everything is kept.
    pub(super) fn write_note(&self) -> Result<()> {
        let note = Note { control: self.facts.control.clone(), history: newest_history(self.directory)? };
        let text = serde_json::to_vec(&note).map_err(|_| fail(ErrorKind::Other, "the note cannot be written as JSON"))?;
        self.write(&self.folder.join(NOTE), &text)
    }

    /// Puts a file back as it was, or removes it where there was none.
    pub(super) fn put_back(&self, name: &str) -> Result<()> {
        let (kept, there) = (self.folder.join(name), self.directory.join(name));
        if is_there(&kept)? { self.copy(&kept, &there) } else { remove(&there).map(drop) }
    }

    /// Removes the folder, if it is there.
    pub(super) fn remove(&self) -> Result<()> {
        let doing = || format!("cannot remove {}", self.folder.display());
        remove(&self.folder.join(NOTE))?;
        die::point("kept:note");
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).explain(doing),
        };
        for entry in entries {
            fs::remove_file(entry.explain(doing)?.path()).explain(doing)?;
        }
        fs::remove_dir(&self.folder).explain(doing)?;
        sync_folder(&self.folder)
    }

    /// Writes a file beside `path` and gives it that name. It has the owner, mode and attributes of the one that it replaces, else
    /// those that a new one of the data directory has.
    pub(super) fn write(&self, path: &Path, text: &[u8]) -> Result<()> {
        let doing = || format!("cannot write {}", path.display());
        let (part, mut file) = new_part(path)?;
        let written = (|| {
            file.write_all(text).explain(doing)?;
            let like = if is_there(path)? {
                let old = open(path)?;
                let facts = crate::file::facts(&old.metadata().explain(doing)?);
                own(&file, facts.uid, facts.gid, facts.mode).explain(doing)?;
                carry(&old, &file, &path.to_string_lossy(), self.report)
            } else {
                own(&file, self.facts.uid, self.facts.gid, self.facts.mode & 0o666).explain(doing)
            };
            like?;
            file.sync_all().explain(doing)
        })();
        written.map_err(|error| {
            // The first failure is the one to tell; a left-over is overwritten by the next try.
            let _ = fs::remove_file(&part);
            lacking(error, &part, None)
        })?;
        put_in_place(&part, path)
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let call = Copy { from: text(from), to: text(to), replace: true, like: None, expect_sha256: None };
        copy(&call, self.report).map(drop)
    }
}

/// Removes a file, if it is there, and tells whether it was.
pub(super) fn remove(path: &Path) -> Result<bool> {
    remove_with_left_behind(&path.to_string_lossy())
}
