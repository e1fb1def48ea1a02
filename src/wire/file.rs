//! Calls about files and volumes.

use serde::{Deserialize, Serialize};

/// Look for SQLite databases below some folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Find {
    /// Absolute folders to walk; other file systems mounted below them are walked too, `/proc` and `/sys` never.
    pub roots: Vec<String>,
}

/// One database that [`Find`] saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Absolute path as the agent sees it.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Seconds since 1970 of its last change.
    pub modified: i64,
}

/// Look at paths: are they there, how large, the same file as another, on what volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// Absolute paths.
    pub paths: Vec<String>,
    /// Also compute the SHA-256 of each that is a regular file.
    pub hash: bool,
}

/// The answer to [`Stat`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatReply {
    /// One entry per asked path, in order; `None` where nothing is there.
    pub files: Vec<Option<FileFacts>>,
    /// The volume of the first path, or of its folder when the path is not there.
    pub volume: Volume,
}

/// What a file is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Length in bytes.
    pub bytes: u64,
    /// Bytes that the file system really gave it; less than `bytes` where there are holes.
    pub allocated_bytes: u64,
    /// Inode number.
    pub inode: u64,
    /// Number of names (hard links).
    pub links: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// SHA-256 in lower-case hex, when asked for.
    pub sha256: Option<String>,
}

/// A file system as `statvfs` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Size in bytes.
    pub total_bytes: u64,
    /// Bytes that this process may still write (reserved blocks not counted).
    pub free_bytes: u64,
    /// Free inodes; `None` where the file system does not count them.
    pub free_inodes: Option<u64>,
    /// Size in bytes of a block: holes must cover whole blocks.
    pub block_bytes: u64,
    /// Mounted read-only.
    pub read_only: bool,
}

/// Read small text files of a folder, migration scripts for instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Absolute folders, tried in order; the first that has a matching file counts.
    pub folders: Vec<String>,
    /// How their names must end: `.up.sql`.
    pub suffix: String,
    /// How many folders within folders are read too; hidden ones never are, nor those of packages.
    pub depth: u32,
    /// Name of the folders whose files count; those of any where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// A text file that [`Read`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextFile {
    /// Name without the folder that was asked for, with those below it.
    pub name: String,
    /// Content; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// Wait until no other helper changes a database any more: one that lost its plugin may still be at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alone {
    /// Absolute path of the database; one that is not there is fine.
    pub database: String,
}

/// Remove files that belong to an operation, and what a killed call left beside them. Only names that contain `.dbmig-` are
/// ever removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remove {
    /// Absolute paths; one that is not there is fine.
    pub paths: Vec<String>,
}

/// The answer to [`Remove`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The paths at or beside which something was there that is gone now.
    pub paths: Vec<String>,
}

/// Copy a file: written beside `to` under a `.dbmig-` name, fsynced, read back and compared by SHA-256, then renamed to `to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Absolute path of the source, which nobody writes to.
    pub from: String,
    /// Absolute path of the copy; holes of the source stay holes. Must not exist, unless `replace` is set.
    pub to: String,
    /// Replace what is at `to` (by the rename, never by truncation).
    pub replace: bool,
    /// Owner, group and mode for the copy; those of the source when absent. Extended attributes are always those of the source.
    pub like: Option<(u32, u32, u32)>,
    /// When given, the source must have this SHA-256.
    pub expect_sha256: Option<String>,
}

/// A file proven by length and digest, on durable storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hex, computed from the file after fsync.
    pub sha256: String,
}
