//! `undo`: takes an operation back.

use super::Context;
use super::operation::{self, Direction, Said, only_one};
use super::session::Session;
use crate::cli::undo::Args;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{Phase, StepState};

/// Takes an operation back; the only unfinished one when no id is given.
///
/// # Errors
/// `Refused` when it was taken back already, or can't be; else what the engine says.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    let session = &Session::begin(ctx).await?;
    let (id, yes) = (args.operation.as_deref(), args.yes);
    let record = match id {
        Some(id) => super::history::load(session, id).await?,
        None => only_one(session, "undo", |record| !record.phase.is_over()).await?,
    };
    if record.phase == Phase::Undone {
        return Err(Failure::refused(format!("operation {} was taken back already", record.id)).state("nothing was changed"));
    }
    session.ui.say(&format!(
        "taking back {}: {} {}, started {} by {}",
        record.id, record.command, record.target, record.created, record.by
    ));
    let begun = record.steps.iter().rev().filter(|step| matches!(step.state, StepState::Started | StepState::Done));
    for step in begun {
        session.ui.say(&format!("  take back: {}", step.title));
    }
    if !yes && !session.ui.confirm(&session.stop, "Take it back?").await? {
        return Err(Failure::refused("not confirmed").state("nothing was changed"));
    }
    let said = Said { database: args.database.named(), accept_data_loss: args.accept_data_loss };
    let report = operation::take_up(session, &record.id, Direction::Back, said).await?;
    Ok(super::report::conclude(session, &report))
}
