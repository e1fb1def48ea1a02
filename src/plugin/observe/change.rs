//! What a pod, a workload, a Job and an operation are now, in words.

use super::pod::PodRow;
use super::workload::{JobRow, WorkloadRow};
use crate::plan::{Phase, Record, StepState};

/// A change in words.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// `pod/upmeter-0`.
    pub object: String,
    /// What it is now: `0/1 CrashLoopBackOff, 3 restarts`.
    pub text: String,
    /// It is not as it should be.
    pub bad: bool,
}

pub(super) fn of_pod(row: &PodRow) -> Change {
    let mut text = format!("{}/{} {}", row.ready, row.containers, row.status);
    match row.restarts {
        0 => {}
        1 => text += ", 1 restart",
        restarts => text += &format!(", {restarts} restarts"),
    }
    if !row.why.is_empty() && row.why != row.status {
        text += &format!(" ({})", row.why);
    }
    let fine = row.is_ready
        || matches!(
            row.status.as_str(),
            "Pending" | "ContainerCreating" | "PodInitializing" | "Completed" | "Terminating" | "Running"
        );
    Change { object: format!("pod/{}", row.name), text, bad: !fine && !row.status.starts_with("Init:0") }
}

pub(super) fn of_workload(row: &WorkloadRow) -> String {
    let mut text = match row.name.starts_with("cronjob/") {
        true => format!("{} running", row.desired),
        false => format!("{}/{} ready", row.ready, row.desired),
    };
    if row.suspended {
        text += ", suspended";
    }
    if !row.complaint.is_empty() {
        text += &format!(": {}", row.complaint);
    }
    text
}

pub(super) fn of_job(row: &JobRow) -> String {
    let mut text = format!("{}, {} completions", row.state.as_str(), row.completions);
    if row.failed > 0 {
        text += &format!(", {} failed", row.failed);
    }
    if !row.lingering.is_empty() {
        text += &format!(": the migration ended well, {} still runs", row.lingering.join(", "));
    }
    if !row.message.is_empty() {
        text += &format!(": {}", row.message);
    }
    text
}

pub(super) fn of_record(record: &Record) -> Change {
    let done = record.steps.iter().filter(|step| step.state == StepState::Done).count();
    let mut text = match record.at() {
        Some((index, step)) => {
            format!("{}, step {} of {}: {}", record.phase.as_str(), index + 1, record.steps.len(), step.title)
        }
        None => format!("{}, {done} of {} steps", record.phase.as_str(), record.steps.len()),
    };
    if !record.message.is_empty() {
        text += &format!(": {}", record.message);
    }
    Change { object: format!("operation/{}", record.id), text, bad: record.phase == Phase::Stopped }
}
