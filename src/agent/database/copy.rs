//! Copies one b-tree of the old file into the new one, cell by cell, leaving out what a rule drops. Decides nothing itself.
//!
//! Payloads are never decoded and written again, so every value keeps its stored form and every row its rowid.

use std::sync::atomic::{AtomicU64, Ordering};

use dbmig_wire::AgentError;

use super::kept::Kept;
use super::output::Output;
use super::pages::{Cell, Pages, local_bytes};
use super::record::put_varint;
use super::tree::Tree;
use super::walk::{Walk, overflow};
use crate::error::Result;

/// Pages between two looks at whether the work should go on.
const PAGES_PER_CHECK: u64 = 2048;

/// An answer about a row. Boxed, the error lets it come back in registers, which for millions of rows is a tenth of the time.
pub(super) type Answer<T = bool> = std::result::Result<T, Box<AgentError>>;

/// Says of each row whether it is copied.
pub(super) type Ask<'a> = Box<dyn FnMut(&Cell<'_>) -> Answer + 'a>;

/// Which rows of a table are copied.
pub(super) enum Choice<'a> {
    /// Those of a set.
    Of(Kept),
    /// Whatever this says; asked once per row, in the order of rowids.
    Ask(Ask<'a>),
}

/// How many rows a tree had and how many were copied.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Copied {
    /// In the old file.
    pub(super) rows: u64,
    /// In the new file.
    pub(super) kept: u64,
}

/// The way from one file to the other. Each thread has one of its own.
pub(super) struct Copier<'a> {
    pub(super) from: &'a Pages,
    to: &'a Output,
    /// Pages that all threads have read.
    done: &'a AtomicU64,
    spill: Vec<u8>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(from: &'a Pages, to: &'a Output, done: &'a AtomicU64) -> Self {
        Self { from, to, done, spill: Vec::new() }
    }

    /// Copies a tree, of its cells those that `keep` wants.
    pub(super) fn tree(&mut self, name: &str, roots: (u32, u32), mut keep: impl FnMut(&Cell<'_>) -> Answer) -> Result<Copied> {
        let mut walk = Walk::new(self.from, roots.0)?;
        let mut tree = Tree::new(self.to, roots.1, walk.index());
        let mut copied = Copied::default();
        let (mut before, ordered, mut loaded) = (None, !walk.index(), 0);
        loop {
            if walk.loaded() > loaded + PAGES_PER_CHECK {
                self.done.fetch_add(walk.loaded() - loaded, Ordering::Relaxed);
                loaded = walk.loaded();
                self.to.check()?;
            }
            let Some(cell) = walk.next()? else { break };
            if ordered && before.is_some_and(|before| before >= cell.rowid) {
                return Err(self.from.damage(format!("rowid {} of table {name} is out of order", cell.rowid)));
            }
            before = Some(cell.rowid);
            copied.rows += 1;
            if keep(&cell).map_err(|error| *error)? {
                copied.kept += 1;
                let first = if cell.overflow.is_some() { Some(self.spill(&cell)?) } else { None };
                tree.push(self.to, &cell, first)?;
            }
        }
        tree.finish(self.to)?;
        Ok(copied)
    }

    /// Copies a chain of overflow pages; tells the first of the new ones.
    fn spill(&mut self, cell: &Cell<'_>) -> Result<u32> {
        let mut chain = self.to.chain(cell.payload - cell.local.len() as u64);
        overflow(self.from, cell, &mut self.spill, |bytes| chain.add(bytes))?;
        Ok(chain.first)
    }

    /// Writes a row that is not in the old file as it stands here: those of the schema table, with their new root pages.
    pub(super) fn row(&mut self, tree: &mut Tree, rowid: i64, payload: &[u8]) -> Result<()> {
        let (local, spills) = local_bytes(payload.len() as u64, false, self.to.usable());
        let (local, rest) = payload.split_at(local);
        let mut first = None;
        if spills {
            let mut chain = self.to.chain(rest.len() as u64);
            rest.chunks(self.to.usable() - 4).try_for_each(|bytes| chain.add(bytes))?;
            first = Some(chain.first);
        }
        let mut stored = Vec::with_capacity(local.len() + 18);
        put_varint(&mut stored, payload.len() as u64);
        put_varint(&mut stored, rowid as u64);
        stored.extend(local);
        tree.push(self.to, &Cell { rowid, payload: payload.len() as u64, local, overflow: first, stored: &stored }, first)
    }
}
