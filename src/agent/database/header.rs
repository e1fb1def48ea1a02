//! The first 100 bytes of a database file, and what a file is that has none. Reads only.
//!
//! Source: <https://www.sqlite.org/fileformat2.html>, "The Database Header".

use std::fs::File;
use std::os::unix::fs::FileExt;

use dbmig_wire::{ErrorKind, Header};

use crate::error::{Explain, Result, fail};

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 100;
/// Where the header says how a file is written: 2 means WAL.
pub(super) const WRITE_VERSION: usize = 18;
/// The byte offset that SQLite keeps for locks; the page around it is never used.
pub(super) const LOCK_BYTE: u64 = 1 << 30;

/// The header as it is in the file.
#[derive(Clone)]
pub(super) struct RawHeader {
    /// The bytes.
    pub(super) bytes: [u8; HEADER_BYTES],
    /// Bytes per page.
    pub(super) page_size: u32,
    /// Pages that belong to the database.
    pub(super) pages: u64,
    /// Length of the file.
    length: u64,
}

impl RawHeader {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// `NotSqlite` for an empty or foreign file, `Encrypted` for one that looks like noise, `Corrupt` for impossible values.
    pub(super) fn read(file: &File, path: &str) -> Result<Self> {
        let length = file.metadata().explain(|| format!("cannot look at {path}"))?.len();
        if length == 0 {
            return Err(fail(ErrorKind::NotSqlite, format!("{path} is empty (0 bytes), so it is no SQLite database yet")));
        }
        let mut start = vec![0; usize::try_from(length.min(4096)).unwrap_or(4096)];
        file.read_exact_at(&mut start, 0).explain(|| format!("cannot read {path}"))?;
        if !start.starts_with(b"SQLite format 3\0") {
            return Err(foreign(path, &start, length));
        }
        let Some(bytes) = start.first_chunk::<HEADER_BYTES>().copied() else {
            return Err(fail(ErrorKind::Corrupt, format!("{path} ends after {length} bytes, within the header of 100 bytes")));
        };
        Self::parse(bytes, length).ok_or_else(|| {
            fail(
                ErrorKind::Corrupt,
                format!("the header of {path} holds impossible values, so the file is damaged or encrypted in part"),
            )
        })
    }

    fn parse(bytes: [u8; HEADER_BYTES], length: u64) -> Option<Self> {
        let page_size = match u16::from_be_bytes([bytes[16], bytes[17]]) {
            1 => 65536,
            size if size >= 512 && size.is_power_of_two() => u32::from(size),
            _ => return None,
        };
        let plausible =
            page_size - u32::from(bytes[20]) >= 480 && bytes[21..24] == [64, 32, 32] && bytes[18] <= 2 && bytes[19] <= 2;
        if !plausible {
            return None;
        }
        let mut header = Self { bytes, page_size, pages: length / u64::from(page_size), length };
        let counted = u64::from(header.word(28));
        if counted != 0 && header.word(24) == header.word(92) {
            header.pages = counted;
        }
        Some(header)
    }

    /// Refuses a file that is shorter than its header says.
    pub(super) fn complete(&self, path: &str) -> Result<()> {
        let needed = self.pages * u64::from(self.page_size);
        if self.length >= needed && self.pages > 0 {
            return Ok(());
        }
        let (pages, size, length) = (self.pages.max(1), self.page_size, self.length);
        Err(fail(
            ErrorKind::Corrupt,
            format!("{path} is cut short: its header tells of {pages} pages of {size} bytes, the file ends after {length} bytes"),
        ))
    }

    /// The big-endian number at `at`.
    pub(super) fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]])
    }

    /// Bytes of a page that hold content: some extensions reserve a few at the end of each page.
    pub(super) fn usable(&self) -> usize {
        self.page_size as usize - usize::from(self.bytes[20])
    }

    /// Pages carry pointer maps.
    pub(super) fn auto_vacuum(&self) -> bool {
        self.word(52) != 0
    }

    /// The file is in WAL mode.
    pub(super) fn wal(&self) -> bool {
        self.bytes[WRITE_VERSION] == 2
    }

    /// As the wire tells it.
    pub(super) fn facts(&self) -> Header {
        let auto_vacuum = match (self.word(52), self.word(64)) {
            (0, _) => 0,
            (_, 0) => 1,
            _ => 2,
        };
        let encoding = match self.word(56) {
            2 => "UTF-16le",
            3 => "UTF-16be",
            _ => "UTF-8",
        };
        Header {
            page_size: self.page_size,
            page_count: self.pages,
            free_pages: u64::from(self.word(36)),
            journal_mode: if self.wal() { "wal" } else { "delete" }.to_owned(),
            auto_vacuum,
            encoding: encoding.to_owned(),
            user_version: self.word(60) as i32,
            application_id: self.word(68) as i32,
        }
    }
}

/// Tells an encrypted database from any other file: whole pages of bytes that are as good as random.
fn foreign(path: &str, start: &[u8], length: u64) -> dbmig_wire::AgentError {
    if length.is_multiple_of(512) && start.len() >= 512 && looks_random(start) {
        let message = format!(
            "{path} carries no SQLite header, and its {length} bytes look encrypted: decrypt it with the application's key first"
        );
        return fail(ErrorKind::Encrypted, message);
    }
    fail(ErrorKind::NotSqlite, format!("{path} is no SQLite database: its {length} bytes do not start with SQLite's header"))
}

/// In random bytes each value is as frequent as any other: the chi-squared sum over 256 values stays near 255 (below 400 for
/// all but one file in a hundred million); text, archives' headers and zeros are far above.
fn looks_random(bytes: &[u8]) -> bool {
    let mut counts = [0u32; 256];
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
    }
    let expected = bytes.len() as f64 / 256.0;
    let sum: f64 = counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
    sum < 400.0
}
