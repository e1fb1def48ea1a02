//! From standby to primary, without a server. Ends in the same state wherever an earlier call was cut off.
//!
//! Without its `standby.signal` a server would go on on the timeline of the primary that it followed, as if it were that one.
//! With `recovery.signal`, and nothing to be had from an archive, it replays what it has and begins a timeline of its own.

use std::path::Path;

use dbmig_wire::{ClusterRole, ControlState, DataDirectory, ErrorKind, MakePrimary};

use super::kept::{Kept, Note, remove};
use super::{AUTO_CONF, BACKUP_LABEL, PID_FILE, RECOVERY_CONF, RECOVERY_SIGNAL, SIGNAL_FILES, STANDBY_SIGNAL};
use super::{content, is_there, look_at, must_be_at_rest, newest_history, settings, settings_name};
use crate::die;
use crate::error::{Result, fail};
use crate::report::Report;

/// Answers [`MakePrimary`].
///
/// # Errors
/// `Changed` when the directory is not what was expected, `Busy` when a server is seen to run on it; nothing was done then.
/// Until the last step, which is one of the file system, it is a standby's.
pub fn make_primary(call: &MakePrimary, report: &dyn Report) -> Result<DataDirectory> {
    report.check()?;
    let directory = Path::new(&call.path);
    let facts = look_at(directory)?;
    let kept = Kept::new(directory, &call.operation, &facts, report)?;
    let changed = |why: String| Err(fail(ErrorKind::Changed, format!("{} {why}; nothing was done", call.path)));
    let seen = &facts.control;
    if seen.system_identifier != call.system_identifier {
        return changed(format!("has the system identifier {}, expected was {}", seen.system_identifier, call.system_identifier));
    }
    let note = kept.note()?;
    if facts.role != ClusterRole::Standby {
        return match note {
            Some(note) if is_done(directory, &facts, &note)? => Ok(facts),
            Some(_) => changed("is no standby's any more, but this operation did not get so far".to_owned()),
            None => changed("is no standby's, and not made a primary's by this operation".to_owned()),
        };
    }
    must_be_at_rest(directory)?;
    let state = seen.state;
    if state == ControlState::ArchiveRecovery && call.must_be_clean {
        return changed(format!("is {state}: its server runs, or was ended without being shut down in order"));
    }
    if !matches!(state, ControlState::ShutDownInRecovery | ControlState::ArchiveRecovery) {
        return changed(format!("is {state}: no standby left it so"));
    }
    if is_there(&directory.join(BACKUP_LABEL))? {
        return changed("is a base backup that no server has begun on".to_owned());
    }
    keep(directory, &kept, facts.major, note.as_ref())?;
    if remove(&directory.join(PID_FILE))? {
        report.note(&format!("removed the {PID_FILE} that a server left in {}", call.path));
    }
    die::point("primary:4");
    switch(directory, &kept, facts.major)?;
    look_at(directory)
}

/// Whether this operation did it: recovery waits to end, or has ended since.
fn is_done(directory: &Path, facts: &DataDirectory, note: &Note) -> Result<bool> {
    Ok(match facts.role {
        ClusterRole::Recovering => is_rewritten(directory, facts.major)?,
        ClusterRole::Primary => facts.control.timeline.max(newest_history(directory)?) > note.control.timeline.max(note.history),
        ClusterRole::Standby => false,
    })
}

/// Whether the settings are those that a primary is made with.
fn is_rewritten(directory: &Path, major: u32) -> Result<bool> {
    let there = content(&directory.join(settings_name(major)))?.unwrap_or_default();
    Ok(there == if major < SIGNAL_FILES { settings::RECOVERY_CONF.to_vec() } else { settings::for_primary(&there) })
}

/// Keeps what will go. A call that was cut off may have begun to replace it: then what it kept stays.
fn keep(directory: &Path, kept: &Kept<'_>, major: u32, note: Option<&Note>) -> Result<()> {
    if note.is_none() {
        kept.make()?;
        die::point("primary:1");
        kept.names().iter().try_for_each(|name| kept.keep(name))?;
    } else if !is_rewritten(directory, major)? {
        // A server may have run on it as a standby since.
        kept.keep(settings_name(major))?;
    }
    die::point("primary:2");
    kept.write_note()?;
    die::point("primary:3");
    Ok(())
}

/// Each step alone leaves a standby, one that follows nobody from the settings on; the last makes the primary.
fn switch(directory: &Path, kept: &Kept<'_>, major: u32) -> Result<()> {
    if major < SIGNAL_FILES {
        return kept.write(&directory.join(RECOVERY_CONF), settings::RECOVERY_CONF);
    }
    // Of no effect beside the other one.
    kept.write(&directory.join(RECOVERY_SIGNAL), b"")?;
    die::point("primary:5");
    let path = directory.join(AUTO_CONF);
    let there = content(&path)?.unwrap_or_default();
    kept.write(&path, &settings::for_primary(&there))?;
    die::point("primary:6");
    remove(&directory.join(STANDBY_SIGNAL))?;
    die::point("primary:7");
    Ok(())
}
