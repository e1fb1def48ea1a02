//! Reads a database's free list straight from the file; believes no number in it and writes nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;

use dbmig_wire::ErrorKind;

use crate::error::{Explain, Result, fail};

/// Offset of SQLite's lock bytes; the page that holds them is never used (sqlite.org/fileformat2.html).
const LOCK_BYTES: u64 = 0x4000_0000;

/// The leaf pages of a free list. They hold nothing that SQLite reads; trunk pages do and are not among them.
pub(super) struct FreeList {
    /// Bytes per page.
    pub(super) page_size: u64,
    /// Page numbers, counted from 1, ascending.
    pub(super) leaves: Vec<u32>,
}

/// What the header says that matters here.
struct Header {
    page_size: u64,
    usable: u64,
    pages: u32,
    first_trunk: u32,
    free: u32,
    moves_pages: bool,
}

/// The database is in WAL mode, as its header says.
pub(super) fn is_wal(file: &File) -> Result<bool> {
    Ok(head(file)?[18] == 2)
}

/// Reads the whole list. The caller holds SQLite's write lock, and nothing waits in a WAL.
///
/// # Errors
/// `NotSqlite` without a header, `Corrupt` when anything in the list does not fit.
pub(super) fn read(file: &File) -> Result<FreeList> {
    let header = header(file)?;
    let mut leaves = Vec::new();
    let mut trunks = Vec::new();
    let mut page = vec![0; usize::try_from(header.usable).unwrap_or_default()];
    let mut trunk = header.first_trunk;
    while trunk != 0 {
        header.can_be_free(trunk)?;
        trunks.push(trunk);
        let at = u64::from(trunk - 1) * header.page_size;
        file.read_exact_at(&mut page, at).explain(|| format!("cannot read page {trunk}"))?;
        let count = number(&page, 4);
        if u64::from(count) > header.usable / 4 - 2 {
            return Err(corrupt(format!("free-list trunk page {trunk} claims {count} leaf pages")));
        }
        for leaf in page[8..].chunks_exact(4).take(count as usize).map(|bytes| number(bytes, 0)) {
            header.can_be_free(leaf)?;
            leaves.push(leaf);
        }
        // Ends a list that bites its own tail, too.
        if trunks.len() + leaves.len() > header.free as usize {
            return Err(corrupt(format!("the header claims {} free pages, the free list has more", header.free)));
        }
        trunk = number(&page, 0);
    }
    let free = trunks.len() + leaves.len();
    if free != header.free as usize {
        return Err(corrupt(format!("the header claims {} free pages, the free list has {free}", header.free)));
    }
    leaves.sort_unstable();
    let twice = leaves.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
    let both = trunks.into_iter().find(|trunk| leaves.binary_search(trunk).is_ok());
    if let Some(page) = twice.or(both) {
        return Err(corrupt(format!("the free list names page {page} twice")));
    }
    Ok(FreeList { page_size: header.page_size, leaves })
}

impl Header {
    fn can_be_free(&self, page: u32) -> Result<()> {
        if page < 2 || page > self.pages {
            return Err(corrupt(format!("the free list names page {page} of {}", self.pages)));
        }
        if self.is_reserved(page) {
            return Err(corrupt(format!("the free list names page {page}, which can never be free")));
        }
        Ok(())
    }

    /// The page of the lock bytes, and the pointer maps that auto_vacuum keeps: page 2 and then one after as many
    /// pages as it has five-byte entries, moved by one where it would be the page of the lock bytes.
    fn is_reserved(&self, page: u32) -> bool {
        let lock = LOCK_BYTES / self.page_size + 1;
        let page = u64::from(page);
        if page == lock {
            return true;
        }
        let group = self.usable / 5 + 1;
        let map = (page - 2) / group * group + 2;
        let map = if map == lock { map + 1 } else { map };
        self.moves_pages && page == map
    }
}

fn head(file: &File) -> Result<[u8; 100]> {
    let mut head = [0; 100];
    file.read_exact_at(&mut head, 0)
        .map_err(|_| fail(ErrorKind::NotSqlite, "the file is shorter than the header of a SQLite database"))?;
    if head[..16] != *b"SQLite format 3\0" {
        return Err(fail(ErrorKind::NotSqlite, "the file does not start with the header of a SQLite database"));
    }
    Ok(head)
}

fn header(file: &File) -> Result<Header> {
    let head = head(file)?;
    let page_size = match u64::from(u16::from_be_bytes([head[16], head[17]])) {
        1 => 65536,
        size => size,
    };
    let usable = page_size.saturating_sub(u64::from(head[20]));
    if !page_size.is_power_of_two() || page_size < 512 || usable < 480 {
        return Err(corrupt(format!("the header claims pages of {page_size} bytes, {} of them reserved", head[20])));
    }
    let bytes = file.metadata().explain(|| "cannot look at the database".to_owned())?.len();
    let in_file = u32::try_from(bytes / page_size).unwrap_or(u32::MAX);
    // The count in the header holds only when the same version wrote it as wrote the file last.
    let counted = number(&head, 24) == number(&head, 92) && number(&head, 28) != 0;
    let pages = if counted { number(&head, 28) } else { in_file };
    if pages > in_file {
        return Err(corrupt(format!("the header claims {pages} pages, the file has room for {in_file}")));
    }
    Ok(Header {
        page_size,
        usable,
        pages,
        first_trunk: number(&head, 32),
        free: number(&head, 36),
        moves_pages: number(&head, 52) != 0,
    })
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

fn corrupt(what: impl std::fmt::Display) -> dbmig_wire::AgentError {
    fail(ErrorKind::Corrupt, format!("{what}; no hole was made there"))
}
