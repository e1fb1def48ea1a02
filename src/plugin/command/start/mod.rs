//! `start`: begin to move a PostgreSQL database by a Job that clones it and follows it.

mod manifest;
mod room;
mod spec;
mod step;

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde::Serialize;

use self::manifest::CONTAINER;
use self::spec::Spec;
pub(super) use self::step::{Desk, steps};
use super::Context;
use super::operation::{self, Start};
use super::pair::Pair;
use super::session::{self, Session};
use super::vacuum::needs::Rule;
use crate::cli::start::Args;
use crate::cluster::Cluster;
use crate::cluster::access::{self, Need};
use crate::cluster::error::{Context as _, found};
use crate::cluster::job::{OwnJob, has_succeeded, is_over};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::framework::{Finding, Level};
use crate::plan::{LockName, Record, Store};
use crate::replication::{Decoding, SLOT, decoding, ready};
use crate::ui::human::harmless;
use crate::ui::{Report, Table};

/// The command's name, in records.
pub const NAME: &str = "start";

const LOOK: &[Rule] = &[
    ("", "pods", &["get", "list", "watch", "create", "delete"]),
    ("", "pods/exec", &["get", "create"]),
    ("batch", "jobs", &["get"]),
];
const CHANGE: &[Rule] = &[
    ("", "configmaps", &["get", "list", "create", "update", "delete"]),
    ("", "persistentvolumeclaims", &["get", "create", "delete"]),
    ("batch", "jobs", &["get", "create", "delete"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update", "delete"]),
];

/// Runs the command.
///
/// # Errors
/// `Refused` with nothing changed, or what the engine says.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    session::refuse_unasked(&ctx.ui, args.dry_run || args.yes, "what would be done")?;
    let session = &Session::begin(ctx).await?;
    let namespace = session.cluster.namespace.clone();
    let rules = LOOK.iter().chain(if args.dry_run { &[] } else { CHANGE });
    let needs = Need::each(&namespace, rules.copied());
    access::require(&session.cluster, &needs, "dbmig-move").await?;
    let id = operation::new_id(NAME);
    let jobs: Api<Job> = Api::namespaced(session.cluster.client.clone(), &namespace);
    if found(jobs.get(&args.name).await).doing(format!("read job/{}", args.name))?.is_some() {
        return Err(Failure::new(Exit::Held, format!("there is a job/{} already", args.name))
            .state("nothing was changed")
            .next(format!("kubectl dbmig watch job/{} -n {namespace}", args.name))
            .next(format!("kubectl dbmig finish job/{} -n {namespace}", args.name)));
    }
    let mut spec = Spec {
        name: args.name.clone(),
        source: args.source.to_string(),
        target: args.target.to_string(),
        image: args.image.clone(),
        volume_size: args.volume_size.clone(),
        storage_class: args.storage_class.clone(),
        jobs: args.jobs,
        decoding: Decoding::Test,
        shown: (String::new(), String::new()),
    };
    let pod = pod(&spec, &id, &namespace)?;
    session.ui.say("reaching source and target from a pod like the Job's");
    let pair = session.stop.interruptible(Pair::reach(&session.cluster, &session.stop, &pod, CONTAINER, &id)).await??;
    spec.shown = pair.shown();
    let ended = async {
        spec.decoding = decoding(&*pair.source).await?;
        looked(session, &args, spec, &pair, &id).await
    };
    let ended = ended.await;
    let left = pair.leave(&session.cluster).await;
    ended.and_then(|exit| left.map(|()| exit))
}

/// The pod that the Job will have.
fn pod(spec: &Spec, id: &str, namespace: &str) -> Result<Pod> {
    let job = manifest::job(spec, id)?;
    let mut pod = job["spec"]["template"].clone();
    pod["metadata"]["namespace"] = namespace.into();
    // Neither is there yet, and a twin needs neither.
    pod["spec"]["volumes"] = serde_json::json!([]);
    pod["spec"]["containers"][0]["volumeMounts"] = serde_json::json!([]);
    serde_json::from_value(pod).map_err(|error| Failure::failed(format!("cannot describe the Job's pod: {error}")))
}

async fn looked(session: &Session, args: &Args, spec: Spec, pair: &Pair, id: &str) -> Result<Exit> {
    let looking = async {
        let rooms = room::rooms(&session.cluster, pair).await;
        ready(&*pair.source, &*pair.target, SLOT, &rooms).await
    };
    let findings = session.stop.interruptible(looking).await??;
    let plan = Plan { spec: &spec, findings: &findings };
    plan.show(session, args.dry_run)?;
    let worst = findings.iter().map(|finding| finding.level).max();
    if args.dry_run {
        return Ok(if worst > Some(Level::Note) { Exit::Attention } else { Exit::Done });
    }
    let refused = |what: &str, level: Level| {
        let found = findings.iter().filter(|finding| finding.level == level).map(Finding::in_a_line);
        Failure::refused(what).facts(found).state("nothing was changed")
    };
    match worst {
        Some(Level::Broken) => return Err(refused("this database can't be moved as it is", Level::Broken)),
        Some(Level::Attention) if !args.force => {
            let failure = refused("something would be lost on the way unless it is seen to", Level::Attention);
            return Err(failure.next("mend it, or say --force to begin all the same"));
        }
        _ => {}
    }
    if !args.yes && !session.ui.confirm(&session.stop, "Begin?").await? {
        return Err(Failure::refused("not confirmed").state("nothing was changed"));
    }
    carry_out(session, spec, pair.clone(), id).await
}

async fn carry_out(session: &Session, spec: Spec, pair: Pair, id: &str) -> Result<Exit> {
    let namespace = &session.cluster.namespace;
    let (lock, target, name) = (spec.shown.0.clone(), format!("job/{}", spec.name), spec.name.clone());
    let store = Store::in_namespace(&session.cluster, namespace);
    operation::refuse_if_unfinished(&store, &LockName::new(&lock), namespace, NAME).await?;
    let desk = Arc::new(Desk::new(spec, Some(pair)));
    let start = Start { id, command: NAME, namespace, target, lock: &lock, spec: &desk.spec, before: None };
    let report = operation::start(session, start, steps(&desk)).await;
    let left = desk.leave(&session.cluster).await;
    let report = report?;
    left?;
    session.ui.say(&format!("to watch it: kubectl dbmig watch job/{name} -n {namespace}"));
    session.ui.say(&format!("to cut over: kubectl dbmig finish job/{name} -n {namespace}"));
    session.ui.say(&format!("to take it back: kubectl dbmig undo {id} -n {namespace}"));
    Ok(super::report::conclude(session, &report))
}

/// The desk of an operation that is taken up again.
///
/// # Errors
/// The record comes from another version.
pub(super) fn desk(record: &Record) -> Result<Arc<Desk>> {
    Ok(Arc::new(Desk::new(record.spec()?, None)))
}

/// A move that has begun can go on by another Job only where its own one was cut off: with its work on its volume, and its slot.
///
/// # Errors
/// `Refused` with what the Job does instead.
pub(super) async fn refuse_unless_cut_off(cluster: &Cluster, record: &Record) -> Result<()> {
    let spec: Spec = record.spec()?;
    let job = OwnJob::new(cluster, &record.namespace, &spec.name).of(&record.id).await?;
    let refused = |what: &str| Failure::refused(format!("job/{} {what}", spec.name)).state("nothing was changed");
    match job {
        Some(job) if !is_over(&job) => {
            Err(refused("has not ended").next(format!("kubectl dbmig watch job/{} -n {}", spec.name, record.namespace)))
        }
        Some(job) if has_succeeded(&job) => Err(refused("has ended where it was told to: there is nothing to go on with")),
        Some(_) => Ok(()),
        None => Err(refused(&format!("is not there any more, or not the one that {} made", record.id))
            .next(format!("kubectl dbmig undo {} -n {}   # then start again", record.id, record.namespace))),
    }
}

/// What would be made, and what was found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan<'a> {
    #[serde(flatten)]
    spec: &'a Spec,
    findings: &'a [Finding],
}

impl Plan<'_> {
    fn show(&self, session: &Session, is_all: bool) -> Result<()> {
        if session.ui.is_machine() {
            return if is_all { session.ui.print(self) } else { Ok(()) };
        }
        let Spec { name, image, volume_size, shown, decoding, .. } = self.spec;
        let mut lines = vec![
            format!("{}  →  {}", shown.0, shown.1),
            format!("  job/{name} runs pgcopydb of {image}, with its work on persistentvolumeclaim/{name} of {volume_size}"),
            format!("  changes are decoded with {}: {}; finish compares every row", decoding.words()[1], decoding.risk()),
            "  it copies everything, then applies what is written meanwhile, until `finish`; nobody's rights change".to_owned(),
        ];
        for finding in self.findings {
            let level = match finding.level {
                Level::Broken => "impossible",
                Level::Attention => "attention",
                Level::Note => "note",
            };
            lines.push(format!("  {level}: {}", finding.what));
            lines.extend(finding.evidence.iter().map(|seen| format!("    seen: {seen}")));
            lines.extend(finding.next.iter().map(|next| format!("    next: {next}")));
        }
        for line in lines {
            session.ui.say(&harmless(&line));
        }
        Ok(())
    }
}

impl Report for Plan<'_> {
    fn kind(&self) -> &'static str {
        "StartPlan"
    }

    fn table(&self, _wide: bool) -> Table {
        let row = |finding: &Finding| vec![finding.what.clone(), finding.evidence.clone().unwrap_or_default()];
        Table::new(["FINDING", "SEEN"]).rows(self.findings.iter().map(row))
    }

    fn names(&self) -> Vec<String> {
        vec![format!("job/{}", self.spec.name)]
    }
}
