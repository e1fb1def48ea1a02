//! Back to the standby that it was, as long as no server has ended recovery on it. Ends in the same state wherever an earlier
//! call was cut off.

use std::path::Path;

use dbmig_wire::{ClusterRole, ControlState, DataDirectory, ErrorKind, ForgetStandby, MakeStandby};

use super::kept::{Kept, Note};
use super::{look_at, must_be_at_rest, newest_history};
use crate::die;
use crate::error::{Result, fail};
use crate::report::Report;

/// Answers [`MakeStandby`].
///
/// # Errors
/// `Changed` when a server has ended recovery on it, or when this operation never made it a primary's; `Busy` when a server is
/// seen to run on it. Nothing was done then.
pub fn make_standby(call: &MakeStandby, report: &dyn Report) -> Result<DataDirectory> {
    report.check()?;
    let directory = Path::new(&call.path);
    let facts = look_at(directory)?;
    let kept = Kept::new(directory, &call.operation, &facts, report)?;
    let changed = |why: String| Err(fail(ErrorKind::Changed, format!("{} {why}; nothing was done", call.path)));
    match kept.note()? {
        Some(note) => {
            if let Some(why) = diverged(directory, &facts, &note)? {
                return changed(why);
            }
            must_be_at_rest(directory)?;
            for (number, name) in kept.names().iter().enumerate() {
                kept.put_back(name)?;
                die::point(["standby:1", "standby:2", "standby:3"][number]);
            }
        }
        None if facts.role == ClusterRole::Standby => {}
        None => return changed("is no standby's, and nothing of this operation is kept in it".to_owned()),
    }
    kept.remove()?;
    die::point("standby:5");
    look_at(directory)
}

/// Answers [`ForgetStandby`].
///
/// # Errors
/// `Changed` while it can still be the standby that it was; nothing was removed then.
pub fn forget_standby(call: &ForgetStandby, report: &dyn Report) -> Result<DataDirectory> {
    report.check()?;
    let directory = Path::new(&call.path);
    let facts = look_at(directory)?;
    if facts.role != ClusterRole::Primary {
        return Err(fail(
            ErrorKind::Changed,
            format!("no server has ended recovery on {} yet; what is kept in it was left there", call.path),
        ));
    }
    Kept::new(directory, &call.operation, &facts, report)?.remove()?;
    Ok(facts)
}

/// Why a server on it could not follow the old primary any more. One that was ended before it had replayed everything has
/// written nothing of its own.
fn diverged(directory: &Path, facts: &DataDirectory, note: &Note) -> Result<Option<String>> {
    let (seen, then) = (&facts.control, &note.control);
    if seen.system_identifier != then.system_identifier {
        let (seen, then) = (&seen.system_identifier, &then.system_identifier);
        return Ok(Some(format!("has the system identifier {seen}, and had {then} when it was made a primary's")));
    }
    let timeline = seen.timeline.max(newest_history(directory)?);
    if timeline > then.timeline.max(note.history) {
        let then = then.timeline;
        return Ok(Some(format!(
            "is on timeline {timeline}, and was on {then} when it was made a primary's: a server ran on it"
        )));
    }
    // A server removes what made it recover before it writes anything.
    if facts.role == ClusterRole::Primary
        || !matches!(seen.state, ControlState::ShutDownInRecovery | ControlState::ArchiveRecovery)
    {
        let (seen, then) = (seen.state, then.state);
        return Ok(Some(format!("is {seen}, and was {then} when it was made a primary's: a server ran on it")));
    }
    Ok(None)
}
