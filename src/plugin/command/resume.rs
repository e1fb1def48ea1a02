//! `resume`: goes on with an operation that stopped half-way.

use super::Context;
use super::operation::{self, Direction, Said, only_one};
use super::session::Session;
use super::start;
use crate::cli::resume::Args;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{Phase, Record};

/// Goes on with an operation; the only unfinished one when no id is given.
///
/// # Errors
/// `Refused` when it is over already; else what the engine says.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    let session = &Session::begin(ctx).await?;
    let id = args.operation.as_deref();
    let record = match id {
        Some(id) => super::history::load(session, id).await?,
        None => only_one(session, "resume", |record| !record.phase.is_over()).await?,
    };
    match record.phase {
        // Its Job may have ended since, long before it was to.
        Phase::Done if record.command == start::NAME => start::refuse_unless_cut_off(&session.cluster, &record).await?,
        _ => refuse_if_over(&record)?,
    }
    session.ui.say(&format!(
        "going on with {}: {} {}, started {} by {}",
        record.id, record.command, record.target, record.created, record.by
    ));
    if !args.yes && !session.ui.confirm(&session.stop, "Go on?").await? {
        return Err(Failure::refused("not confirmed").state("nothing was changed"));
    }
    let said = Said { database: args.database.named(), ..Said::default() };
    let report = operation::take_up(session, &record.id, Direction::Forth, said).await?;
    Ok(super::report::conclude(session, &report))
}

fn refuse_if_over(record: &Record) -> Result<()> {
    match record.phase {
        Phase::Done | Phase::Failed | Phase::Undone => {
            Err(Failure::refused(format!("operation {} is over: {}", record.id, record.phase.as_str()))
                .state("nothing was changed"))
        }
        Phase::Undoing => Err(Failure::refused(format!("operation {} is being taken back, it can't go on any more", record.id))
            .state("nothing was changed")
            .next(format!("kubectl dbmig undo {}", record.id))),
        Phase::Running | Phase::Stopped => Ok(()),
    }
}
