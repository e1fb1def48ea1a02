//! Tells where room is missing and how much of it; looks only.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dbmig_wire::{AgentError, ErrorKind};

use super::{facts, volume};
use crate::error::fail;

/// Bytes that a copy of the file takes: its holes stay holes.
pub(crate) fn data(file: &Metadata) -> u64 {
    file.size().min(facts(file).allocated_bytes)
}

/// Adds to a failure for lack of room how many bytes are free where `path` is or was to be, and how many are missing of
/// the `takes` bytes that the whole work writes there, where that is known.
pub(crate) fn lacking(error: AgentError, path: &Path, takes: Option<u64>) -> AgentError {
    if error.kind != ErrorKind::NoSpace {
        return error;
    }
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    // The first failure is the one to tell, even when nothing can be added to it.
    let Ok(volume) = volume(folder) else { return error };
    let mut message = format!("{}; {} bytes are free on the volume of {}", error.message, volume.free_bytes, folder.display());
    if let Some(missing) = takes.and_then(|takes| takes.checked_sub(volume.free_bytes)).filter(|missing| *missing > 0) {
        message += &format!(", at least {missing} bytes are missing");
    } else if volume.free_inodes == Some(0) {
        message += ", and no more files can be made there";
    }
    AgentError { details: error.details, ..fail(ErrorKind::NoSpace, message) }
}
