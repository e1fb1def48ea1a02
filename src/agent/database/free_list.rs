//! The free list of a database file: which of its pages hold nothing, and which of those are holes already. Only reads.
//!
//! Source: <https://www.sqlite.org/fileformat2.html>, "The Freelist".

use std::collections::HashSet;
use std::fs::File;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::pages::Pages;
use crate::error::Result;

/// Free-list leaf pages, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Leaves {
    /// Bytes in them.
    pub(super) bytes: u64,
    /// Bytes of those that the file system keeps no blocks for.
    pub(super) hole_bytes: u64,
}

/// Walks the trunk pages of the free list.
///
/// # Errors
/// `Corrupt` when the list leads nowhere or in a circle.
pub(super) fn leaves(pages: &Pages) -> Result<Leaves> {
    let size = u64::from(pages.header.page_size);
    let holes = holes(pages.file(), pages.header.pages * size);
    let mut found = Leaves::default();
    let (mut trunk, mut page, mut seen) = (pages.header.word(32), Vec::new(), HashSet::new());
    while trunk != 0 {
        if !seen.insert(trunk) {
            return Err(pages.damage(format!("the free list runs in a circle at page {trunk}")));
        }
        pages.read(trunk, &mut page)?;
        let word = |at: usize| u32::from_be_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
        let count = word(4) as usize;
        if count > pages.usable() / 4 - 2 {
            return Err(pages.damage(format!("page {trunk} of the free list claims {count} leaf pages")));
        }
        for leaf in (0..count).map(|at| word(8 + 4 * at)) {
            let start = u64::from(leaf).wrapping_sub(1).wrapping_mul(size);
            let before = holes.partition_point(|hole| hole.0 <= start);
            let in_hole = before.checked_sub(1).is_some_and(|at| holes[at].1 >= start + size);
            found.bytes += size;
            found.hole_bytes += if in_hole { size } else { 0 };
        }
        trunk = word(0);
    }
    Ok(found)
}

/// First byte and end of each hole, ascending; empty where the file system does not tell.
fn holes(file: &File, length: u64) -> Vec<(u64, u64)> {
    let mut holes = Vec::new();
    let mut at = 0;
    while at < length {
        let Ok(start) = seek(file, SeekFrom::Hole(at)) else { break };
        let end = match seek(file, SeekFrom::Data(start)) {
            Ok(end) => end,
            Err(Errno::NXIO) => length,
            Err(_) => break,
        };
        if start >= length {
            break;
        }
        holes.push((start, end));
        at = end;
    }
    holes
}
