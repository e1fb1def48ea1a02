//! `status`: a verdict in words, and what it rests on.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::ResourceExt as _;
use serde::Serialize;

use super::Context;
use super::scope;
use super::session::Session;
use crate::cli::status::Args;
use crate::cluster::helm;
use crate::exit::Exit;
use crate::failure::Result;
use crate::observe::{ClaimRow, CopyRow, Facts, JobRow, Observer, PodRow, Scope, Standing, Verdict, WorkloadRow};
use crate::ui::human::age;
use crate::ui::{Format, Report, Table};

/// Looks once, or again and again, and says how things stand.
///
/// # Errors
/// Nothing of that name, or the server does not answer.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    let session = &Session::begin(ctx).await?;
    let scope = scope::find(session, &args.scope).await?;
    let observer = Observer::begin(&session.cluster, scope, None).await?.with_copies(&session.cluster);
    let mut observer = looked(session, observer).await?;
    session.stop.interruptible(observer.copied_once()).await?;
    let releases = releases(session, observer.facts()).await?;
    let mut last = Status::of(observer.facts(), &releases);
    show(session, &last)?;
    if args.watch {
        last = follow(session, &mut observer, last, &releases).await?;
    }
    Ok(if last.verdict.state == Standing::Wrong { Exit::Attention } else { Exit::Done })
}

/// Looks at everything once, how full the volumes are included, and says what this user may not see.
pub(super) async fn look(session: &Session, scope: Scope) -> Result<Observer> {
    looked(session, Observer::begin(&session.cluster, scope, None).await?).await
}

async fn looked(session: &Session, mut observer: Observer) -> Result<Observer> {
    session.stop.interruptible(observer.complete()).await?;
    session.stop.interruptible(observer.measured()).await?;
    tell_denied(session, &observer);
    Ok(observer)
}

/// Shows it again with each change, until Ctrl-C.
async fn follow(session: &Session, observer: &mut Observer, mut last: Status, releases: &[Release]) -> Result<Status> {
    while session.stop.interruptible(observer.next()).await.is_ok() {
        let now = Status::of(observer.facts(), releases);
        if now != last {
            if !session.ui.is_machine() {
                session.ui.print_text("\n")?;
            }
            show(session, &now)?;
            last = now;
        }
    }
    Ok(last)
}

/// What Helm's releases say about migrations, where more than the usual is wanted: only those of the pods that are shown, if these say
/// of which release they are. Who may not read Secrets is told so.
async fn releases(session: &Session, facts: &Facts) -> Result<Vec<Release>> {
    let (Some(namespace), Format::Wide) = (&facts.scope().namespace, session.ui.format()) else { return Ok(Vec::new()) };
    let cluster = session.within(namespace).cluster;
    let all = match session.stop.interruptible(helm::all(&cluster)).await? {
        Ok(all) => all,
        Err(failure) => {
            session.ui.warn(&format!("what Helm's releases say is not shown: {}", failure.message));
            return Ok(Vec::new());
        }
    };
    let instances: BTreeSet<&String> = facts.pods().filter_map(|pod| pod.labels().get(helm::INSTANCE)).collect();
    let shown = all.into_iter().filter(|release| instances.is_empty() || instances.contains(&release.name));
    let rows = shown.map(|release| Release {
        name: release.name.clone(),
        status: release.standing(),
        values: release.about_migrations(),
    });
    Ok(rows.filter(|row| !row.values.is_empty()).collect())
}

/// Says what is missing from the picture because this user may not see it.
pub(super) fn tell_denied(session: &Session, observer: &Observer) {
    // Where it is not the namespace that everybody thinks of.
    let other = observer.facts().scope().namespace.as_ref().filter(|namespace| **namespace != session.cluster.namespace);
    let place = other.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
    for subject in observer.denied() {
        session.ui.warn(&format!("{}{place} are not shown: you may not list and watch them", subject.plural()));
    }
}

fn show(session: &Session, status: &Status) -> Result<()> {
    if !session.ui.is_machine() {
        let mark = match status.verdict.state {
            Standing::Fine => "ok:",
            Standing::Moving => "moving:",
            Standing::Wrong => "wrong:",
        };
        session.ui.print_text(&format!("{mark} {}\n", crate::ui::human::harmless(&status.verdict.text)))?;
        for next in &status.verdict.next {
            session.ui.print_text(&format!("  next: {}\n", crate::ui::human::harmless(next)))?;
        }
        session.ui.print_text("\n")?;
    }
    session.ui.print(status)
}

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<WorkloadRow>,
    jobs: Vec<JobRow>,
    pods: Vec<PodRow>,
    claims: Vec<ClaimRow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    copies: Vec<CopyRow>,
    operations: Vec<Operation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    releases: Vec<Release>,
}

/// A Helm release whose values say something about migrations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Release {
    name: String,
    status: String,
    /// `migrations.enabled=true`.
    values: Vec<String>,
}

/// An operation in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    id: String,
    namespace: String,
    phase: &'static str,
    step: String,
    message: String,
    created: Timestamp,
}

impl Status {
    fn of(facts: &Facts, releases: &[Release]) -> Self {
        let operation = |record: &&crate::plan::Record| Operation {
            id: record.id.clone(),
            namespace: record.namespace.clone(),
            phase: record.phase.as_str(),
            step: record
                .at()
                .map(|(index, step)| format!("{} of {}: {}", index + 1, record.steps.len(), step.title))
                .unwrap_or_default(),
            message: record.message.clone(),
            created: record.created,
        };
        Self {
            target: facts.scope().title.clone(),
            namespace: facts.scope().namespace.clone(),
            verdict: Verdict::of(facts),
            workload: facts.workload_row(),
            jobs: facts.job_rows(),
            pods: facts.pod_rows(),
            claims: facts.claim_rows(),
            copies: facts.copy_rows(),
            operations: facts.operations().iter().map(operation).collect(),
            releases: releases.to_vec(),
        }
    }
}

impl Report for Status {
    fn kind(&self) -> &'static str {
        "Status"
    }

    fn table(&self, wide: bool) -> Table {
        let now = Timestamp::now();
        let mut head = vec!["OBJECT", "READY", "STATUS", "RESTARTS", "AGE"];
        if self.namespace.is_none() {
            head.insert(0, "NAMESPACE");
        }
        if wide {
            head.extend(["NODE", "WHY"]);
        }
        let width = head.len();
        let cut = |namespace: &str, mut cells: Vec<String>| {
            if self.namespace.is_none() {
                cells.insert(0, namespace.to_owned());
            }
            cells.truncate(width);
            cells
        };
        let mut table = Table::new(head);
        let none = String::new;
        if let Some(row) = &self.workload {
            let ready = format!("{}/{}", row.ready, row.desired);
            let status = if row.suspended {
                "Suspended"
            } else if row.ready >= row.desired {
                "Ready"
            } else {
                "NotReady"
            };
            let shows_ready = if row.name.starts_with("job/") { none() } else { ready };
            if !row.name.starts_with("job/") {
                table = table.row(cut(
                    "",
                    vec![row.name.clone(), shows_ready, status.to_owned(), "-".into(), "-".into(), none(), row.complaint.clone()],
                ));
            }
        }
        for row in &self.jobs {
            let cells = vec![
                row.name.clone(),
                row.completions.clone(),
                row.state.as_str().to_owned(),
                row.failed.to_string(),
                age(row.started, now),
                none(),
                row.message.clone(),
            ];
            table = table.row(cut(&row.namespace, cells));
        }
        for row in &self.pods {
            let restarts = match row.last_restart {
                Some(last) if row.restarts > 0 => format!("{} ({} ago)", row.restarts, age(Some(last), now)),
                _ => row.restarts.to_string(),
            };
            let node = row.node.clone().unwrap_or_default();
            let cells = vec![
                format!("pod/{}", row.name),
                format!("{}/{}", row.ready, row.containers),
                row.status.clone(),
                restarts,
                age(row.created, now),
                node,
                row.why.clone(),
            ];
            table = table.row(cut(&row.namespace, cells));
        }
        for row in &self.copies {
            let cells = vec![
                format!("pgcopydb/{}", row.pod),
                format!("{}/{}", row.tables.done, row.tables.all),
                row.phase.to_string(),
                "-".into(),
                "-".into(),
                none(),
                row.at_work(),
            ];
            table = table.row(cut(&row.namespace, cells));
        }
        for row in &self.claims {
            let cells = vec![format!("pvc/{}", row.name), row.room(), row.phase.clone(), "-".into(), "-".into(), none(), none()];
            table = table.row(cut(&row.namespace, cells));
        }
        for row in &self.operations {
            let cells = vec![
                format!("operation/{}", row.id),
                "-".into(),
                row.phase.to_owned(),
                "-".into(),
                age(Some(row.created), now),
                none(),
                row.step.clone(),
            ];
            table = table.row(cut(&row.namespace, cells));
        }
        for row in &self.releases {
            let cells = vec![
                format!("helm/{}", row.name),
                "-".into(),
                row.status.clone(),
                "-".into(),
                "-".into(),
                none(),
                row.values.join(", "),
            ];
            table = table.row(cut("", cells));
        }
        table
    }

    fn names(&self) -> Vec<String> {
        let workload = self.workload.iter().map(|row| row.name.clone());
        let jobs = self.jobs.iter().map(|row| row.name.clone());
        workload.chain(jobs).chain(self.pods.iter().map(|row| format!("pod/{}", row.name))).collect()
    }
}
