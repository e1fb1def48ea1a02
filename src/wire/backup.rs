//! Calls that make a second copy of a database, which stays where it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Copy an SQLite database whose writers may run: by SQLite itself, as of one moment. Written under a `.dbmig-` name, checked,
/// fsynced, read back and compared by SHA-256, then renamed to `to`, in place of what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Absolute path of the database.
    pub database: String,
    /// Absolute path of the copy.
    pub to: String,
}

/// Keep what a program writes to its stdout: under a `.dbmig-` name, fsynced, read back and compared by SHA-256, read by another
/// program as proof that it is whole, then renamed to `to`, in place of what is there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dump {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables for both programs beside those of the container. Their values may be secrets.
    pub environment: BTreeMap<String, String>,
    /// Absolute path of the file.
    pub to: String,
    /// What the last line must begin with, where the program marks its end.
    pub last_line: Option<String>,
    /// The program that must read the whole file and end well, and its arguments; the file's path comes behind them. Empty: none.
    pub check: Vec<String>,
}

impl std::fmt::Debug for Dump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dump")
            .field("command", &self.command)
            .field("environment", &self.environment.keys().collect::<Vec<_>>())
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}
