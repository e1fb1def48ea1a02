//! The new file while it grows: hands out page numbers, writes pages in order, keeps pointer maps. Knows nothing of rows.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dbmig_wire::ErrorKind;

use super::header::{LOCK_BYTE, RawHeader};
use crate::error::{Explain, Result, fail};

/// Bytes that are collected before they are written.
const BATCH: usize = 1 << 20;

/// What a pointer map says a page is.
///
/// Source: <https://www.sqlite.org/fileformat2.html>, "Pointer Map or Ptrmap Pages".
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    /// The root of a tree.
    Root = 1,
    /// The first overflow page of a cell; the parent is the cell's page.
    FirstOverflow = 3,
    /// A further overflow page; the parent is the one before.
    NextOverflow = 4,
    /// A b-tree page that is no root; the parent is the page above.
    Child = 5,
}

/// The file that is being written. Several trees may grow in it at once.
pub(super) struct Output {
    file: File,
    path: PathBuf,
    page_size: usize,
    usable: usize,
    maps: bool,
    leave_free: u64,
    stop: AtomicBool,
    end: Mutex<End>,
}

/// The end of the file, where pages are appended.
struct End {
    next: u64,
    batch: Vec<u8>,
    batch_at: u64,
}

impl Output {
    /// Creates the file; it must not exist. It is readable by its owner only.
    pub(super) fn create(path: &Path, like: &RawHeader, leave_free: u64) -> Result<Self> {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        let file = file.explain(|| format!("cannot create {}", path.display()))?;
        let next = if like.auto_vacuum() { 3 } else { 2 };
        Ok(Self {
            file,
            path: path.to_owned(),
            page_size: like.page_size as usize,
            usable: like.usable(),
            maps: like.auto_vacuum(),
            leave_free,
            stop: AtomicBool::new(false),
            end: Mutex::new(End { next, batch: Vec::with_capacity(BATCH + like.page_size as usize), batch_at: 0 }),
        })
    }

    /// Makes every further write fail with `Stopped`.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Fails with `Stopped` once [`Output::stop`] was called.
    pub(super) fn check(&self) -> Result<()> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(fail(ErrorKind::Stopped, "the copy was stopped")),
            false => Ok(()),
        }
    }

    /// Bytes per page.
    pub(super) fn page_size(&self) -> usize {
        self.page_size
    }

    /// Bytes of a page that hold content.
    pub(super) fn usable(&self) -> usize {
        self.usable
    }

    /// Number of pages handed out until now, the first page included.
    pub(super) fn pages(&self) -> u64 {
        self.end().next - 1
    }

    fn end(&self) -> MutexGuard<'_, End> {
        // Whoever panicked holding it ended the whole rebuild; the file goes.
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a page number for a root, to be written by [`Output::place`]. All roots come before any other page.
    pub(super) fn root(&self) -> Result<u32> {
        self.take(&mut self.end())
    }

    fn take(&self, end: &mut End) -> Result<u32> {
        let number = self.upcoming(end);
        end.next = u64::from(number) + 1;
        if number == u32::MAX - 1 {
            return Err(fail(ErrorKind::Unsupported, "the new file would have more pages than SQLite allows"));
        }
        Ok(number)
    }

    fn upcoming(&self, end: &End) -> u32 {
        let mut number = end.next;
        while self.special(number) {
            number += 1;
        }
        number as u32
    }

    fn special(&self, number: u64) -> bool {
        number == LOCK_BYTE / self.page_size as u64 + 1 || (self.maps && self.map_of(number) == number)
    }

    /// The pointer map page that tells of page `number` (itself, if it is one).
    fn map_of(&self, number: u64) -> u64 {
        let covered = self.usable as u64 / 5 + 1;
        let map = (number - 2) / covered * covered + 2;
        if map == LOCK_BYTE / self.page_size as u64 + 1 { map + 1 } else { map }
    }

    /// Writes a root page.
    pub(super) fn place(&self, number: u32, page: &[u8]) -> Result<()> {
        self.write_at(page, (u64::from(number) - 1) * self.page_size as u64)
    }

    /// Appends a page and tells its number.
    pub(super) fn append(&self, page: &[u8]) -> Result<u32> {
        let mut end = self.end();
        let number = self.take(&mut end)?;
        self.add(&mut end, number, page)?;
        Ok(number)
    }

    /// Starts a chain of overflow pages for `bytes` of content. Nothing else is appended until it is dropped.
    pub(super) fn chain(&self, bytes: u64) -> Chain<'_> {
        Chain { output: self, end: self.end(), first: 0, before: 0, left: bytes, page: vec![0; self.page_size] }
    }

    fn add(&self, end: &mut End, number: u32, page: &[u8]) -> Result<()> {
        let at = (u64::from(number) - 1) * self.page_size as u64;
        if at != end.batch_at + end.batch.len() as u64 || end.batch.len() >= BATCH {
            self.flush(end)?;
            end.batch_at = at;
        }
        end.batch.extend_from_slice(page);
        Ok(())
    }

    /// Notes in the pointer map, where the file has one, what a page is.
    pub(super) fn point(&self, number: u32, role: Role, parent: u32) -> Result<()> {
        if !self.maps || number == 1 {
            return Ok(());
        }
        let map = self.map_of(u64::from(number));
        let at = (map - 1) * self.page_size as u64 + 5 * (u64::from(number) - map - 1);
        let mut entry = [role as u8; 5];
        entry[1..].copy_from_slice(&parent.to_be_bytes());
        self.write_at(&entry, at)
    }

    fn flush(&self, end: &mut End) -> Result<()> {
        self.check()?;
        self.watch_space(end.batch_at)?;
        self.write_at(&end.batch, end.batch_at)?;
        end.batch.clear();
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        match self.file.write_all_at(bytes, at) {
            Err(error) if matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) => {
                Err(self.full(at, 0))
            }
            other => other.explain(|| format!("cannot write {}", self.path.display())),
        }
    }

    fn watch_space(&self, written: u64) -> Result<()> {
        let volume =
            rustix::fs::fstatvfs(&self.file).explain(|| format!("cannot look at the volume of {}", self.path.display()))?;
        let free = volume.f_bavail * volume.f_frsize;
        if self.leave_free > 0 && free < self.leave_free + BATCH as u64 {
            return Err(self.full(written, free));
        }
        Ok(())
    }

    fn full(&self, written: u64, free: u64) -> dbmig_wire::AgentError {
        let message = format!(
            "no room for the new file: {written} bytes of it were written, {free} bytes are free and {} were to stay so",
            self.leave_free
        );
        fail(ErrorKind::NoSpace, message)
    }

    /// Writes what is left, then the header over the start of the first page, and sets the length.
    pub(super) fn finish(self, header: &[u8]) -> Result<u64> {
        self.flush(&mut self.end())?;
        let bytes = self.pages() * self.page_size as u64;
        self.write_at(header, 0)?;
        self.file.set_len(bytes).explain(|| format!("cannot set the length of {}", self.path.display()))?;
        Ok(bytes)
    }
}

/// A chain of overflow pages that is being written, one right after the other.
pub(super) struct Chain<'o> {
    output: &'o Output,
    end: MutexGuard<'o, End>,
    /// The first page; 0 before it is written.
    pub(super) first: u32,
    before: u32,
    left: u64,
    page: Vec<u8>,
}

impl Chain<'_> {
    /// Appends a page with these bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let number = self.output.take(&mut self.end)?;
        self.left -= bytes.len() as u64;
        let next = if self.left > 0 { self.output.upcoming(&self.end) } else { 0 };
        self.page.fill(0);
        self.page[..4].copy_from_slice(&next.to_be_bytes());
        self.page[4..4 + bytes.len()].copy_from_slice(bytes);
        if self.first == 0 {
            self.first = number;
        } else {
            self.output.point(number, Role::NextOverflow, self.before)?;
        }
        self.before = number;
        self.output.add(&mut self.end, number, &self.page)
    }
}
