//! Walks a b-tree in key order, cell by cell, in memory that does not grow with it. Never writes.

use super::pages::{BtreePage, Cell, Pages};
use super::record::{Fields, Last, Value};
use crate::error::Result;

/// SQLite itself gives up at this depth.
const DEEPEST: usize = 20;

/// A walk over one b-tree.
pub(super) struct Walk<'p> {
    pages: &'p Pages,
    levels: Vec<Level>,
    depth: usize,
    loaded: u64,
    index: bool,
}

struct Level {
    page: BtreePage,
    /// Next thing to do on this page: on a leaf a cell; on an interior page twice the child, and one more for the cell after it.
    next: usize,
}

impl<'p> Walk<'p> {
    /// Starts before the first cell of the tree at page `root`.
    pub(super) fn new(pages: &'p Pages, root: u32) -> Result<Self> {
        let mut walk = Self { pages, levels: Vec::new(), depth: 0, loaded: 0, index: false };
        walk.descend(root)?;
        walk.index = walk.levels[0].page.kind.index;
        Ok(walk)
    }

    /// Starts at the first cell of an index that does not come `before` what is looked for.
    ///
    /// Wherever it starts, `before` has been true of the cell right before.
    pub(super) fn seek(pages: &'p Pages, root: u32, mut before: impl FnMut(&Cell<'_>) -> bool) -> Result<Self> {
        let mut walk = Self::new(pages, root)?;
        loop {
            let level = &mut walk.levels[walk.depth - 1];
            let (mut low, mut high) = (0, level.page.cells);
            while low < high {
                let middle = usize::midpoint(low, high);
                match before(&level.page.cell(pages, middle)?) {
                    true => low = middle + 1,
                    false => high = middle,
                }
            }
            if level.page.kind.leaf {
                level.next = low;
                return Ok(walk);
            }
            level.next = 2 * low + 1;
            let child = level.page.child(pages, low)?;
            walk.descend(child)?;
        }
    }

    /// The tree carries keys and no rowids.
    pub(super) fn index(&self) -> bool {
        self.index
    }

    /// Pages loaded until now.
    pub(super) fn loaded(&self) -> u64 {
        self.loaded
    }

    /// The next cell in key order.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<Cell<'_>>> {
        let Some((level, at)) = self.advance()? else {
            return Ok(None);
        };
        self.levels[level].page.cell(self.pages, at).map(Some)
    }

    #[inline]
    fn advance(&mut self) -> Result<Option<(usize, usize)>> {
        loop {
            let Some(top) = self.depth.checked_sub(1) else {
                return Ok(None);
            };
            let level = &mut self.levels[top];
            let (next, cells, leaf) = (level.next, level.page.cells, level.page.kind.leaf);
            level.next += 1;
            if leaf && next < cells {
                return Ok(Some((top, next)));
            }
            if leaf || next > 2 * cells {
                self.depth -= 1;
            } else if next % 2 == 0 {
                let child = level.page.child(self.pages, next / 2)?;
                self.descend(child)?;
            } else if self.index {
                return Ok(Some((top, next / 2)));
            }
        }
    }

    #[inline(never)]
    fn descend(&mut self, number: u32) -> Result<()> {
        if self.depth == DEEPEST || self.loaded > self.pages.header.pages {
            return Err(self.pages.damage(format!("the tree at page {number} runs in a circle")));
        }
        if self.levels.len() == self.depth {
            self.levels.push(Level { page: BtreePage::empty(), next: 0 });
        }
        let level = &mut self.levels[self.depth];
        level.page.load(self.pages, number)?;
        level.next = 0;
        let kind = level.page.kind;
        if self.depth > 0 && kind.index != self.index {
            return Err(self.pages.damage(format!("page {number} belongs to a tree of another kind")));
        }
        self.depth += 1;
        self.loaded += 1;
        Ok(())
    }
}

/// Hands the overflow pages of a cell to `take`: the content bytes of each, in order.
pub(super) fn overflow(
    pages: &Pages,
    cell: &Cell<'_>,
    page: &mut Vec<u8>,
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    if cell.payload > pages.header.pages * u64::from(pages.header.page_size) {
        return Err(pages.damage(format!("a row claims {} bytes, more than the file has", cell.payload)));
    }
    let mut left = cell.payload - cell.local.len() as u64;
    let mut next = cell.overflow.unwrap_or(0);
    while left > 0 {
        pages.read(next, page)?;
        next = u32::from_be_bytes([page[0], page[1], page[2], page[3]]);
        let bytes = left.min(pages.usable() as u64 - 4) as usize;
        take(&page[4..4 + bytes])?;
        left -= bytes as u64;
    }
    Ok(())
}

/// The whole payload of a cell.
pub(super) fn payload(pages: &Pages, cell: &Cell<'_>) -> Result<Vec<u8>> {
    let mut whole = cell.local.to_vec();
    overflow(pages, cell, &mut Vec::new(), |bytes| {
        whole.extend(bytes);
        Ok(())
    })?;
    Ok(whole)
}

/// The rowid that an index entry ends with, read without holding the entry in memory.
pub(super) fn entry_rowid(pages: &Pages, cell: &Cell<'_>) -> Result<i64> {
    let broken = || pages.damage("an index entry does not end with a rowid".to_owned());
    if cell.overflow.is_none() {
        let last = Last::of(cell.local).ok_or_else(broken)?;
        let end = cell.local.len().checked_sub(last.bytes).and_then(|at| cell.local.get(at..));
        return end.and_then(|end| last.integer(end)).ok_or_else(broken);
    }
    let Some(last) = Last::of(cell.local) else {
        let whole = payload(pages, cell)?;
        return match Fields::new(&whole).last() {
            Some(Value::Integer(rowid)) => Ok(rowid),
            _ => Err(broken()),
        };
    };
    let mut end = cell.local[cell.local.len().saturating_sub(8)..].to_vec();
    overflow(pages, cell, &mut Vec::new(), |bytes| {
        end.extend(bytes);
        end.drain(..end.len().saturating_sub(8));
        Ok(())
    })?;
    let end = end.len().checked_sub(last.bytes).and_then(|at| end.get(at..));
    end.and_then(|end| last.integer(end)).ok_or_else(broken)
}

/// Pages of a tree without overflow pages; of the leaves only the first is read.
pub(super) fn count_pages(pages: &Pages, root: u32) -> Result<u64> {
    let mut page = BtreePage::empty();
    page.load(pages, root)?;
    let (mut above, mut count) = (vec![root], 1);
    for _ in 0..DEEPEST {
        let mut children = Vec::new();
        for &number in &above {
            page.load(pages, number)?;
            if page.kind.leaf {
                return Ok(count);
            }
            for at in 0..=page.cells {
                children.push(page.child(pages, at)?);
            }
        }
        count += children.len() as u64;
        if count > pages.header.pages {
            break;
        }
        above = children;
    }
    Err(pages.damage(format!("the tree at page {root} runs in a circle")))
}
