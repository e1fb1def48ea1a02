//! What the cluster knows of a migration: states, last words in logs, events, Helm's own notes. Reads only.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use crate::cluster::Cluster;
use crate::cluster::helm::INSTANCE;
use crate::cluster::pods::{is_ready, statuses};
use crate::command::kept_logs::last_said;
use crate::framework::log::explain;
use crate::framework::{Finding, Framework, Level, State};
use crate::observe::{ClaimRow, Facts, JobRow, JobState, Scope, Standing, Verdict};

/// Last lines of each container in which known complaints are looked for.
const LINES: i64 = 200;
/// Releases that Helm left in the middle of something (helm.sh/helm, `pkg/release/v1/status.go`).
const PENDING: &str = "owner=helm,status in (pending-install,pending-upgrade,pending-rollback)";

/// What a log says is wrong.
pub(super) struct Complaint {
    finding: Finding,
    /// Whose bookkeeping table shows it, too.
    books_of: Option<Framework>,
}

impl Complaint {
    /// As a finding, beside what the bookkeeping tables say now. Where those that would show it are well, it has been set right since.
    pub(super) fn beside(self, states: &[&State]) -> Finding {
        let Self { finding, books_of } = self;
        let own: Vec<_> = states.iter().filter(|state| books_of == Some(state.framework)).collect();
        let is_well = |state: &State| state.findings().iter().all(|finding| finding.level == Level::Note);
        if own.is_empty() || !own.iter().all(|state| is_well(state)) {
            return finding;
        }
        let what = format!("{}: so it was said before, and the bookkeeping table is well now", finding.what);
        Finding { level: Level::Note, what, next: Vec::new(), ..finding }
    }
}

/// Everything that is found without asking a database; what logs say comes apart.
pub(super) async fn look(cluster: &Cluster, facts: &Facts, verdict: Verdict) -> (Vec<Finding>, Vec<Complaint>) {
    let (logs, helm, jobs) = tokio::join!(of_logs(cluster, facts), of_helm(cluster, facts), of_jobs(cluster, facts, &verdict));
    let events = of_events(facts, &verdict.text);
    let claims = of_claims(facts);
    (of_verdict(verdict).into_iter().chain(jobs).chain(claims).chain(events).chain(helm).collect(), logs)
}

fn of_verdict(verdict: Verdict) -> Option<Finding> {
    let level = match verdict.state {
        Standing::Fine => return None,
        Standing::Moving => Level::Note,
        Standing::Wrong => Level::Broken,
    };
    Some(verdict.next.iter().fold(Finding::new(level, verdict.text), Finding::next))
}

/// Lines of containers that are not well, as far as it is known what they mean; the newest of each meaning.
async fn of_logs(cluster: &Cluster, facts: &Facts) -> Vec<Complaint> {
    let sick: Vec<Pod> = facts.pods().filter(|pod| is_sick(pod)).cloned().collect();
    let mut said = BTreeSet::new();
    let mut complaints = Vec::new();
    for log in last_said(&cluster.client, &sick, LINES).await {
        for line in log.lines.iter().rev() {
            let text = String::from_utf8_lossy(&line.text);
            let Some(meaning) = explain(&text).filter(|meaning| said.insert(meaning.means.clone())) else { continue };
            let books_of = meaning.framework.filter(|_| meaning.in_books);
            let finding = Finding::new(Level::Broken, meaning.means).evidence(format!("{}: {text}", log.source));
            complaints.push(Complaint { finding: finding.next(meaning.next), books_of });
        }
    }
    complaints
}

fn is_sick(pod: &Pod) -> bool {
    let over = pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Succeeded"));
    !over && (!is_ready(pod) || statuses(pod).any(|status| status.restart_count > 0))
}

/// Events that explain a failure and that the verdict has not told; each reason of an object once, the newest.
fn of_events(facts: &Facts, told: &str) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let newest_first = facts.incidents().into_iter().rev();
    let news = newest_first.filter(|incident| incident.explains && !told.contains(&incident.message));
    news.filter(|incident| seen.insert((incident.object.clone(), incident.reason.clone())))
        .take(5)
        .map(|incident| Finding::new(Level::Note, format!("{}: {}: {}", incident.object, incident.reason, incident.message)))
        .collect()
}

/// Migrations of the same release that failed as Jobs of their own: what the workload waits for, or why its release was not upgraded.
async fn of_jobs(cluster: &Cluster, facts: &Facts, verdict: &Verdict) -> Vec<Finding> {
    let Some(namespace) = &facts.scope().namespace else { return failed(facts.job_rows().into_iter(), verdict) };
    let instances: BTreeSet<&String> = facts.pods().filter_map(|pod| pod.labels().get(INSTANCE)).collect();
    let is_ours = |job: &Job| match job.labels().get(INSTANCE) {
        Some(instance) => instances.contains(instance),
        None => instances.is_empty(),
    };
    let jobs: Api<Job> = Api::namespaced(cluster.client.clone(), namespace);
    // Who may not list Jobs is told of none.
    let Ok(list) = jobs.list(&ListParams::default()).await else { return Vec::new() };
    let migrations = Scope::migrations(Some(namespace.clone()));
    failed(
        list.items.iter().filter(|job| migrations.has_job(job) && is_ours(job)).map(|job| JobRow::of(job, facts.pods())),
        verdict,
    )
}

/// Those that failed and of which the verdict has not told.
fn failed(rows: impl Iterator<Item = JobRow>, verdict: &Verdict) -> Vec<Finding> {
    let failed = rows.filter(|row| row.state == JobState::Failed && !verdict.text.contains(&row.name));
    let finding = |row: JobRow| {
        Finding::new(Level::Broken, format!("{}, which migrates this release, failed: {}", row.name, row.message))
            .next(format!("kubectl dbmig logs {} -n {}", row.name, row.namespace))
            .next(format!("kubectl dbmig doctor {} -n {}", row.name, row.namespace))
    };
    failed.map(finding).collect()
}

/// Claims without a volume: pods that mount them don't start.
fn of_claims(facts: &Facts) -> Vec<Finding> {
    let unbound = facts.claim_rows().into_iter().filter(|claim| claim.phase != "Bound");
    let finding = |claim: ClaimRow| {
        Finding::new(Level::Attention, format!("pvc/{} is {}: no volume is bound to it", claim.name, claim.phase))
            .next(format!("kubectl describe pvc {} -n {}", claim.name, claim.namespace))
    };
    unbound.map(finding).collect()
}

/// A release that was left pending refuses every upgrade. Who may not list Secrets is not told of any.
async fn of_helm(cluster: &Cluster, facts: &Facts) -> Vec<Finding> {
    let secrets: Api<Secret> = match &facts.scope().namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    };
    let Ok(list) = secrets.list_metadata(&ListParams::default().labels(PENDING)).await else { return Vec::new() };
    let of = |labels: &std::collections::BTreeMap<String, String>, key: &str| labels.get(key).cloned().unwrap_or_default();
    list.items
        .iter()
        .map(|secret| {
            let (release, status) = (of(secret.labels(), "name"), of(secret.labels(), "status"));
            let namespace = secret.namespace().unwrap_or_default();
            Finding::new(
                Level::Attention,
                format!("Helm release {release} is {status}: an upgrade of it was cut off, or still runs"),
            )
            .evidence(format!("secret/{}", secret.name_any()))
            .next(format!("helm history {release} -n {namespace}"))
            .next(format!("helm rollback {release} -n {namespace}"))
        })
        .collect()
}
