//! `promote`: a replica's volume becomes the primary of a new release, beside the old one, which goes on serving.

mod desk;
mod finalize;
mod look;
mod needs;
pub(super) mod package;
pub(super) mod parted;
mod preview;
mod room;
mod set;
mod spec;
pub(super) mod step;
mod storage;
pub(super) mod values;

use std::sync::Arc;

pub(super) use self::desk::Desk;
pub(super) use self::finalize::{FINALIZE, steps as final_steps};
use self::preview::Preview;
pub(super) use self::spec::Spec;
pub(super) use self::step::steps;
use super::Context;
use super::operation::{self, Start};
use super::session::{self, Session};
use crate::cli::promote::Args;
use crate::cluster::{Cluster, access};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{LockName, Memory, Phase, Record, Report, Store};
use crate::shutdown::Stop;

/// The command's name, in records.
pub const NAME: &str = "promote";

/// Runs the command.
///
/// # Errors
/// `Refused` with nothing changed, or what the engine says.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    session::refuse_unasked(&ctx.ui, args.dry_run || args.yes, "what would be done")?;
    let session = Session::begin(ctx).await?;
    let session = &match &args.core_namespace {
        Some(namespace) => session.within(namespace),
        None => session,
    };
    if args.finalize {
        return finalize::run(session, &args).await;
    }
    access::require(&session.cluster, &needs::of(&session.cluster.namespace, &args), needs::ROLE).await?;
    let id = operation::new_id(NAME);
    session.ui.say("looking at the replica, its primary and the chart");
    let (desk, facts) = session.stop.interruptible(look::look(session, &args, &id)).await?.map_err(Failure::unchanged)?;
    Preview { spec: &desk.spec, facts: &facts }.show(session, args.dry_run)?;
    if args.dry_run {
        return Ok(Exit::Done);
    }
    if !args.yes && !session.ui.confirm(&session.stop, "Promote?").await? {
        return Err(Failure::refused("not confirmed").state("nothing was changed"));
    }
    carry_out(session, &desk, from(&args), &id).await
}

fn from(args: &Args) -> String {
    args.from.clone().unwrap_or_default()
}

async fn carry_out(session: &Session, desk: &Arc<Desk>, target: String, id: &str) -> Result<Exit> {
    let namespace = &session.cluster.namespace;
    let (spec, lock) = (&desk.spec, lock(&desk.spec));
    let store = Store::in_namespace(&session.cluster, namespace);
    operation::refuse_if_unfinished(&store, &LockName::new(&lock), namespace, NAME).await?;
    session.stop.interruptible(async {}).await?;
    let start = Start { id, command: NAME, namespace, target, lock: &lock, spec, before: None };
    let report = operation::start(session, start, steps(desk)).await?;
    told(session, &report, spec)?;
    let release = &spec.release;
    session.ui.say(&format!("to lead traffic there: kubectl dbmig route --to {release} -n {namespace} …"));
    session.ui.say(&format!("to take it back: kubectl dbmig undo {id} -n {namespace}"));
    Ok(super::report::conclude(session, &report))
}

/// Says where the two primaries part.
fn told(session: &Session, report: &Report, spec: &Spec) -> Result<()> {
    let memory = Memory::new(report.record.memory.clone());
    let (mark, proof): (step::Mark, step::Proof) = (memory.need(step::MARK)?, memory.need(step::PROOF)?);
    session.ui.say(&format!(
        "release {} has all that {} had written up to {} ({}), on timeline {} of its own; from there on the two differ",
        spec.release,
        spec.primary.target,
        proof.fork,
        mark.time.strftime("%Y-%m-%d %H:%M:%SZ"),
        proof.timeline
    ));
    Ok(())
}

/// What no two operations may work on at once: the replica's claim.
fn lock(spec: &Spec) -> String {
    format!("claim/{}", spec.bound.claim)
}

/// The desk of an operation that is taken up again.
///
/// # Errors
/// The record comes from another version.
pub(super) fn desk(record: &Record, accept_data_loss: bool) -> Result<Arc<Desk>> {
    Ok(Arc::new(Desk::new(record.spec()?, accept_data_loss, None, None)))
}

/// The newest promotion to a release, where it is over and was not taken back.
///
/// # Errors
/// When the API server refuses.
pub(super) async fn newest_to(session: &Session, release: &str) -> Result<Option<Record>> {
    let store = Store::in_namespace(&session.cluster, &session.cluster.namespace);
    let mut all = store.list(None).await?;
    all.retain(|record| record.command == NAME && record.phase == Phase::Done);
    all.retain(|record| record.spec::<Spec>().is_ok_and(|spec| spec.release == release));
    Ok(all.into_iter().max_by_key(|record| record.created))
}

/// What the old primary of a promotion has written that the new one lacks.
///
/// # Errors
/// The old primary can't be asked.
pub(super) async fn gap(cluster: &Cluster, stop: &Stop, record: &Record) -> Result<parted::Gap> {
    let memory = Memory::new(record.memory.clone());
    let (mark, proof): (step::Mark, step::Proof) = (memory.need(step::MARK)?, memory.need(step::PROOF)?);
    let old = desk(record, false)?.primary(cluster).await?;
    parted::Gap::of(&mark, proof.fork, &*old, stop).await
}
