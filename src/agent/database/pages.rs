//! Reads pages of a database file that nobody writes to, and finds the cells in b-tree pages. Never writes.
//!
//! Source: <https://www.sqlite.org/fileformat2.html>, "B-tree Pages". SQLite's interface offers no cell-wise copy that keeps
//! every rowid and leaves rows out, hence this reader.

use std::fs::File;
use std::os::unix::fs::FileExt;

use dbmig_wire::{AgentError, ErrorKind};

use super::ahead::Ahead;
use super::header::RawHeader;
use super::record::varint;
use crate::error::{Explain, Result, fail};

/// A database file, page by page.
pub(super) struct Pages {
    path: String,
    file: File,
    /// What the first page says of the file.
    pub(super) header: RawHeader,
    ahead: Option<Ahead>,
}

impl Pages {
    /// Opens a file for reading and looks at its header.
    ///
    /// # Errors
    /// `NotFound`, `Permission`, `NotSqlite`, `Encrypted`, `Corrupt` (shorter than its header says).
    pub(super) fn open(path: &str) -> Result<Self> {
        let file = File::open(path).explain(|| format!("cannot open {path}"))?;
        let header = RawHeader::read(&file, path)?;
        header.complete(path)?;
        Ok(Self { path: path.to_owned(), file, header, ahead: None })
    }

    /// For a reader of the whole file: has the kernel read ahead.
    pub(super) fn reading_all(self) -> Self {
        Self { ahead: Some(Ahead::new(self.header.pages * u64::from(self.header.page_size))), ..self }
    }

    /// Refuses a file that is no database, whatever its length: a hot journal may still have to put that right.
    pub(super) fn open_unsettled(path: &str) -> Result<RawHeader> {
        let file = File::open(path).explain(|| format!("cannot open {path}"))?;
        RawHeader::read(&file, path)
    }

    /// Bytes of a page that hold content.
    pub(super) fn usable(&self) -> usize {
        self.header.usable()
    }

    /// The open file, for questions about its blocks.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Reads page `number` (counted from 1) into `into`.
    pub(super) fn read(&self, number: u32, into: &mut Vec<u8>) -> Result<()> {
        if number == 0 || u64::from(number) > self.header.pages {
            return Err(self.damage(format!("a pointer leads to page {number} of {}", self.header.pages)));
        }
        let size = self.header.page_size as usize;
        into.resize(size, 0);
        let offset = (u64::from(number) - 1) * size as u64;
        if let Some(ahead) = &self.ahead {
            ahead.reading(&self.file, offset);
        }
        self.file.read_exact_at(into, offset).explain(|| format!("cannot read page {number} of {}", self.path))
    }

    /// Damage seen in this file.
    pub(super) fn damage(&self, seen: String) -> AgentError {
        AgentError { details: vec![seen], ..fail(ErrorKind::Corrupt, format!("{} is damaged", self.path)) }
    }
}

/// The four kinds of b-tree page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// Carries keys and no rowids: an index, or a table without rowid.
    pub(super) index: bool,
    /// Has no children.
    pub(super) leaf: bool,
}

/// A b-tree page in memory.
pub(super) struct BtreePage {
    /// Its number.
    pub(super) number: u32,
    /// What kind it is.
    pub(super) kind: Kind,
    /// How many cells it has.
    pub(super) cells: usize,
    start: usize,
    bytes: Vec<u8>,
}

/// A cell of a b-tree page, without its child pointer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell<'a> {
    /// Rowid; 0 in an index.
    pub(super) rowid: i64,
    /// Length of the whole payload in bytes.
    pub(super) payload: u64,
    /// The part of the payload that is on the page.
    pub(super) local: &'a [u8],
    /// First overflow page, where there is more.
    pub(super) overflow: Option<u32>,
    /// Length in bytes and payload on the page, as they are stored: everything that a copy takes over unchanged.
    pub(super) stored: &'a [u8],
}

impl BtreePage {
    /// An empty place to load pages into.
    pub(super) fn empty() -> Self {
        Self { number: 0, kind: Kind { index: false, leaf: true }, cells: 0, start: 0, bytes: Vec::new() }
    }

    /// Loads page `number`.
    pub(super) fn load(&mut self, pages: &Pages, number: u32) -> Result<()> {
        pages.read(number, &mut self.bytes)?;
        self.number = number;
        self.start = if number == 1 { 100 } else { 0 };
        self.kind = match self.bytes[self.start] {
            2 => Kind { index: true, leaf: false },
            5 => Kind { index: false, leaf: false },
            10 => Kind { index: true, leaf: true },
            13 => Kind { index: false, leaf: true },
            other => return Err(pages.damage(format!("page {number} is of unknown kind {other}"))),
        };
        self.cells = usize::from(self.short(self.start + 3));
        if self.start + 8 + 4 * usize::from(!self.kind.leaf) + 2 * self.cells > pages.usable() {
            return Err(pages.damage(format!("page {number} claims {} cells", self.cells)));
        }
        Ok(())
    }

    /// Child page before cell `at`; the right-most one when `at` is the number of cells.
    pub(super) fn child(&self, pages: &Pages, at: usize) -> Result<u32> {
        let offset = if at == self.cells { self.start + 8 } else { self.offset(at) };
        let bytes = self.bytes.get(offset..offset + 4).ok_or_else(|| self.beyond(pages, at))?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Cell `at` of a leaf or of an interior index page.
    #[inline(always)]
    pub(super) fn cell(&self, pages: &Pages, at: usize) -> Result<Cell<'_>> {
        self.parse(at, pages.usable()).ok_or_else(|| self.beyond(pages, at))
    }

    #[inline(always)]
    fn parse(&self, at: usize, usable: usize) -> Option<Cell<'_>> {
        let bytes = self.bytes.get(self.offset(at)..usable)?;
        let bytes = if self.kind.leaf { bytes } else { bytes.get(4..)? };
        let (payload, mut used) = varint(bytes)?;
        let mut rowid = 0;
        if !self.kind.index {
            let (value, length) = varint(bytes.get(used..)?)?;
            rowid = value as i64;
            used += length;
        }
        let (local, spills) = local_bytes(payload, self.kind.index, usable);
        let end = used + local;
        let overflow = match spills {
            true => Some(u32::from_be_bytes(bytes.get(end..end + 4)?.try_into().ok()?)),
            false => None,
        };
        Some(Cell { rowid, payload, local: bytes.get(used..end)?, overflow, stored: bytes.get(..end)? })
    }

    #[inline]
    fn offset(&self, at: usize) -> usize {
        usize::from(self.short(self.start + 8 + 4 * usize::from(!self.kind.leaf) + 2 * at))
    }

    #[inline]
    fn short(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    #[cold]
    fn beyond(&self, pages: &Pages, at: usize) -> AgentError {
        pages.damage(format!("cell {at} of page {} runs past its end", self.number))
    }
}

/// How many bytes of a payload stay on the page, and whether the rest spills over.
#[inline]
pub(super) fn local_bytes(payload: u64, index: bool, usable: usize) -> (usize, bool) {
    let least = (usable - 12) * 32 / 255 - 23;
    let most = if index { (usable - 12) * 64 / 255 - 23 } else { usable - 35 };
    if payload <= most as u64 {
        return (payload as usize, false);
    }
    let fitting = least + ((payload - least as u64) % (usable as u64 - 4)) as usize;
    (if fitting <= most { fitting } else { least }, true)
}
