//! `run` and `rollback`: a migration as one Job that can't run twice at once, outlives this process, and is judged by the
//! database's own books.

mod asked;
mod backup;
mod desk;
mod guard;
mod needs;
mod offline;
mod open;
mod others;
mod outcome;
mod preview;
mod spec;
mod step;

use std::sync::Arc;

use self::asked::{Asked, Books, What};
use self::desk::Around;
pub(super) use self::desk::Desk;
pub(super) use self::others::waits_for_the_way_back;
use self::preview::Preview;
use self::spec::{Spec, Way};
pub(super) use self::step::steps;
use super::Context;
use super::operation::{self, Direction, Said, Start};
use super::session::{self, Session};
use crate::cli::rollback;
use crate::cli::run::Args;
use crate::cluster::access;
use crate::cluster::job::{OwnJob, is_over};
use crate::cluster::kind::{Kind, TargetRef};
use crate::database::find::Named;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::framework::{Fate, LockKind, State};
use crate::plan::Record;
use crate::shutdown::Stop;
use crate::ui::human::harmless;

/// The command's name, in records.
pub const NAME: &str = "run";

/// The name of the way down, in records.
pub const ROLLBACK: &str = "rollback";

/// Runs a migration.
///
/// # Errors
/// `Refused` with nothing changed, `Held` when it runs already, or what the engine says.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    let words = args.from.clone().or(args.offline.clone()).map_or(args.target, |from| vec![from]);
    let what = args.filename.map_or(What::Object(words), What::File);
    start(ctx, &Asked { what, offline: args.offline.is_some(), job: args.job, down: None }).await
}

/// Takes migrations back.
///
/// # Errors
/// As [`run`].
pub async fn roll_back(ctx: &Context, args: rollback::Args) -> Result<Exit> {
    let down = Some(args.extent());
    start(ctx, &Asked { what: What::Object(args.target), offline: false, job: args.job, down }).await
}

async fn start(ctx: &Context, asked: &Asked) -> Result<Exit> {
    let job = &asked.job;
    session::refuse_unasked(&ctx.ui, job.dry_run || job.yes, "what would be done")?;
    let session = Session::begin(ctx).await?;
    let id = operation::new_id(asked.name());
    let template = session.stop.interruptible(asked.template(&session.cluster)).await?.map_err(Failure::unchanged)?;
    let needs = needs::of(&session.cluster.namespace, &template.origin, asked);
    let spec = asked.spec(&session.cluster, &id, &template);
    let (allowed, spec) = tokio::join!(access::require(&session.cluster, &needs, needs::ROLE), spec);
    allowed?;
    let spec = spec?;
    let own = OwnJob::new(&session.cluster, &session.cluster.namespace, &spec.job);
    let down = asked.down.is_some();
    let (ended, unfinished) = tokio::join!(
        others::ended(&session.cluster, &session.cluster.namespace, &own, &id, down),
        others::refuse_unfinished(&session.cluster, &spec.job, down)
    );
    ended?;
    unfinished?;
    let mut desk = Desk::new(spec, job.database.clone().named(), Some(template.pod.clone()));
    if asked.offline {
        let looking = asked.stopped_around(&session.cluster, &template, &desk.spec.container);
        let found = session.stop.interruptible(looking).await??;
        found.because.iter().for_each(|line| session.ui.say(&harmless(&format!("uses the database: {line}"))));
        let warning = |manager: &String| session.ui.warn(&format!("{manager} may start it again meanwhile, which stops this"));
        found.managers.iter().for_each(warning);
        found.autoscalers.iter().for_each(|line| session.ui.say(&harmless(line)));
        desk = desk.with_offline(found.offline);
    }
    looked_and_run(&session, asked, Around { cluster: &session.cluster, stop: &session.stop, id: &id }, desk).await
}

async fn looked_and_run(session: &Session, asked: &Asked, around: Around<'_>, desk: Desk) -> Result<Exit> {
    session.ui.say(&format!("looking for the database of {}", desk.spec.origin.shown()));
    let looked = session.stop.interruptible(desk.look(around)).await;
    let (books, lock, found) = match looked? {
        Ok(looked) => (Some(looked.books), looked.lock, Ok((looked.from, looked.states))),
        Err(failure) if failure.exit == Exit::Usage => return left(session, &desk, Err(failure)).await,
        Err(failure) => (None, format!("job/{}", desk.spec.job), Err(failure.message)),
    };
    let desk = match asked.way_down(around, &desk, &found).await {
        Ok(None) => desk,
        Ok(Some(way)) => {
            way.notes.iter().for_each(|note| session.ui.say(&harmless(note)));
            desk.going_down(way.down.command, way.down.going).with_stuck(way.stuck)
        }
        Err(failure) => return left(session, &desk, Err(failure)).await,
    };
    let desk = match asked.limits(&desk, &found).await {
        Ok(None) => desk,
        Ok(Some(told)) => {
            told.doubt.iter().for_each(|doubt| session.ui.warn(&format!("the limits may have no effect: {doubt}")));
            desk.with_limits(told.variable)
        }
        Err(failure) => return left(session, &desk, Err(failure)).await,
    };
    let desk = match backup::decide(&asked.job.backup, &desk, around).await {
        Ok(backup) => desk.with_backup(backup),
        Err(failure) => return left(session, &desk, Err(failure.unchanged())).await,
    };
    if asked.down.is_some() && desk.spec.backup.is_none() {
        session.ui.warn("no backup is made first (--backup dump): what a migration has dropped, no way down brings back");
    }
    let desk = Arc::new(desk.with_books(books));
    let ended = agreed_and_run(session, asked, around, &desk, &lock, found).await;
    left(session, &desk, ended).await
}

/// Lets go of the way to the database, however it ended.
async fn left(session: &Session, desk: &Desk, ended: Result<Exit>) -> Result<Exit> {
    let left = desk.leave(&session.cluster).await;
    ended.and_then(|exit| left.map(|()| exit))
}

async fn agreed_and_run(
    session: &Session,
    asked: &Asked,
    around: Around<'_>,
    desk: &Arc<Desk>,
    lock: &str,
    found: Books,
) -> Result<Exit> {
    let (spec, args, from, namespace) = (&desk.spec, &asked.job, desk.spec.origin.shown(), &session.cluster.namespace);
    let built = desk.built(around).await?;
    let steps = steps(desk);
    let broken = found.as_ref().ok().and_then(|(_, states)| broken(states));
    Preview::new(spec, &built, found, &steps).show(session, args.dry_run)?;
    if !args.force
        && let Some(why) = broken
    {
        return Err(Failure::refused(format!("a migration would not get through: {why}"))
            .state("nothing was changed")
            .next(format!("kubectl dbmig repair {} -n {namespace}", spec.origin.target()))
            .next("run it all the same: --force"));
    }
    if args.dry_run {
        return Ok(Exit::Done);
    }
    if !spec.stuck.is_empty() && args.yes && !args.force {
        return Err(Failure::refused("some of what would be taken back has no way back: what it did would stay")
            .facts(&spec.stuck)
            .state("nothing was changed")
            .next("take it back by hand, or bring the backup back")
            .next("let the books say so all the same: --force"));
    }
    let what = if built.command.is_empty() { format!("container {}", built.container) } else { built.command.join(" ") };
    let question = match &spec.offline {
        Some(offline) => {
            format!("Stop all {} and run {what} in a Job of {from}?", offline.scaled.len() + offline.suspended.len())
        }
        None => format!("Run {what} in a Job of {from}?"),
    };
    let agreed = match (&spec.way, args.yes) {
        (_, true) => true,
        (Way::Up, false) => session.ui.confirm(&session.stop, &question).await?,
        (Way::Down(_), false) => session.ui.confirm_by_typing(&session.stop, &question, &spec.job).await?,
    };
    if !agreed {
        return Err(Failure::refused("not confirmed").state("nothing was changed"));
    }
    session.stop.interruptible(async {}).await?;
    session.stop.interruptible(desk.lock(around)).await??.iter().for_each(|note| session.ui.warn(note));
    let start = Start { id: around.id, command: asked.name(), namespace, target: from, lock, spec, before: None };
    match operation::start(session, start, steps).await {
        Ok(report) => Ok(super::report::conclude(session, &report)),
        Err(failure) => left_alone(session, around, desk, failure).await,
    }
}

/// Who stops following a Job that runs is asked whether it is to go on without them; where nobody can be asked, it goes on.
async fn left_alone(session: &Session, around: Around<'_>, desk: &Desk, failure: Failure) -> Result<Exit> {
    let can_ask = session.stop.requested() && session.ui.can_ask() && !session.ui.is_machine();
    if !can_ask || failure.exit != Exit::Incomplete {
        return Err(failure);
    }
    let own = OwnJob::new(&session.cluster, &session.cluster.namespace, &desk.spec.job);
    if own.of(around.id).await?.is_none_or(|job| is_over(&job)) {
        return Err(failure);
    }
    // The first Ctrl-C has been heard; another one leaves at once.
    let session = Session { stop: Stop::default(), ..session.within(&session.cluster.namespace) };
    let question = format!("job/{} goes on without us. Stop it instead, and take everything back?", desk.spec.job);
    if !session.ui.confirm(&session.stop, &question).await? {
        return Err(failure);
    }
    desk.leave(&session.cluster).await?;
    let report = operation::take_up(&session, around.id, Direction::Back, Said::default()).await?;
    super::report::conclude(&session, &report);
    Ok(Exit::Interrupted)
}

/// Why a migration would fail at once, by the books.
fn broken(states: &[State]) -> Option<String> {
    states.iter().find_map(|state| {
        let failed = state
            .failed
            .first()
            .map(|failed| format!("{}: migration {} did not end well: {}", state.framework, failed.id, failed.how));
        let lock =
            state.locks.iter().find(|lock| !matches!(lock.fate, Fate::Dead(_)) || matches!(lock.kind, LockKind::Row { .. }));
        failed.or_else(|| lock.map(|lock| format!("{}: {} holds the migration lock", state.framework, lock.holder_in_words())))
    })
}

/// The desk of an operation that is taken up again; `database` is what the user named now.
///
/// # Errors
/// The record comes from another version.
pub(super) fn desk(record: &Record, database: Option<Named>) -> Result<Arc<Desk>> {
    Ok(Arc::new(Desk::new(record.spec()?, database, None)))
}

/// The Job of an operation, for those who watch.
pub(super) fn watched(record: &Record) -> Option<TargetRef> {
    let spec = record.spec::<Spec>().ok().filter(|_| matches!(record.command.as_str(), NAME | ROLLBACK))?;
    Some(TargetRef { kind: Kind::Job, name: spec.job })
}
