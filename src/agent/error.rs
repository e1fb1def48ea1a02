//! Turns the errors of SQLite and of the operating system into the kinds that the plugin tells apart; words nothing else.

use std::io;

use dbmig_wire::{AgentError, ErrorKind};
use rusqlite::ErrorCode;

/// Shorthand for everything fallible in the agent.
pub type Result<T, E = AgentError> = std::result::Result<T, E>;

/// A failure of the given kind.
pub fn fail(kind: ErrorKind, message: impl Into<String>) -> AgentError {
    AgentError { kind, message: message.into(), details: Vec::new() }
}

/// Says what was being done when a library failed.
pub trait Explain<T> {
    /// `doing` is the start of the sentence: `cannot open /db/app.sqlite`.
    ///
    /// # Errors
    /// The library's failure, with its kind.
    fn explain(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Explain<T> for io::Result<T> {
    fn explain(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| fail(io_kind(&error), format!("{}: {}", doing(), io_reason(&error))))
    }
}

impl<T> Explain<T> for rusqlite::Result<T> {
    fn explain(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| fail(sqlite_kind(&error), format!("{}: {}", doing(), sqlite_reason(&error))))
    }
}

impl<T> Explain<T> for rustix::io::Result<T> {
    fn explain(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(io::Error::from).explain(doing)
    }
}

fn io_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Permission,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    }
}

fn io_reason(error: &io::Error) -> String {
    let text = error.to_string().to_lowercase();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

fn sqlite_kind(error: &rusqlite::Error) -> ErrorKind {
    let Some(code) = error.sqlite_error_code() else {
        return ErrorKind::BadRequest;
    };
    match code {
        ErrorCode::DiskFull => ErrorKind::NoSpace,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => ErrorKind::Busy,
        ErrorCode::DatabaseCorrupt => ErrorKind::Corrupt,
        ErrorCode::NotADatabase => ErrorKind::NotSqlite,
        ErrorCode::PermissionDenied | ErrorCode::ReadOnly => ErrorKind::Permission,
        ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory => ErrorKind::Other,
        _ => ErrorKind::BadRequest,
    }
}

/// SQLite's own sentence, without what the library around it adds.
pub fn sqlite_reason(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, message) => message.clone().unwrap_or_else(|| code.to_string().to_lowercase()),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        rusqlite::Error::MultipleStatement => "there is more than one statement".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}
