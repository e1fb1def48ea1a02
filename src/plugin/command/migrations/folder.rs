//! The files of migrations, for whoever compares them with a database. Reads a folder of this computer, nothing else.

use std::fs;
use std::io;
use std::path::Path;

use crate::failure::{Failure, Result};
use crate::framework::Script;

/// More files than any project has migrations.
const MOST: usize = 20_000;
/// A longer file is data, in bytes.
const LONGEST: u64 = 4 << 20;
/// Folders within folders.
const DEPTH: usize = 8;

/// All text files below a folder, each with its path within it, its own last name in front: Django's and Prisma's migrations are told by their folders.
///
/// # Errors
/// The folder can't be read, or is no folder of migrations by its sheer size.
pub(super) fn read(folder: &Path) -> Result<Vec<Script>> {
    let name = folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let mut scripts = Vec::new();
    walk(folder, &name.unwrap_or_default(), DEPTH, &mut scripts).map_err(|error| {
        Failure::usage(format!("cannot read the migrations in {}: {error}", folder.display())).state("nothing was changed")
    })?;
    scripts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(scripts)
}

fn walk(folder: &Path, shown: &str, depth: usize, scripts: &mut Vec<Script>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{shown}/{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 && !matches!(entry.file_name().to_str(), Some("node_modules" | ".git" | "__pycache__")) {
            walk(&entry.path(), &path, depth - 1, scripts)?;
        }
        if !kind.is_file() || entry.metadata()?.len() > LONGEST {
            continue;
        }
        if scripts.len() == MOST {
            return Err(io::Error::other(format!("it has more than {MOST} files")));
        }
        // What is no text is no migration.
        if let Ok(text) = fs::read_to_string(entry.path()) {
            scripts.push(Script { path, text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_with_the_folders_that_name_them() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("migrations");
        fs::create_dir_all(folder.join("20260101_init")).unwrap();
        fs::write(folder.join("20260101_init/migration.sql"), "CREATE TABLE t (a)").unwrap();
        fs::write(folder.join("blob"), [0xff, 0xfe]).unwrap();
        let scripts = read(&folder).unwrap();
        assert_eq!(
            scripts,
            [Script { path: "migrations/20260101_init/migration.sql".into(), text: "CREATE TABLE t (a)".into() }]
        );
        assert_eq!(read(&folder.join("none")).unwrap_err().exit, crate::exit::Exit::Usage);
    }
}
