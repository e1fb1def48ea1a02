//! The files that belong to a database: rollback journal, WAL and its index. Looks at them only.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use dbmig_wire::{ErrorKind, SideFile};

use crate::error::{Explain, Result, fail};

/// What a rollback journal that holds something starts with.
///
/// Source: <https://www.sqlite.org/fileformat2.html>, "The Rollback Journal".
const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// Bytes of a WAL's header and of a frame's.
const WAL_HEADER: u64 = 32;

/// The side files of a database that are there. A journal counts as hot by its content: a writer may still be at work on it.
pub(super) fn list(database: &str) -> Result<Vec<SideFile>> {
    let mut found = Vec::new();
    for suffix in ["-journal", "-wal", "-shm"] {
        let path = format!("{database}{suffix}");
        let bytes = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.explain(|| format!("cannot look at {path}"))?.len(),
        };
        let hot = match suffix {
            "-journal" => start::<8>(&path)? == Some(JOURNAL_MAGIC),
            "-wal" => bytes > WAL_HEADER && unmerged(database, &path)?,
            _ => false,
        };
        found.push(SideFile { path, bytes, hot });
    }
    Ok(found)
}

/// Refuses a database whose main file alone is not its content.
///
/// # Errors
/// `Unsettled`, naming the file.
pub(super) fn refuse_hot(database: &str) -> Result<()> {
    match list(database)?.into_iter().find(|file| file.hot) {
        Some(file) => {
            let message = format!("{} ({} bytes) holds changes that are not settled in the database yet", file.path, file.bytes);
            Err(fail(ErrorKind::Unsettled, message))
        }
        None => Ok(()),
    }
}

/// A WAL holds frames of its own generation, and its index does not say that all are in the database.
///
/// Source: <https://www.sqlite.org/walformat.html>: salts at 16 of the WAL's header and at 8 of a frame's; `mxFrame` at 16
/// and `nBackfill` at 96 of the index, in the byte order of the machine.
fn unmerged(database: &str, wal: &str) -> Result<bool> {
    let Some(head) = start::<48>(wal)? else { return Ok(false) };
    if head[16..24] != head[40..48] {
        return Ok(false);
    }
    let Some(index) = start::<100>(&format!("{database}-shm"))? else { return Ok(true) };
    let word = |at: usize| u32::from_ne_bytes([index[at], index[at + 1], index[at + 2], index[at + 3]]);
    let known = word(0) != 0 && index[..48] == index[48..96];
    Ok(!known || word(16) > word(96))
}

fn start<const N: usize>(path: &str) -> Result<Option<[u8; N]>> {
    let mut bytes = [0; N];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut bytes, 0));
    match read {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(None),
        other => other.explain(|| format!("cannot read {path}")).map(|()| None),
    }
}
