//! `vacuum`: make a SQLite database small again, dropping only what a rule says, without ever losing a row.

mod evidence;
mod examine;
mod look;
pub(super) mod needs;
mod options;
mod preview;
mod profile;
mod punch;
mod space;
mod spec;
mod step;

use super::Context;
use super::operation::{self, Start};
use super::session::{self, Session};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::framework::golang_migrate::verdict::{Recognised, Verdict};
use crate::plan::{Record, Step, Store};

pub use space::{KeepOld, Place};
pub use spec::{Keep, Wishes};

/// The command's name, in records.
pub const NAME: &str = "vacuum";

/// What the user asked for, as it is meant.
#[derive(Debug, Clone)]
pub struct Options {
    /// `TYPE/NAME`, `TYPE NAME` or `NAME`.
    pub target: Vec<String>,
    /// Container that mounts the database.
    pub container: Option<String>,
    /// Path of the database as the container sees it.
    pub database: Option<String>,
    /// What stays, where things go, how careful to be.
    pub wishes: Wishes,
    /// Only give unused pages back, while the application runs.
    pub punch: bool,
    /// Image of the helper pod.
    pub helper_image: String,
    /// Show the plan, change nothing.
    pub dry_run: bool,
    /// Don't ask.
    pub yes: bool,
}

/// Runs the command.
///
/// # Errors
/// `Refused` with nothing changed, or what the engine says.
pub async fn run(ctx: &Context, options: Options) -> Result<Exit> {
    let session = Session::begin(ctx).await?;
    run_in(&session, &options).await
}

async fn run_in(session: &Session, options: &Options) -> Result<Exit> {
    session::refuse_unasked(&session.ui, options.dry_run || options.yes, "the plan")?;
    let id = operation::new_id(NAME);
    let place = look::place(session, options, &id).await?;
    let outcome = if options.punch {
        punch::run(session, options, &place).await
    } else {
        look_and_run(session, options, &id, &place).await
    };
    let store = Store::in_namespace(&session.cluster, &place.namespace);
    let over = match store.load(&id).await {
        Ok(record) => record.phase.is_over(),
        Err(failure) => failure.exit == Exit::Usage, // There is no record. One that can't be read may be under way.
    };
    if over {
        // Nothing was begun, or all of it is over: what the look brought up goes again.
        let left = place.leave(&session.cluster).await;
        return outcome.and_then(|exit| left.map(|()| exit));
    }
    outcome
}

async fn look_and_run(session: &Session, options: &Options, id: &str, place: &look::Place) -> Result<Exit> {
    let spec = look::spec(session, options, place).await?;
    let lock = operation::volume_lock(&spec.mount.source, &spec.pod);
    let mut seen = examine::examine(&place.seat.agent, &spec, false).await?;
    if let Some((facts, examined)) = &mut seen {
        evidence::reconsider(&session.cluster, &session.stop, &place.seat.agent, &spec, facts, examined).await?;
    }
    let steps = step::steps(&spec);
    let managers = spec.workload.other_managers(&session.cluster, &place.namespace).await?;
    preview::Preview::new(&place.target, &spec, seen.as_ref(), &steps, &managers).show(session, options.dry_run)?;
    if options.dry_run {
        return Ok(Exit::Done);
    }
    let question = match spec.replicas {
        0 => format!("Vacuum {}? {} is at 0 replicas and stays there.", spec.shown, spec.workload),
        _ => format!("Stop {} and vacuum {}?", spec.workload, spec.shown),
    };
    if !options.yes && !session.ui.confirm(&session.stop, &question).await? {
        return Err(Failure::refused("not confirmed").state("nothing was changed"));
    }
    session.stop.interruptible(async {}).await?;
    let (target, before) = (place.target.clone(), place.seat.agent.arrival.clone());
    let start = Start { id, command: NAME, namespace: &place.namespace, target, lock: &lock, spec: &spec, before };
    let report = operation::start(session, start, steps).await?;
    tell_result(session, &report.record, &spec)?;
    Ok(super::report::conclude(session, &report))
}

/// Before and after, and what became of the framework's state.
fn tell_result(session: &Session, record: &Record, spec: &spec::Spec) -> Result<()> {
    let memory = crate::plan::Memory::new(record.memory.clone());
    let (examined, proof): (Option<examine::Examined>, Option<dbmig_wire::Proof>) =
        (memory.recall("examined")?, memory.recall("proof")?);
    let (Some(examined), Some(proof)) = (examined, proof) else { return Ok(()) };
    session.ui.say(&format!(
        "{}: {} → {}",
        spec.shown,
        crate::ui::human::bytes(examined.bytes),
        crate::ui::human::bytes(proof.bytes)
    ));
    match &examined.framework {
        Recognised::Known { repair: Verdict::Set { to, because, .. }, .. } if spec.wishes.repair => {
            let to = to.map_or_else(|| "no row (no migration applied)".to_owned(), |to| format!("version {to}, clean"));
            session.ui.say(&format!("golang-migrate: set to {to}: {because}"));
        }
        _ => {}
    }
    Ok(())
}

/// The steps of a vacuum, from the spec in its record.
///
/// # Errors
/// When the record comes from another version.
pub(super) fn steps(record: &Record) -> Result<Vec<Box<dyn Step>>> {
    Ok(step::steps(&record.spec()?))
}
