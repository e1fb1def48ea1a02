//! Calls about SQLite databases.

use serde::{Deserialize, Serialize};

use crate::{FileFacts, Volume};

/// Look at a database without changing it.
///
/// Reads under SQLite's own locks while writers may run. Fails with `Unsettled` only if not even the header can be
/// read; a hot journal alone leaves [`Facts::content`] empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspect {
    /// Absolute path.
    pub database: String,
    /// Run `integrity_check` on the whole file (slow: as long as reading it).
    pub full_check: bool,
    /// Writers are stopped: open it as an unchanging file, take no locks.
    pub quiescent: bool,
}

/// The answer to [`Inspect`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The main file.
    pub file: FileFacts,
    /// Its volume.
    pub volume: Volume,
    /// `-journal`, `-wal` and `-shm` beside it, with their lengths in bytes, and whether they hold something that SQLite must still settle.
    pub side_files: Vec<SideFile>,
    /// From the header.
    pub header: Header,
    /// The content, where it can be read now.
    pub content: Option<Content>,
    /// Why `content` is absent.
    pub unreadable: Option<String>,
    /// The database lets holes be punched: file system and page size allow it.
    pub can_punch: bool,
}

/// A file that belongs to a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideFile {
    /// Absolute path.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// A hot rollback journal, or a WAL with frames that are not in the database yet.
    pub hot: bool,
}

/// Properties that a rebuild must keep. Names as in SQLite's PRAGMAs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Bytes per page.
    pub page_size: u32,
    /// Pages in the file.
    pub page_count: u64,
    /// Free-list pages, trunk pages included.
    pub free_pages: u64,
    /// `delete` (any rollback mode) or `wal`.
    pub journal_mode: String,
    /// 0 none, 1 full, 2 incremental.
    pub auto_vacuum: u32,
    /// `UTF-8`, `UTF-16le` or `UTF-16be`.
    pub encoding: String,
    /// PRAGMA user_version.
    pub user_version: i32,
    /// PRAGMA application_id.
    pub application_id: i32,
}

/// What is in a database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// Every row of `sqlite_schema`, in its order.
    pub schema: Vec<SchemaObject>,
    /// Rows of every table that has a b-tree (shadow tables of virtual ones included).
    pub tables: Vec<TableRows>,
    /// Bytes in free-list leaf pages: what punching can give back.
    pub free_leaf_bytes: u64,
    /// Bytes of those that are holes already.
    pub hole_bytes: u64,
    /// What SQLite as bundled cannot rebuild, each named: `collation NATURAL (index i on t)`.
    pub obstacles: Vec<String>,
    /// Indexes whose number of entries differs from their table's, and whatever else reading showed. Empty: no damage seen.
    pub damage: Vec<String>,
}

/// A row of `sqlite_schema`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaObject {
    /// `table`, `index`, `view` or `trigger`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Table it belongs to.
    pub table: String,
    /// SQL text; none for automatic indexes.
    pub sql: Option<String>,
}

/// Rows of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRows {
    /// Name.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
}

/// Read a few rows. Only a single read-only statement is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Absolute path.
    pub database: String,
    /// One `SELECT` or `PRAGMA` that reads.
    pub sql: String,
    /// More rows than this are an error.
    pub most: u32,
}

/// Change rows of a database in one transaction, under SQLite's own locks, whoever else uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alter {
    /// Absolute path.
    pub database: String,
    /// All of them, or nothing.
    pub changes: Vec<Change>,
}

/// Which rows of a table stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case")]
pub enum Rule {
    /// Rows for which an SQL condition of the user is true.
    Where {
        /// Table.
        table: String,
        /// SQL expression over its columns.
        condition: String,
        /// Keeping no row at all is meant.
        allow_empty: bool,
    },
    /// A row of a fine-grained series goes only when it is older than a limit **and** its own slot of the same keys has been summed up.
    SummedUp {
        /// Table that rows are dropped from.
        fine: String,
        /// Table that holds the sums.
        coarse: String,
        /// Column with the time in seconds, the same name in both tables.
        time: String,
        /// Length in seconds of a slot: the sum's time is `time - time % slot`.
        slot: i64,
        /// Columns that must be equal in both.
        keys: Vec<String>,
        /// Rows at or after this time (seconds since 1970) stay. Rows whose time is not an integer stay too.
        older_than: i64,
    },
}

impl Rule {
    /// The table that this rule drops rows from.
    #[must_use]
    pub fn table(&self) -> &str {
        match self {
            Self::Where { table, .. } => table,
            Self::SummedUp { fine, .. } => fine,
        }
    }
}

/// Count what rules would keep, and estimate the size of the rebuilt file. Changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// Absolute path.
    pub database: String,
    /// At most one rule per table; a table without a rule is kept whole.
    pub rules: Vec<Rule>,
    /// As in [`Inspect`].
    pub quiescent: bool,
}

/// The answer to [`Measure`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// Every table with a b-tree.
    pub tables: Vec<KeptRows>,
    /// Bytes that the rebuilt file will take, an estimate on the safe side.
    pub expected_bytes: u64,
}

/// Rows of a table, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRows {
    /// Table.
    pub name: String,
    /// Rows now.
    pub rows: u64,
    /// Rows that stay.
    pub kept: u64,
}

/// Apply migration files, in their order, to an empty database in memory and tell the schema after each one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// SQL scripts, oldest first.
    pub scripts: Vec<String>,
}

/// The schema after one script of [`Replay`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayedSchema {
    /// Schema afterwards.
    pub schema: Vec<SchemaObject>,
    /// The script failed with this error; later scripts were not applied.
    pub error: Option<String>,
}

/// Let SQLite itself roll back a hot journal, or merge a WAL and truncate it. Writers must be stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settle {
    /// Absolute path.
    pub database: String,
}

/// The answer to [`Settle`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// A hot journal was rolled back.
    pub rolled_back: bool,
    /// Frames of a WAL were merged.
    pub checkpointed: bool,
}

/// Give the blocks of free-list leaf pages back to the file system, in bounded batches, each under SQLite's write lock.
///
/// Safe while the application runs. The file stays a valid database at every instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Punch {
    /// Absolute path.
    pub database: String,
    /// Milliseconds that one batch may hold the lock.
    pub batch_ms: u64,
    /// Milliseconds to wait for the lock.
    pub wait_ms: u64,
}

/// The answer to [`Punch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Punched {
    /// Free-list leaf pages covered.
    pub pages: u64,
    /// Holes made (adjoining pages make one).
    pub holes: u64,
    /// Bytes by which the file's blocks shrank.
    pub freed_bytes: u64,
    /// Longest time in milliseconds that the write lock was held.
    pub longest_lock_ms: u64,
}

/// Build a new database out of the rows to keep. Writers must be stopped and the database settled. A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuild {
    /// Absolute path of the old file, which is only read.
    pub database: String,
    /// Absolute path of the new file. A left-over of the same name is removed first; its name must contain `.dbmig-`.
    pub target: String,
    /// As in [`Measure`].
    pub rules: Vec<Rule>,
    /// Folder for SQLite's temporary files.
    pub temp: String,
    /// Run in one transaction on the new file before it is finished: a framework's repair.
    pub afterwards: Vec<Change>,
    /// Stop when fewer bytes than this would stay free on the target's volume.
    pub leave_free_bytes: u64,
}

/// An SQL statement that must change a known number of rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// One `INSERT`, `UPDATE` or `DELETE`.
    pub sql: String,
    /// Rows it must find to change; with another number nothing is changed at all (`Changed`).
    pub rows: u64,
}

/// The answer to [`Rebuild`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuilt {
    /// Rows per table.
    pub tables: Vec<KeptRows>,
    /// Length of the new file in bytes.
    pub bytes: u64,
    /// Milliseconds it took.
    pub elapsed_ms: u64,
}

/// Prove a rebuilt file: `integrity_check`, foreign keys, rows per table against the old file and rules, equal schema and header. A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Absolute path of the old file.
    pub database: String,
    /// Absolute path of the new file.
    pub target: String,
    /// As given to [`Rebuild`].
    pub rules: Vec<Rule>,
    /// As given to [`Rebuild`]: they explain why a bookkeeping table may differ.
    pub afterwards: Vec<Change>,
    /// What [`Rebuild`] said it kept.
    pub tables: Vec<KeptRows>,
}

/// Put a proven new file in the old one's place by rename, on the same file system. The last, visible step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// Absolute path of the database.
    pub database: String,
    /// The proven new file; gets the old one's owner, group, mode and extended attributes (ACLs among them).
    pub new: String,
    /// Hard link that keeps the old file; `None` when it is kept elsewhere or not at all.
    pub old: Option<String>,
    /// Length and digest that `new` must have.
    pub expect_bytes: u64,
    /// SHA-256 that `new` must have.
    pub expect_sha256: String,
    /// Inode that the database must still have: nobody replaced it since the rebuild.
    pub expect_inode: u64,
}

/// The answer to [`Swap`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swapped {
    /// Inode of the database now.
    pub inode: u64,
    /// It had been swapped already by an earlier call that was cut off.
    pub already: bool,
}

/// Put a proven new file that lies on another volume in the old one's place, where there is no room for both. A job.
///
/// The old file goes only after the new one has been read back and proven where it is; from then until the end the
/// proven file on the other volume is the complete copy, and the call can be repeated. Never truncates anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replace {
    /// Absolute path of the database.
    pub database: String,
    /// The proven new file, on another file system. It stays.
    pub from: String,
    /// Where the copy is written beside the database; its name must contain `.dbmig-`.
    pub beside: String,
    /// SHA-256 that `from` must have.
    pub expect_sha256: String,
    /// Inode that the database must still have, if it is there: nobody replaced it since the rebuild.
    pub expect_inode: u64,
    /// Owner, group and mode for the new file, as the old one had them. Extended attributes go by way of `from`.
    pub like: (u32, u32, u32),
}

/// Which rows of a database another one does not have, both settled and unused. A job. Changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// Absolute path of the file from before.
    pub old: String,
    /// Absolute path of the file that was in use since.
    pub new: String,
}

/// Put the old file back in the new one's place. Writers must be stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// Absolute path of the database.
    pub database: String,
    /// Where the old file is kept, on the same file system.
    pub old: String,
    /// Where the file that is taken out goes, so that nothing written since is lost.
    pub set_aside: String,
}

/// The answer to [`Restore`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Tables that hold rows which the old file does not have: written since the swap.
    pub written_since: Vec<TableRows>,
    /// It had been restored already.
    pub already: bool,
}
