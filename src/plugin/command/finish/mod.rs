//! `finish`: end a copy that follows its source, and have the application use it: the plan, and the look before it.

mod desk;
mod ended;
mod look;
mod needs;
mod preview;
mod spec;
mod step;

use std::sync::Arc;

pub(super) use self::desk::Desk;
use self::look::Look;
pub(super) use self::step::setting::{KEPT, entry_of};
pub(super) use self::step::steps;
use super::Context;
use super::operation::{self, Start};
use super::session::{self, Session};
use crate::cli::finish::Args;
use crate::cluster::access;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{LockName, Record, Store};

/// The command's name, in records.
pub const NAME: &str = "finish";

/// Runs the command.
///
/// # Errors
/// `Refused` with nothing changed, or what the engine says.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    session::refuse_unasked(&ctx.ui, args.dry_run || args.yes, "what would be done")?;
    let session = &Session::begin(ctx).await?;
    access::require(&session.cluster, &needs::of(&session.cluster.namespace, &args), needs::ROLE).await?;
    let id = operation::new_id(NAME);
    let look = Look::begin(session, &args, &id).await.map_err(Failure::unchanged)?;
    let desk = look.desk(&args).await.map_err(Failure::unchanged);
    let ended = match desk {
        Ok(Some(desk)) => carry_out(session, &look, desk, &id).await,
        Ok(None) => Ok(Exit::Done),
        Err(failure) => Err(failure),
    };
    let left = look.leave(&session.cluster).await;
    ended.and_then(|exit| left.map(|()| exit))
}

async fn carry_out(session: &Session, look: &Look<'_>, desk: Arc<Desk>, id: &str) -> Result<Exit> {
    let namespace = &look.target.namespace;
    let lock = look.lock();
    let store = Store::in_namespace(&session.cluster, namespace);
    operation::refuse_if_unfinished(&store, &LockName::new(&lock), namespace, NAME).await?;
    session.stop.interruptible(async {}).await?;
    let (target, spec) = (desk.spec.target.clone(), &desk.spec);
    let start = Start { id, command: NAME, namespace, target, lock: &lock, spec, before: None };
    let report = operation::start(session, start, steps(&desk)).await;
    // It may have had to come anew while the steps ran.
    let left = desk.leave(&session.cluster).await;
    let report = report?;
    left?;
    session.ui.say(&format!("to take it back: kubectl dbmig undo {id} -n {namespace}"));
    Ok(super::report::conclude(session, &report))
}

/// The desk of an operation that is taken up again.
///
/// # Errors
/// The record comes from another version.
pub(super) fn desk(record: &Record, accept_data_loss: bool) -> Result<Arc<Desk>> {
    Ok(Arc::new(Desk::new(record.spec()?, accept_data_loss, None)))
}
