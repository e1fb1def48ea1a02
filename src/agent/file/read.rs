//! Reads small text files of a folder; never more than a request may carry back.

use std::fs;
use std::io;
use std::path::Path;

use dbmig_wire::{ErrorKind, Read, TextFile};

use crate::error::{Explain, Result, fail};
use crate::report::Report;

/// All files together, in bytes: a folder with more is none of migrations.
const MOST_BYTES: u64 = 16 << 20;

/// Answers [`Read`]: the matching files of the first folder that has any, by name.
///
/// # Errors
/// `Permission` and the like for a folder that is there but can't be read; none for one that is not.
pub fn read(call: &Read, report: &dyn Report) -> Result<Vec<TextFile>> {
    for folder in &call.folders {
        report.check()?;
        let files = of_folder(Path::new(folder), &call.suffix)?;
        if !files.is_empty() {
            return Ok(files);
        }
    }
    Ok(Vec::new())
}

fn of_folder(folder: &Path, suffix: &str) -> Result<Vec<TextFile>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(error) => return Err(error).explain(|| format!("cannot read {}", folder.display())),
    };
    let (mut files, mut bytes) = (Vec::new(), 0);
    for entry in entries {
        let entry = entry.explain(|| format!("cannot read {}", folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        if !name.ends_with(suffix) || !path.is_file() {
            continue;
        }
        let content = fs::read(&path).explain(|| format!("cannot read {}", path.display()))?;
        bytes += content.len() as u64;
        if bytes > MOST_BYTES {
            return Err(fail(
                ErrorKind::BadRequest,
                format!("{} has more than {MOST_BYTES} bytes in *{suffix}", folder.display()),
            ));
        }
        files.push(TextFile { name, text: String::from_utf8_lossy(&content).into_owned() });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}
