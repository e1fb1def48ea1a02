//! `vacuum --punch`: first aid for a full disk while the application keeps running. Only unused pages are given back.

use dbmig_wire::{Inspect, Punch};

use super::Options;
use super::look::{self, Place};
use crate::command::session::Session;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::ui::human::bytes as size;

/// The write lock is held for at most about this long at a time, in milliseconds.
const BATCH_MS: u64 = 50;
/// How long to wait for a writer that is in the middle of something, in milliseconds.
const WAIT_MS: u64 = 10_000;

/// Looks, shows, asks, punches. One call of the agent that can be cut off anywhere: the file is a valid database at every instant.
pub(super) async fn run(session: &Session, options: &Options, place: &Place) -> Result<Exit> {
    let spec = look::file(session, options, place).await?;
    let call = Inspect { database: spec.path.clone(), full_check: false, quiescent: false };
    let facts = place
        .seat
        .agent
        .ask(call, None)
        .await
        .map_err(|error| error.into_failure(&format!("read {}", spec.shown)).state("nothing was changed"))?;
    let Some(content) = &facts.content else {
        let why = facts.unreadable.unwrap_or_default();
        return Err(Failure::refused(format!("{} can't be read now: {why}", spec.shown))
            .state("nothing was changed")
            .next(format!("kubectl dbmig vacuum {}     # stops the writers first", place.target)));
    };
    let bytes = content.free_leaf_bytes.saturating_sub(content.hole_bytes);
    if bytes == 0 {
        session.ui.say(&format!("{} has no unused pages to give back", spec.shown));
        return Ok(Exit::Done);
    }
    if !facts.can_punch {
        return Err(Failure::refused(format!("the file system of {} can't give single pages back", spec.shown))
            .state("nothing was changed"));
    }
    session.ui.say(&format!(
        "{}: {} of {} are unused pages that can be given back; every row stays",
        spec.shown,
        size(bytes),
        size(facts.file.allocated_bytes)
    ));
    if options.dry_run {
        return Ok(Exit::Done);
    }
    if !options.yes && !session.ui.confirm(&session.stop, "Give them back? The application keeps running.").await? {
        return Err(Failure::refused("not confirmed").state("nothing was changed"));
    }
    let call = Punch { database: spec.path, batch_ms: BATCH_MS, wait_ms: WAIT_MS };
    let punched = place.seat.agent.ask(call, None).await.map_err(|error| {
        error
            .into_failure(&format!("give unused pages of {} back", spec.shown))
            .state("the database is valid and complete; some pages may have been given back")
    })?;
    session.ui.say(&format!(
        "{} given back in {} holes; the write lock was held for at most {} ms at a time",
        size(punched.freed_bytes),
        punched.holes,
        punched.longest_lock_ms
    ));
    Ok(Exit::Done)
}
