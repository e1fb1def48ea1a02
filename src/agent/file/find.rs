//! Looks for databases below folders; opens nothing but regular files, and only to read their first bytes.

use std::collections::HashSet;
use std::fs::{self, DirEntry, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dbmig_wire::{ErrorKind, Find, Found};
use rustix::fs::statfs;

use super::is_ours;
use crate::error::{Result, fail};
use crate::report::Report;

/// Folders deeper than this below a root are not looked at.
const DEEPEST: usize = 16;

/// The file starts with this (sqlite.org/fileformat2.html, "The Database Header").
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// File system types of `/proc` and `/sys` (statfs(2)), wherever they are mounted.
const NO_FILES: [i64; 2] = [0x9fa0, 0x6265_6572];

/// Answers [`Find`]; a file reached under two roots is named once.
///
/// # Errors
/// `BadRequest` for a root that is not absolute, `NotFound` for one that is no folder.
pub fn find(call: &Find, report: &dyn Report) -> Result<Vec<Found>> {
    let mut walk = Walk { report, found: Vec::new(), seen: HashSet::new() };
    for root in &call.roots {
        let root = Path::new(root);
        if !root.is_absolute() {
            return Err(fail(ErrorKind::BadRequest, format!("{} is not an absolute path", root.display())));
        }
        if !root.is_dir() {
            return Err(fail(ErrorKind::NotFound, format!("{} is no folder", root.display())));
        }
        walk.folders(root)?;
    }
    Ok(walk.found)
}

struct Walk<'a> {
    report: &'a dyn Report,
    found: Vec<Found>,
    seen: HashSet<PathBuf>,
}

impl Walk<'_> {
    fn folders(&mut self, root: &Path) -> Result<()> {
        let mut open = vec![(root.to_owned(), 0)];
        while let Some((folder, depth)) = open.pop() {
            self.report.check()?;
            if has_no_files(&folder) {
                continue;
            }
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) => {
                    self.report.note(&format!("{} was skipped: {}", folder.display(), error.kind()));
                    continue;
                }
            };
            for entry in entries.flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && depth < DEEPEST => open.push((entry.path(), depth + 1)),
                    Ok(kind) if kind.is_dir() => self.report.note(&format!("{} lies too deep", entry.path().display())),
                    Ok(kind) if kind.is_file() => self.file(&entry),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, entry: &DirEntry) {
        let path = entry.path();
        let Ok(metadata) = entry.metadata() else { return };
        // No database is shorter than one page of the smallest size.
        if metadata.len() < 512 || is_ours(&path) || self.seen.contains(&path) {
            return;
        }
        match starts_with_magic(&path) {
            Ok(false) => {}
            Ok(true) => {
                let Some(name) = path.to_str() else {
                    self.report.note(&format!("{} was skipped: its name is not UTF-8", path.display()));
                    return;
                };
                self.found.push(Found { path: name.to_owned(), bytes: metadata.len(), modified: metadata.mtime() });
                self.seen.insert(path);
            }
            Err(error) => self.report.note(&format!("{} was skipped: {}", path.display(), error.kind())),
        }
    }
}

fn starts_with_magic(path: &Path) -> std::io::Result<bool> {
    let mut head = [0; 16];
    File::open(path)?.read_exact(&mut head)?;
    Ok(head == *MAGIC)
}

#[allow(clippy::useless_conversion, reason = "the type of f_type differs between architectures")]
fn has_no_files(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|seen| i64::try_from(seen.f_type).is_ok_and(|kind| NO_FILES.contains(&kind)))
}
