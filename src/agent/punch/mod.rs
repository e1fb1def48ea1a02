//! First aid for a full disk: the blocks of free-list leaf pages go back to the file system while the application
//! runs. Only under SQLite's own write lock, and never over a page that holds anything.

mod freelist;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use dbmig_wire::{AgentError, ErrorKind, Progress, Punch, Punched, Unit};
use freelist::FreeList;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::beside::{has_journal, has_writer, length, with_suffix};
use crate::die;
use crate::error::{Explain, Result, fail};
use crate::file::volume;
use crate::report::Report;

/// How long to wait before a lock is asked for again.
const RETRY: Duration = Duration::from_millis(10);

/// Looks at a journal that no writer holds before it counts as hot: between two looks a commit may have removed it.
const HOT_LOOKS: u32 = 5;

/// Bytes of one hole at most, so that a batch can end in time.
const LONGEST_HOLE: u64 = 32 << 20;

/// Answers [`Punch`]. A batch that finds the list changed since the last one goes by what it finds.
///
/// # Errors
/// `Busy` when the lock cannot be had in time, `Unsettled` with a hot journal, `Unsupported` where holes cannot be
/// made, `Corrupt` when the free list is not sound. Whatever was punched before holds; the database is whole.
pub fn punch(call: &Punch, report: &dyn Report) -> Result<Punched> {
    let path = Path::new(&call.database);
    if !path.is_absolute() {
        return Err(fail(ErrorKind::BadRequest, format!("{} is not an absolute path", call.database)));
    }
    let mut work = Work::open(call, path, report)?;
    while work.batch()? {
        report.check()?;
        // Other writers, which poll for the lock, get their turn.
        thread::sleep(RETRY);
    }
    // Without this some file systems give the blocks back only seconds later.
    work.file.sync_all().explain(|| format!("cannot sync {}", call.database))?;
    Ok(work.punched)
}

/// Closing any descriptor of a file drops all POSIX locks that the process has on it, SQLite's too. So `file` is
/// opened before the connection and, as the later field, closed after it.
struct Work<'a> {
    connection: Connection,
    file: File,
    call: &'a Punch,
    path: &'a Path,
    report: &'a dyn Report,
    block: u64,
    /// Everything before this byte has been seen to; a multiple of `block`.
    cursor: u64,
    punched: Punched,
}

/// What one hold of the lock came to.
enum Held {
    /// A lock or an unmerged WAL stood in the way.
    InTheWay,
    /// There may be more to do.
    More,
    /// The end of the list was reached.
    End,
}

impl<'a> Work<'a> {
    fn open(call: &'a Punch, path: &'a Path, report: &'a dyn Report) -> Result<Self> {
        let doing = || format!("cannot open {}", call.database);
        let file = OpenOptions::new().read(true).write(true).open(path).explain(doing)?;
        // Says what is no database before SQLite sees the file.
        freelist::is_wal(&file)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).explain(doing)?;
        connection.busy_timeout(Duration::ZERO).explain(doing)?;
        let block = volume(path)?.block_bytes.max(512);
        let punched = Punched { pages: 0, holes: 0, freed_bytes: 0, longest_lock_ms: 0 };
        Ok(Self { connection, file, call, path, report, block, cursor: 0, punched })
    }

    /// Waits for the lock and works under it once. Whether there may be more to do.
    fn batch(&mut self) -> Result<bool> {
        let begun = Instant::now();
        let mut hot = 0;
        loop {
            self.report.check()?;
            if has_journal(self.path)? && !has_writer(&self.file)? {
                hot += 1;
                if hot >= HOT_LOOKS {
                    return Err(self.refuse(ErrorKind::Unsettled, "has a hot journal, which SQLite must roll back first"));
                }
            } else {
                hot = 0;
                match self.under_lock()? {
                    Held::InTheWay => {}
                    Held::More => return Ok(true),
                    Held::End => return Ok(false),
                }
            }
            if begun.elapsed() >= Duration::from_millis(self.call.wait_ms) {
                let why = format!("was locked by another process for {} ms, or its WAL was in use", self.call.wait_ms);
                return Err(self.refuse(ErrorKind::Busy, &why));
            }
            thread::sleep(RETRY);
        }
    }

    fn refuse(&self, kind: ErrorKind, why: &str) -> AgentError {
        let so_far = match self.punched.holes {
            0 => "nothing was done".to_owned(),
            holes => format!("{holes} holes made before stay, the database is whole"),
        };
        fail(kind, format!("{} {why}; {so_far}", self.call.database))
    }

    fn under_lock(&mut self) -> Result<Held> {
        let wal = freelist::is_wal(&self.file)?;
        if wal && !self.merge_wal()? {
            return Ok(Held::InTheWay);
        }
        if !self.execute("BEGIN IMMEDIATE")? {
            return Ok(Held::InTheWay);
        }
        let begun = Instant::now();
        let held = self.locked(begun);
        let ended = self.connection.execute_batch("ROLLBACK").explain(|| "cannot give the lock back".to_owned());
        let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.punched.longest_lock_ms = self.punched.longest_lock_ms.max(ms);
        let held = held?;
        ended?;
        Ok(held)
    }

    /// False when another process is in the way.
    fn execute(&self, sql: &str) -> Result<bool> {
        match self.connection.execute_batch(sql) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => {
                Ok(false)
            }
            Err(error) => Err(error).explain(|| format!("cannot lock {}", self.call.database)),
        }
    }

    /// A checkpoint that also waits out every reader of the WAL: until then a reader of an older state may still
    /// fetch from the file what is free by now.
    fn merge_wal(&self) -> Result<bool> {
        let busy: Result<i64, _> = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        match busy {
            Ok(busy) => Ok(busy == 0),
            Err(error) if matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => {
                Ok(false)
            }
            Err(error) => Err(error).explain(|| format!("cannot merge the WAL of {}", self.call.database)),
        }
    }

    fn locked(&mut self, begun: Instant) -> Result<Held> {
        // Nobody writes now. If somebody did since the checkpoint, the file is not all of the truth.
        if length(&with_suffix(self.path, "-wal"))? > 0 {
            return Ok(Held::InTheWay);
        }
        let list = freelist::read(&self.file)?;
        let before = self.allocated()?;
        let held = self.punch_list(&list, begun);
        die::point("punch:held");
        self.punched.freed_bytes += before.saturating_sub(self.allocated()?);
        held
    }

    fn allocated(&self) -> Result<u64> {
        let metadata = self.file.metadata().explain(|| format!("cannot look at {}", self.call.database))?;
        Ok(metadata.blocks() * 512)
    }

    fn punch_list(&mut self, list: &FreeList, begun: Instant) -> Result<Held> {
        let limit = Duration::from_millis(self.call.batch_ms);
        for (from, to) in runs(list, self.block) {
            let mut at = from.max(self.cursor);
            // A run that an earlier batch began is counted.
            if at == from {
                self.punched.holes += 1;
            }
            while at < to {
                let bytes = (to - at).min(LONGEST_HOLE);
                self.hole(at, bytes)?;
                at += bytes;
                self.cursor = at;
                self.punched.pages += bytes / list.page_size;
                if begun.elapsed() >= limit {
                    return Ok(Held::More);
                }
            }
        }
        let phase = format!("punching {}", self.call.database);
        let (done, total) = (self.punched.pages, self.punched.pages);
        self.report.progress(Progress { phase, done, total, unit: Unit::Pages });
        Ok(Held::End)
    }

    fn hole(&self, at: u64, bytes: u64) -> Result<()> {
        match fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, bytes) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                Err(self.refuse(ErrorKind::Unsupported, "is on a file system that cannot make holes"))
            }
            Err(error) => Err(error).explain(|| format!("cannot make a hole at byte {at} of {}", self.call.database)),
        }
    }
}

/// Byte ranges of adjoining leaf pages, cut down to whole blocks.
fn runs(list: &FreeList, block: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
    list.leaves.chunk_by(|page, next| *next == *page + 1).filter_map(move |run| {
        let (first, last) = (run.first()?, run.last()?);
        let from = (u64::from(*first) - 1) * list.page_size;
        let to = u64::from(*last) * list.page_size;
        let (from, to) = (from.next_multiple_of(block), to / block * block);
        (from < to).then_some((from, to))
    })
}
