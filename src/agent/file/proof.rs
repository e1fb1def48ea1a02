//! Proof by digest, and durability of names; changes no file's content.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use dbmig_wire::{Proof, hex};
use rustix::fs::{Advice, fadvise};
use sha2::{Digest, Sha256};

use crate::error::{Explain, Result};

/// Bytes read at once.
pub(super) const CHUNK: usize = 1 << 20;

/// Length and SHA-256 of a file. What the page cache holds of it is dropped first where it can be, so that the
/// bytes come from the disk. `each` gets the bytes read so far and can end the work.
///
/// # Errors
/// What reading shows, and what `each` returns.
pub fn digest(file: &File, each: &dyn Fn(u64) -> Result<()>) -> Result<Proof> {
    // Advice: where it is not taken, the digest is still that of the file.
    let _ = fadvise(file, 0, None, Advice::DontNeed);
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let read = file.read_at(&mut chunk, bytes).explain(|| format!("cannot read at byte {bytes}"))?;
        if read == 0 {
            return Ok(Proof { bytes, sha256: hex(&hash.finalize()) });
        }
        hash.update(&chunk[..read]);
        bytes += read as u64;
        each(bytes)?;
    }
}

/// Makes the names in the folder of `path` durable.
///
/// # Errors
/// What the file system says.
pub fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).explain(|| format!("cannot sync {}", folder.display()))
}
