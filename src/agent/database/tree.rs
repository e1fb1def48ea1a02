//! Builds one b-tree out of cells that come in key order: every page is full and is written once. Reads nothing.
//!
//! A page that is full is written and goes up one level as a child; of an index its last cell goes along as the key between it
//! and the next page, of a table a copy of its last rowid. The page at the top becomes the root, whose number is given from the start.

use super::output::{Output, Role};
use super::pages::Cell;
use super::record::{put_varint, varint};
use crate::error::Result;

/// A b-tree that grows at its right end.
pub(super) struct Tree {
    root: u32,
    index: bool,
    levels: Vec<Level>,
    cell: Vec<u8>,
}

/// The right-most page of a level, not yet written.
struct Level {
    page: Vec<u8>,
    /// Bytes of it that may hold content.
    usable: usize,
    /// Where the cell pointers start.
    pointers: usize,
    /// Where the cell content starts.
    content: usize,
    cells: Vec<Placed>,
    right: Option<u32>,
}

/// Where a cell lies on its page.
#[derive(Clone, Copy)]
struct Placed {
    at: usize,
    length: usize,
    child: Option<u32>,
    overflow: Option<u32>,
}

impl Tree {
    /// An empty tree whose root will be page `root`.
    pub(super) fn new(out: &Output, root: u32, index: bool) -> Self {
        Self { root, index, levels: vec![Level::new(out, true)], cell: Vec::new() }
    }

    /// Appends a cell as it was read, except that its overflow chain now starts at `overflow`.
    pub(super) fn push(&mut self, out: &Output, cell: &Cell<'_>, overflow: Option<u32>) -> Result<()> {
        if !self.levels[0].fits(cell.stored.len() + if overflow.is_some() { 4 } else { 0 }) {
            self.turn_leaf(out)?;
        }
        self.levels[0].add(&[cell.stored], None, overflow);
        Ok(())
    }

    fn turn_leaf(&mut self, out: &Output) -> Result<()> {
        let mut key = std::mem::take(&mut self.cell);
        key.clear();
        let mut overflow = None;
        if self.index {
            overflow = self.levels[0].pop(&mut key).overflow;
        } else {
            self.levels[0].last_rowid(&mut key);
        }
        let child = self.flush(out, 0)?;
        self.push_child(out, 1, child, &key, overflow)?;
        self.cell = key;
        Ok(())
    }

    fn push_child(&mut self, out: &Output, level: usize, child: u32, key: &[u8], overflow: Option<u32>) -> Result<()> {
        if self.levels.len() == level {
            self.levels.push(Level::new(out, false));
        }
        let length = 4 + key.len() + if overflow.is_some() { 4 } else { 0 };
        if !self.levels[level].fits(length) {
            let mut up = Vec::new();
            let last = self.levels[level].pop(&mut up);
            self.levels[level].right = last.child;
            let full = self.flush(out, level)?;
            self.push_child(out, level + 1, full, &up[4..], last.overflow)?;
        }
        self.levels[level].add(&[&child.to_be_bytes(), key], Some(child), overflow);
        Ok(())
    }

    /// Writes the page of a level under a new number and empties it.
    fn flush(&mut self, out: &Output, level: usize) -> Result<u32> {
        let kind = kind(self.index, level == 0);
        let page = &mut self.levels[level];
        page.seal(kind, 0);
        let number = out.append(&page.page)?;
        page.map(out, number)?;
        page.clear();
        Ok(number)
    }

    /// Writes the pages that are still open; the top one becomes the root.
    pub(super) fn finish(mut self, out: &Output) -> Result<()> {
        let top = self.levels.len() - 1;
        for level in 0..top {
            let child = self.flush(out, level)?;
            self.levels[level + 1].right = Some(child);
        }
        let mut leaf = top == 0;
        if self.root == 1 && !self.levels[top].leaves_room(100) {
            // Page 1 carries the file's header, too. SQLite does the same: a root without cells above a full page.
            let child = self.flush(out, top)?;
            self.levels[top] = Level::new(out, false);
            self.levels[top].right = Some(child);
            leaf = false;
        }
        let page = &mut self.levels[top];
        page.seal(kind(self.index, leaf), if self.root == 1 { 100 } else { 0 });
        page.map(out, self.root)?;
        out.point(self.root, Role::Root, 0)?;
        out.place(self.root, &page.page)
    }
}

fn kind(index: bool, leaf: bool) -> u8 {
    match (index, leaf) {
        (true, true) => 10,
        (true, false) => 2,
        (false, true) => 13,
        (false, false) => 5,
    }
}

impl Level {
    fn new(out: &Output, leaf: bool) -> Self {
        let (page, usable) = (vec![0; out.page_size()], out.usable());
        Self { page, usable, pointers: if leaf { 8 } else { 12 }, content: usable, cells: Vec::new(), right: None }
    }

    fn fits(&self, length: usize) -> bool {
        self.pointers + 2 * self.cells.len() + 2 + length.max(4) <= self.content
    }

    fn leaves_room(&self, bytes: usize) -> bool {
        self.pointers + 2 * self.cells.len() + bytes <= self.content
    }

    fn add(&mut self, parts: &[&[u8]], child: Option<u32>, overflow: Option<u32>) {
        let stored: usize = parts.iter().map(|part| part.len()).sum();
        let length = (stored + if overflow.is_some() { 4 } else { 0 }).max(4);
        self.content -= length;
        let mut at = self.content;
        for part in parts {
            self.page[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        if let Some(first) = overflow {
            self.page[at..at + 4].copy_from_slice(&first.to_be_bytes());
        }
        self.cells.push(Placed { at: self.content, length: stored, child, overflow });
    }

    /// Takes the last cell off, without its overflow pointer.
    fn pop(&mut self, into: &mut Vec<u8>) -> Placed {
        let none = Placed { at: self.content, length: 0, child: None, overflow: None };
        let last = self.cells.pop().unwrap_or(none);
        into.extend_from_slice(&self.page[last.at..last.at + last.length]);
        let whole = (last.length + if last.overflow.is_some() { 4 } else { 0 }).max(4);
        self.page[last.at..last.at + whole].fill(0);
        self.content = last.at + whole;
        last
    }

    /// The rowid of the last cell of a table's leaf, as a varint.
    fn last_rowid(&self, into: &mut Vec<u8>) {
        let Some(last) = self.cells.last() else { return };
        let bytes = &self.page[last.at..last.at + last.length];
        let rowid = varint(bytes).and_then(|(_, used)| varint(bytes.get(used..)?));
        put_varint(into, rowid.map_or(0, |(rowid, _)| rowid));
    }

    /// Writes the page's header and cell pointers behind `offset`.
    fn seal(&mut self, kind: u8, offset: usize) {
        let count = self.cells.len() as u16;
        let content = if self.content == 65536 { 0 } else { self.content as u16 };
        self.page[offset] = kind;
        self.page[offset + 3..offset + 5].copy_from_slice(&count.to_be_bytes());
        self.page[offset + 5..offset + 7].copy_from_slice(&content.to_be_bytes());
        if let Some(right) = self.right {
            self.page[offset + 8..offset + 12].copy_from_slice(&right.to_be_bytes());
        }
        for (at, cell) in self.cells.iter().enumerate() {
            let place = offset + self.pointers + 2 * at;
            self.page[place..place + 2].copy_from_slice(&(cell.at as u16).to_be_bytes());
        }
    }

    fn map(&self, out: &Output, number: u32) -> Result<()> {
        for cell in &self.cells {
            if let Some(first) = cell.overflow {
                out.point(first, Role::FirstOverflow, number)?;
            }
            if let Some(child) = cell.child {
                out.point(child, Role::Child, number)?;
            }
        }
        self.right.map_or(Ok(()), |right| out.point(right, Role::Child, number))
    }

    fn clear(&mut self) {
        self.page.fill(0);
        self.content = self.usable;
        self.cells.clear();
        self.right = None;
    }
}
