//! Reads small text files of a folder; never more than a request may carry back.

use std::fs;
use std::io;
use std::path::Path;

use dbmig_wire::{ErrorKind, Read, TextFile};

use crate::error::{Explain, Result, fail};
use crate::report::Report;

/// All files together, in bytes: a folder with more is none of migrations.
const MOST_BYTES: u64 = 16 << 20;

/// Folders in which packages are.
const PACKAGES: [&str; 2] = ["node_modules", "site-packages"];

/// Answers [`Read`]: the matching files of the first folder that has any, by name.
///
/// # Errors
/// `Permission` and the like for a folder that is there but can't be read; none for one that is not.
pub fn read(call: &Read, report: &dyn Report) -> Result<Vec<TextFile>> {
    for folder in &call.folders {
        report.check()?;
        let mut reading = Reading { folder: Path::new(folder), call, files: Vec::new(), bytes: 0 };
        reading.walk(Path::new(folder), call.depth)?;
        if !reading.files.is_empty() {
            reading.files.sort_by(|a, b| a.name.cmp(&b.name));
            return Ok(reading.files);
        }
    }
    Ok(Vec::new())
}

/// A folder that is being read.
struct Reading<'a> {
    folder: &'a Path,
    call: &'a Read,
    files: Vec<TextFile>,
    bytes: u64,
}

impl Reading<'_> {
    fn walk(&mut self, folder: &Path, depth: u32) -> Result<()> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
            // What lies beside the folders that are looked for may be anybody's.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && self.is_beside(folder) => return Ok(()),
            Err(error) => return Err(error).explain(|| format!("cannot read {}", folder.display())),
        };
        let counts = self.call.parent.is_none() || self.is_asked(folder);
        for entry in entries {
            let path = entry.explain(|| format!("cannot read {}", folder.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // A mounted ConfigMap has its files a second time in a hidden folder.
            if depth > 0 && !name.starts_with('.') && !PACKAGES.contains(&&*name) && path.is_dir() {
                self.walk(&path, depth - 1)?;
            } else if counts && name.ends_with(&self.call.suffix) && path.is_file() {
                self.take(&path)?;
            }
        }
        Ok(())
    }

    fn is_asked(&self, folder: &Path) -> bool {
        self.call.parent.as_ref().is_some_and(|parent| folder.file_name().is_some_and(|name| name == parent.as_str()))
    }

    fn is_beside(&self, folder: &Path) -> bool {
        self.call.parent.is_some() && folder != self.folder && !self.is_asked(folder)
    }

    fn take(&mut self, path: &Path) -> Result<()> {
        let content = fs::read(path).explain(|| format!("cannot read {}", path.display()))?;
        self.bytes += content.len() as u64;
        if self.bytes > MOST_BYTES {
            let (folder, suffix) = (self.folder.display(), &self.call.suffix);
            return Err(fail(ErrorKind::BadRequest, format!("{folder} has more than {MOST_BYTES} bytes in *{suffix}")));
        }
        let name = path.strip_prefix(self.folder).unwrap_or(path).to_string_lossy().into_owned();
        self.files.push(TextFile { name, text: String::from_utf8_lossy(&content).into_owned() });
        Ok(())
    }
}
