//! One line: what is wrong, if anything, and what to type next. Pure.

use jiff::{SignedDuration, Timestamp};

use super::facts::Facts;
use super::incident::Incident;
use super::pod::PodRow;
use super::usage::Usage;
use super::workload::{JobRow, JobState};
use crate::plan::{Phase, Record};

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// In one word, for programs.
    pub state: Standing,
    /// In one line, for people.
    pub text: String,
    /// Commands that help, best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
}

/// How things stand, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// As it should be.
    Fine,
    /// On its way; nothing points to a failure.
    Moving,
    /// Somebody has to do something.
    Wrong,
}

impl Verdict {
    /// Judges what is known.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let now = Timestamp::now();
        let pods = facts.pod_rows();
        let jobs = facts.job_rows();
        let operations = facts.operations();
        let judged = operations
            .iter()
            .find_map(|record| of_operation(facts, record))
            .or_else(|| jobs.iter().rev().find_map(of_job))
            .or_else(|| pods.iter().find_map(|pod| of_pod(facts, pod)))
            .or_else(|| of_workload(facts, pods.is_empty()))
            .or_else(|| pods.iter().find_map(|pod| restarting(pod, now)))
            .or_else(|| pods.iter().find_map(moving));
        let judged = judged.unwrap_or_else(|| fine(facts, &pods, &jobs));
        match facts.is_worked_on() {
            true => judged,
            false => with_full_volumes(facts, with_copies(facts, judged)),
        }
    }
}

/// A pgcopydb that needs somebody is what is wrong, or part of it; else how far it is.
fn with_copies(facts: &Facts, mut judged: Verdict) -> Verdict {
    for row in facts.copy_rows() {
        match (row.trouble(false), judged.state) {
            (Some((text, next)), Standing::Wrong) => {
                judged.text += &format!("; {}: {text}", row.name());
                judged.next.push(next);
            }
            (Some((text, next)), Standing::Fine | Standing::Moving) => {
                judged = wrong(format!("{}: {text}", row.name()), vec![next]);
            }
            (None, Standing::Moving) => judged.text += &format!(": pgcopydb {}", row.at_work()),
            (None, Standing::Fine | Standing::Wrong) => {}
        }
    }
    judged
}

/// A full volume is what is wrong, or why.
fn with_full_volumes(facts: &Facts, mut judged: Verdict) -> Verdict {
    for claim in facts.claim_rows() {
        let Some(usage) = claim.usage.filter(Usage::is_full) else { continue };
        let room = format!("pvc/{} is full ({} % of {})", claim.name, usage.used_percent(), claim.capacity);
        judged.text = match judged.state {
            Standing::Wrong => format!("{}; {room}", judged.text),
            Standing::Fine | Standing::Moving => room,
        };
        judged.state = Standing::Wrong;
        if let Some(pod) = facts.pod_with_claim(&claim.name) {
            judged.next.insert(0, format!("kubectl dbmig vacuum {pod} -n {} --dry-run", claim.namespace));
        }
    }
    judged
}

fn wrong(text: String, next: Vec<String>) -> Verdict {
    Verdict { state: Standing::Wrong, text, next }
}

fn at_work(text: String, next: Vec<String>) -> Verdict {
    Verdict { state: Standing::Moving, text, next }
}

fn of_operation(facts: &Facts, record: &Record) -> Option<Verdict> {
    let (id, namespace) = (&record.id, &record.namespace);
    let resume = format!("kubectl dbmig resume {id} -n {namespace}");
    let undo = format!("kubectl dbmig undo {id} -n {namespace}");
    match record.phase {
        Phase::Done | Phase::Failed | Phase::Undone => None,
        Phase::Stopped => Some(wrong(format!("operation {id} stopped half-way: {}", record.message), vec![resume, undo])),
        Phase::Running | Phase::Undoing if facts.is_abandoned(record) => {
            let (way, next) = match record.phase {
                Phase::Undoing => ("undo again", vec![undo]),
                _ => ("resume", vec![resume, undo]),
            };
            let text = format!(
                "operation {id} by {} from {} has lost its process: nobody works on it ({way} does)",
                record.by, record.from
            );
            Some(wrong(text, next))
        }
        Phase::Running => {
            let step = record.at().map(|(index, step)| format!("step {} of {}: {}", index + 1, record.steps.len(), step.title));
            let step = step.unwrap_or_else(|| "at work".to_owned());
            Some(at_work(format!("operation {id} by {} from {}, {step}", record.by, record.from), Vec::new()))
        }
        Phase::Undoing => Some(at_work(format!("operation {id} is being taken back"), Vec::new())),
    }
}

fn of_job(job: &JobRow) -> Option<Verdict> {
    let (namespace, name) = (&job.namespace, &job.name);
    match job.state {
        JobState::Failed => Some(wrong(
            format!("{name} failed: {}", if job.message.is_empty() { "see its log" } else { &job.message }),
            vec![format!("kubectl dbmig logs {name} -n {namespace}")],
        )),
        JobState::Migrated => {
            let running = job.lingering.join(", ");
            let pod = format!("kubectl get pods -n {namespace} -l job-name={}", name.trim_start_matches("job/"));
            Some(at_work(
                format!("{name}: migrated; {running} still runs, so the Job does not end"),
                vec![pod, format!("kubectl exec -n {namespace} POD -c {running} -- kill -TERM 1")],
            ))
        }
        JobState::Suspended => Some(at_work(format!("{name} is suspended"), Vec::new())),
        JobState::Running | JobState::Waiting if job.failed > 0 => Some(wrong(
            format!(
                "{name}: {} tries failed, {}",
                job.failed,
                if job.active > 0 { "one more runs" } else { "it waits for the next one" }
            ),
            vec![format!("kubectl dbmig logs {name} -n {namespace}")],
        )),
        JobState::Running | JobState::Waiting | JobState::Complete => None,
    }
}

/// Statuses that do not go away by waiting.
fn is_wrong(pod: &PodRow) -> bool {
    let status = pod.status.trim_start_matches("Init:");
    let bad = [
        "Error",
        "BackOff",
        "OOMKilled",
        "Invalid",
        "ErrImage",
        "Evicted",
        "Failed",
        "Unknown",
        "ExitCode",
        "Signal",
        "CreateContainer",
        "RunContainer",
        "ContainerCannotRun",
        "DeadlineExceeded",
    ];
    bad.iter().any(|word| status.contains(word)) || (pod.status == "Pending" && pod.why.starts_with("not scheduled"))
}

fn of_pod(facts: &Facts, pod: &PodRow) -> Option<Verdict> {
    if !is_wrong(pod) {
        return None;
    }
    let (namespace, name) = (&pod.namespace, &pod.name);
    let told = explanation(facts, &format!("pod/{name}"))
        .filter(|incident| !pod.why.contains(&incident.message) && incident.reason != "BackOff");
    let mut text = format!("pod/{name} is {}", pod.status);
    if pod.restarts > 0 {
        text += &format!(" after {} restarts", pod.restarts);
    }
    if !pod.why.is_empty() {
        text += &format!(": {}", pod.why);
    }
    if let Some(incident) = told {
        text += &format!("; {}: {}", incident.reason, incident.message);
    }
    let log = format!("kubectl dbmig logs {name} -n {namespace} --previous");
    let events = format!("kubectl dbmig events {name} -n {namespace}");
    Some(wrong(text, if pod.restarts > 0 { vec![log, events] } else { vec![events, log] }))
}

fn explanation<'a>(facts: &'a Facts, object: &str) -> Option<&'a Incident> {
    facts.incidents().into_iter().rev().find(|incident| incident.explains && incident.object == object)
}

fn of_workload(facts: &Facts, no_pods: bool) -> Option<Verdict> {
    let row = facts.workload_row()?;
    let namespace = facts.scope().namespace.clone().unwrap_or_default();
    let failed =
        facts.incidents().into_iter().rev().find(|incident| incident.object == row.name && incident.reason == "FailedCreate");
    let is_cronjob = row.name.starts_with("cronjob/");
    if no_pods
        && row.desired > 0
        && !is_cronjob
        && let Some(incident) = failed
    {
        let events = format!("kubectl dbmig events {} -n {namespace}", row.name);
        return Some(wrong(format!("{} cannot create its pods: {}", row.name, incident.message), vec![events]));
    }
    if !row.complaint.is_empty() {
        return Some(wrong(format!("{}: {}", row.name, row.complaint), Vec::new()));
    }
    if row.desired == 0 && !is_cronjob {
        let scale = format!("kubectl scale {} -n {namespace} --replicas=1", row.name);
        return Some(at_work(format!("{} is scaled to 0", row.name), vec![scale]));
    }
    let behind = row.ready < row.desired || !row.observed;
    (behind && !is_cronjob && !row.name.starts_with("job/"))
        .then(|| at_work(format!("{}: {} of {} ready", row.name, row.ready, row.desired), Vec::new()))
}

/// A container that ended a short while ago may well do so again, even if all is ready for the moment.
const RECENT: SignedDuration = SignedDuration::from_mins(5);

fn restarting(pod: &PodRow, now: Timestamp) -> Option<Verdict> {
    let last = pod.last_restart.filter(|last| now.duration_since(*last) < RECENT && pod.restarts > 1)?;
    let ago = now.duration_since(last).as_secs();
    let log = format!("kubectl dbmig logs {} -n {} --previous", pod.name, pod.namespace);
    Some(wrong(
        format!(
            "pod/{} is {} for now, but was restarted {} times, the last time {ago} s ago",
            pod.name, pod.status, pod.restarts
        ),
        vec![log],
    ))
}

fn moving(pod: &PodRow) -> Option<Verdict> {
    let over = pod.status == "Completed" || pod.status == "Succeeded";
    (!pod.is_ready && !over)
        .then(|| at_work(format!("pod/{} is {} ({}/{} ready)", pod.name, pod.status, pod.ready, pod.containers), Vec::new()))
}

fn fine(facts: &Facts, pods: &[PodRow], jobs: &[JobRow]) -> Verdict {
    let title = &facts.scope().title;
    let text = match (jobs.last(), pods.len()) {
        (Some(job), _) if job.state == JobState::Complete => format!("{} is complete", job.name),
        (Some(job), _) => format!("{} is at work", job.name),
        (None, 0) => format!("{title}: nothing is there"),
        (None, 1) => format!("{title} is ready"),
        (None, count) => format!("{title}: all {count} pods are ready"),
    };
    let moves = jobs.last().is_some_and(|job| job.state != JobState::Complete);
    Verdict { state: if moves { Standing::Moving } else { Standing::Fine }, text, next: Vec::new() }
}
