//! Starting, resuming and undoing an operation: what every changing command does around its own steps.

use std::sync::Arc;
use std::time::Duration;

use dbmig_wire::Progress;
use jiff::Timestamp;
use rand::RngExt;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::session::Session;
use super::{finish, promote, repair, route, run, start, vacuum};
use crate::cluster::Cluster;
use crate::cluster::access::who_am_i;
use crate::cluster::helper::delete_of;
use crate::cluster::volume::Source;
use crate::database::find::Named;
use crate::event::{Event, Events};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{Engine, Holder, Lease, LockName, Memory, Phase, Record, Report, Run, Step, StepRecord, Store};

/// What a command brings to start an operation.
pub(super) struct Start<'a, S> {
    /// Id, made by [`new_id`] before the look, so that whatever the look creates carries it.
    pub(super) id: &'a str,
    /// The command.
    pub(super) command: &'a str,
    /// Namespace.
    pub(super) namespace: &'a str,
    /// What the user named, kubectl style.
    pub(super) target: String,
    /// What no two operations may work on at once: `claim/data-upmeter-0`.
    pub(super) lock: &'a str,
    /// What the steps are built from.
    pub(super) spec: &'a S,
    /// What happened in the look that a program which reads the events wants to know.
    pub(super) before: Option<Event>,
}

/// What ids end with. No vowels, so no words; no 0, 1 and l, so no mistakes.
const LETTERS: &[u8] = b"bcdfghjkmnpqrstvwxz23456789";
/// How many of them.
const LENGTH: usize = 6;

/// An id that is short enough to type: `vacuum-x7k2pq`.
pub(super) fn new_id(command: &str) -> String {
    let mut random = rand::rng();
    let tail: String = (0..LENGTH).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect();
    format!("{command}-{tail}")
}

/// A name that [`new_id`] could have made.
pub(super) fn looks_like_id(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, tail)| tail.len() == LENGTH && tail.bytes().all(|letter| LETTERS.contains(&letter)))
}

/// Two operations on one volume exclude each other, whatever they were called on.
pub(super) fn volume_lock(volume: &Source, pod: &str) -> String {
    match volume {
        Source::Claim(name) => format!("claim/{name}"),
        Source::HostPath(path) => format!("hostpath/{path}"),
        Source::WithPod(kind) => format!("{kind}/{pod}"),
    }
}

/// Refuses when another operation on the same target runs or was left half-way. `command` is what is to begin: what brings a database
/// back may begin beside a migration that waits for just that, with everything stopped around it.
///
/// # Errors
/// `Held` with that operation, and how to go on with it.
pub(super) async fn refuse_if_unfinished(store: &Store, lock: &LockName, namespace: &str, command: &str) -> Result<()> {
    let mut others = store.unfinished(Some(lock.as_str())).await?;
    if matches!(command, run::ROLLBACK | repair::NAME) {
        others.retain(|other| !run::waits_for_the_way_back(other));
    }
    let Some(other) = others.pop() else { return Ok(()) };
    Err(unfinished(&other, namespace))
}

/// Says that an operation is not finished, and how to go on with it.
pub(super) fn unfinished(other: &Record, namespace: &str) -> Failure {
    let done = other.steps.iter().filter(|step| step.state == crate::plan::StepState::Done).count();
    Failure::new(Exit::Held, format!("operation {} on {} is not finished", other.id, other.target))
        .fact(format!(
            "started {} by {} from {}; {done} of {} steps done",
            other.created,
            other.by,
            other.from,
            other.steps.len()
        ))
        .state("nothing was changed")
        .next(format!("kubectl dbmig resume {} -n {namespace}", other.id))
        .next(format!("kubectl dbmig undo {} -n {namespace}", other.id))
}

/// Takes the Lease, writes the record and carries the steps out.
///
/// # Errors
/// What the engine says.
pub(super) async fn start<S: Serialize + Sync>(
    session: &Session,
    start: Start<'_, S>,
    steps: Vec<Box<dyn Step>>,
) -> Result<Report> {
    let cluster = &session.cluster;
    let lock = LockName::new(start.lock);
    let holder = holder(cluster, start.id).await;
    let lease = Lease::acquire(cluster.client.clone(), start.namespace, &lock, &holder, |text| session.ui.say(&text)).await?;
    let store = Store::new(cluster.client.clone(), start.namespace, &writer(&holder));
    let record = new_record(&start, &lock, &holder, &steps)?;
    let checked = async {
        refuse_if_unfinished(&store, &lock, start.namespace, start.command).await?;
        store.create(&record).await
    };
    if let Err(failure) = checked.await {
        lease.release().await?;
        return Err(failure);
    }
    let (events, drawing) = drawn(session, store.clone(), start.id);
    start.before.into_iter().for_each(|event| events.tell(event));
    let engine = Engine::new(store, record, steps, run(session, start.namespace, start.id, Memory::default(), events, lease));
    let report = engine.carry_out().await;
    finished(drawing).await;
    report
}

fn new_record<S: Serialize>(start: &Start<'_, S>, lock: &LockName, holder: &Holder, steps: &[Box<dyn Step>]) -> Result<Record> {
    let spec =
        serde_json::to_value(start.spec).map_err(|error| Failure::failed(format!("cannot write the operation down: {error}")))?;
    let now = Timestamp::now();
    Ok(Record {
        id: start.id.to_owned(),
        command: start.command.to_owned(),
        namespace: start.namespace.to_owned(),
        target: start.target.clone(),
        lock: lock.as_str().to_owned(),
        by: holder.by.clone(),
        from: holder.host.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        created: now,
        updated: now,
        phase: Phase::Running,
        message: String::new(),
        spec,
        steps: steps.iter().map(|step| StepRecord::pending(step.id(), step.title())).collect(),
        memory: serde_json::Map::new(),
    })
}

/// Whether an operation is to go on or to go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Forth,
    Back,
}

/// Takes up an operation that stopped, from any machine.
///
/// # Errors
/// What the engine says; `Held` when a live process works on it.
pub(super) async fn take_up(session: &Session, id: &str, direction: Direction, said: Said) -> Result<Report> {
    let (cluster, namespace) = (&session.cluster, session.cluster.namespace.clone());
    let holder = holder(cluster, id).await;
    let store = Store::new(cluster.client.clone(), &namespace, &writer(&holder));
    let seen = store.load(id).await?;
    let lock = LockName::known(&seen.lock);
    let lease = Lease::acquire(cluster.client.clone(), &namespace, &lock, &holder, |text| session.ui.say(&text)).await?;
    let record = store.adopt(id).await?;
    let Plan { steps, helper } = plan(&record, said)?;
    let (events, drawing) = drawn(session, store.clone(), id);
    let memory = Memory::new(record.memory.clone());
    let engine = Engine::new(store, record, steps, run(session, &namespace, id, memory, events, lease));
    let report = match direction {
        Direction::Forth => engine.carry_out().await,
        Direction::Back => engine.take_back().await,
    };
    finished(drawing).await;
    let left = match helper {
        Some(Helper::Repair(desk)) => desk.leave(cluster).await,
        Some(Helper::Finish(desk)) => desk.leave(cluster).await,
        Some(Helper::Start(desk)) => desk.leave(cluster).await,
        Some(Helper::Run(desk)) => {
            desk.leave(cluster).await?;
            // The process before this one may have left its own.
            delete_of(cluster, &namespace, id).await
        }
        None => Ok(()),
    };
    report.and_then(|report| left.map(|()| report))
}

/// The steps of an operation.
struct Plan {
    steps: Vec<Box<dyn Step>>,
    /// What must go when this process is through with them, however they ended. A vacuum removes its own by a step.
    helper: Option<Helper>,
}

/// The way to a database that a command's steps have opened.
enum Helper {
    Repair(Arc<repair::Desk>),
    Run(Arc<run::Desk>),
    Finish(Arc<finish::Desk>),
    Start(Arc<start::Desk>),
}

/// What the user says when an operation is taken up, and no record may or can hold.
#[derive(Default)]
pub(super) struct Said {
    /// The database, which may be a secret.
    pub(super) database: Option<Named>,
    /// What was written since may be lost.
    pub(super) accept_data_loss: bool,
}

/// The steps of an operation, from its record. A new command is a new line here.
fn plan(record: &Record, said: Said) -> Result<Plan> {
    match record.command.as_str() {
        vacuum::NAME | finish::NAME | start::NAME | promote::NAME | promote::FINALIZE | route::NAME
            if said.database.is_some() =>
        {
            Err(Failure::usage(format!("operation {} knows its database: leave --database and --database-from out", record.id)))
        }
        vacuum::NAME => Ok(Plan { steps: vacuum::steps(record)?, helper: None }),
        repair::NAME => {
            let desk = repair::desk(record, said.database)?;
            Ok(Plan { steps: repair::steps(&desk), helper: Some(Helper::Repair(desk)) })
        }
        run::NAME | run::ROLLBACK => {
            let desk = run::desk(record, said.database)?;
            Ok(Plan { steps: run::steps(&desk), helper: Some(Helper::Run(desk)) })
        }
        start::NAME => {
            let desk = start::desk(record)?;
            Ok(Plan { steps: start::steps(&desk), helper: Some(Helper::Start(desk)) })
        }
        finish::NAME => {
            let desk = finish::desk(record, said.accept_data_loss)?;
            Ok(Plan { steps: finish::steps(&desk), helper: Some(Helper::Finish(desk)) })
        }
        promote::NAME => Ok(Plan { steps: promote::steps(&promote::desk(record, said.accept_data_loss)?), helper: None }),
        promote::FINALIZE => Ok(Plan { steps: promote::final_steps(record)?, helper: None }),
        route::NAME => Ok(Plan { steps: route::steps(record, said.accept_data_loss)?, helper: None }),
        other => Err(Failure::failed(format!(
            "operation {} is a `{other}`, which this version of kubectl-dbmig does not know",
            record.id
        ))
        .next(format!("use kubectl-dbmig {}, which started it", record.version))),
    }
}

/// The operation meant by an id that was left out: the only one that fits.
///
/// # Errors
/// `Usage` when there is none, or more than one.
pub(super) async fn only_one(session: &Session, verb: &str, fits: impl Fn(&Record) -> bool) -> Result<Record> {
    let namespace = &session.cluster.namespace;
    let store = Store::in_namespace(&session.cluster, namespace);
    let mut fitting: Vec<Record> = store.list(None).await?.into_iter().filter(fits).collect();
    match (fitting.pop(), fitting.len()) {
        (Some(record), 0) => Ok(record),
        (None, _) => {
            Err(Failure::usage(format!("there is no operation to {verb} in namespace {namespace}")).next("kubectl dbmig history"))
        }
        (Some(newest), _) => {
            let lines =
                fitting.iter().chain([&newest]).map(|r| format!("{}  {}  {}  {}", r.id, r.target, r.phase.as_str(), r.created));
            Err(Failure::usage(format!("which operation? more than one fits in namespace {namespace}"))
                .facts(lines)
                .next(format!("kubectl dbmig {verb} {} -n {namespace}", newest.id)))
        }
    }
}

/// Time between two writes of a step's progress to its record.
const TELL: Duration = Duration::from_secs(2);

/// Events, and the task that draws them until the last sender is gone. Progress also goes to the record, for `watch`.
fn drawn(session: &Session, store: Store, id: &str) -> (Events, JoinHandle<()>) {
    let (events, mut received) = Events::channel();
    let (shown, showing) = Events::channel();
    let (newest, progress) = watch::channel(None);
    let (ui, id) = (session.ui.clone(), id.to_owned());
    tokio::spawn(async move { tell(&store, &id, progress).await });
    tokio::spawn(async move {
        while let Some(event) = received.recv().await {
            match &event {
                Event::Progress(progress) => newest.send_replace(Some(progress.clone())),
                _ => newest.send_replace(None),
            };
            shown.tell(event);
        }
    });
    (events, tokio::spawn(async move { ui.draw(showing).await }))
}

async fn tell(store: &Store, id: &str, mut newest: watch::Receiver<Option<Progress>>) {
    while newest.changed().await.is_ok() {
        // A step that takes no longer is told by the record itself.
        tokio::time::sleep(TELL).await;
        let progress = newest.borrow_and_update().clone();
        if let Some(progress) = progress {
            store.tell(id, &progress).await;
        }
    }
}

/// Waits until everything is on the screen. Drawing has nothing to say of its own.
async fn finished(drawing: JoinHandle<()>) {
    let _ = drawing.await;
}

fn run(session: &Session, namespace: &str, id: &str, memory: Memory, events: Events, lease: Lease) -> Run {
    Run {
        cluster: session.cluster.clone(),
        namespace: namespace.to_owned(),
        id: id.to_owned(),
        memory,
        events,
        stop: session.stop.clone(),
        lease,
    }
}

async fn holder(cluster: &Cluster, id: &str) -> Holder {
    Holder { id: id.to_owned(), by: who_am_i(cluster).await, host: host_name(), pid: std::process::id() }
}

fn writer(holder: &Holder) -> String {
    format!("{} from {} (process {})", holder.by, holder.host, holder.pid)
}

/// Name of this machine; people are told where an operation was started.
fn host_name() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    if name.is_empty() { "unknown host".to_owned() } else { name.replace('/', "-") }
}
