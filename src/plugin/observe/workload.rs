//! Workloads, Jobs and claims as rows. Pure.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::Value;

use super::usage::Usage;
use crate::cluster::job::is_sidecar;
use crate::cluster::kind::{Kind, TargetRef};

/// A controller of pods.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRow {
    /// `statefulset/upmeter`.
    pub name: String,
    /// Replicas asked for; for a CronJob the Jobs that run.
    pub desired: i64,
    /// Replicas that are ready.
    pub ready: i64,
    /// Replicas of the newest template.
    pub updated: i64,
    /// Nothing is scheduled as long as this holds.
    pub suspended: bool,
    /// The controller has seen the newest spec.
    pub observed: bool,
    /// What its conditions complain of.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub complaint: String,
}

impl WorkloadRow {
    /// Reads what all of them have in common.
    #[must_use]
    pub fn of(asked: &TargetRef, object: &DynamicObject) -> Self {
        let number = |path: &str| object.data.pointer(path).and_then(Value::as_i64);
        let (desired, ready, updated) = match asked.kind {
            Kind::DaemonSet => ("/status/desiredNumberScheduled", "/status/numberReady", "/status/updatedNumberScheduled"),
            _ => ("/spec/replicas", "/status/readyReplicas", "/status/updatedReplicas"),
        };
        let active = object.data.pointer("/status/active").and_then(Value::as_array).map_or(0, Vec::len);
        let seen = number("/status/observedGeneration");
        Self {
            name: asked.to_string(),
            desired: if asked.kind == Kind::CronJob { active as i64 } else { number(desired).unwrap_or(1) },
            ready: number(ready).unwrap_or(0),
            updated: number(updated).unwrap_or(0),
            suspended: object.data.pointer("/spec/suspend").and_then(Value::as_bool).unwrap_or(false),
            observed: seen.is_none_or(|seen| object.metadata.generation.is_none_or(|generation| seen >= generation)),
            complaint: complaint(&object.data),
        }
    }
}

fn complaint(data: &Value) -> String {
    let conditions = data.pointer("/status/conditions").and_then(Value::as_array);
    let text = |condition: &Value, key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let bad = |condition: &&Value| {
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        (kind == "ReplicaFailure" && status == "True") || (kind == "Progressing" && status == "False")
    };
    conditions.into_iter().flatten().filter(bad).map(|condition| text(condition, "message")).collect::<Vec<_>>().join("; ")
}

/// A Job.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobRow {
    /// Namespace.
    pub namespace: String,
    /// `job/db-upgrade`.
    pub name: String,
    /// How it stands.
    pub state: JobState,
    /// Pods that ended well, of those that have to.
    pub completions: String,
    /// Pods at work.
    pub active: i32,
    /// Pods that failed.
    pub failed: i32,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// Why it failed, in the server's words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Containers that still run after the migration's own is done: the Job does not end because of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lingering: Vec<String>,
}

/// How a Job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// No pod of it runs yet, or it waits between two tries.
    Waiting,
    /// At work.
    Running,
    /// Suspended by its spec.
    Suspended,
    /// The migration's container ended well; sidecars keep the pod alive.
    Migrated,
    /// Over, and well.
    Complete,
    /// Over, and not well.
    Failed,
}

impl JobState {
    /// As shown to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Running => "Running",
            Self::Suspended => "Suspended",
            Self::Migrated => "Migrated",
            Self::Complete => "Complete",
            Self::Failed => "Failed",
        }
    }
}

impl JobRow {
    /// A Job together with its pods.
    #[must_use]
    pub fn of<'a>(job: &Job, pods: impl Iterator<Item = &'a Pod>) -> Self {
        let none = JobStatus::default();
        let status = job.status.as_ref().unwrap_or(&none);
        let spec = job.spec.as_ref();
        let has = |kind: &str| {
            status.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == "True")
        };
        let lingering = pods.filter_map(lingering).next().unwrap_or_default();
        let state = match () {
            () if has("Failed").is_some() => JobState::Failed,
            () if has("Complete").is_some() => JobState::Complete,
            () if spec.is_some_and(|spec| spec.suspend == Some(true)) => JobState::Suspended,
            () if !lingering.is_empty() => JobState::Migrated,
            () if status.active.unwrap_or(0) > 0 => JobState::Running,
            () => JobState::Waiting,
        };
        let failure = has("Failed").or_else(|| has("FailureTarget"));
        let words = failure.map(|condition| [condition.reason.as_deref(), condition.message.as_deref()]);
        let end =
            status.completion_time.as_ref().or_else(|| failure.and_then(|condition| condition.last_transition_time.as_ref()));
        Self {
            namespace: job.namespace().unwrap_or_default(),
            name: format!("job/{}", job.name_any()),
            state,
            completions: format!("{}/{}", status.succeeded.unwrap_or(0), spec.and_then(|spec| spec.completions).unwrap_or(1)),
            active: status.active.unwrap_or(0),
            failed: status.failed.unwrap_or(0),
            started: status.start_time.as_ref().map(|time| time.0),
            ended: end.map(|time| time.0),
            message: words.map(|words| words.into_iter().flatten().collect::<Vec<_>>().join(": ")).unwrap_or_default(),
            lingering,
        }
    }
}

const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The containers that still run in a pod whose own work is done: its first container, or the annotated one, ended with 0.
fn lingering(pod: &Pod) -> Option<Vec<String>> {
    let spec = pod.spec.as_ref()?;
    let statuses = pod.status.as_ref()?.container_statuses.as_deref()?;
    let of = |name: &str| statuses.iter().find(|status| status.name == name).and_then(|status| status.state.as_ref());
    let ended_well = |name: &str| of(name).and_then(|state| state.terminated.as_ref()).is_some_and(|ended| ended.exit_code == 0);
    let runs = |name: &str| of(name).is_some_and(|state| state.running.is_some());
    let names = || spec.containers.iter().map(|container| container.name.as_str());
    let annotated = pod.annotations().get(DEFAULT_CONTAINER).map(String::as_str);
    // Without a word from its author: some container ended well, and those that run are known for not ending.
    let own: Vec<&str> = match annotated.filter(|name| names().any(|one| one == *name)) {
        Some(name) => vec![name],
        None => names().filter(|name| !is_sidecar(name)).collect(),
    };
    let rest: Vec<String> = names().filter(|name| runs(name)).map(str::to_owned).collect();
    (!own.is_empty() && own.iter().all(|name| ended_well(name)) && !rest.is_empty()).then_some(rest)
}

/// A claim.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimRow {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `Bound`, `Pending`, `Lost`.
    pub phase: String,
    /// Size as the server gives it: `1Gi`.
    pub capacity: String,
    /// Storage class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// How full it is, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl ClaimRow {
    /// Reads a claim.
    #[must_use]
    pub fn of(claim: &PersistentVolumeClaim) -> Self {
        let status = claim.status.as_ref();
        let capacity = status.and_then(|status| status.capacity.as_ref()).and_then(|capacity| capacity.get("storage"));
        Self {
            namespace: claim.namespace().unwrap_or_default(),
            name: claim.name_any(),
            phase: status.and_then(|status| status.phase.clone()).unwrap_or_else(|| "Pending".to_owned()),
            capacity: capacity.map(|capacity| capacity.0.clone()).unwrap_or_default(),
            class: claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()),
            usage: None,
        }
    }
}

impl ClaimRow {
    /// How large it is, and how full if that is known: `97 % of 1Gi`.
    #[must_use]
    pub fn room(&self) -> String {
        self.usage.map_or_else(|| self.capacity.clone(), |usage| format!("{} % of {}", usage.used_percent(), self.capacity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str, state: serde_json::Value) -> serde_json::Value {
        let mut status = serde_json::json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0});
        status["state"] = state;
        status
    }

    fn pod(names: [&str; 2], states: [serde_json::Value; 2]) -> Pod {
        let [first, second] = states;
        serde_json::from_value(serde_json::json!({"metadata": {"name": "p"},
            "spec": {"containers": [{"name": names[0]}, {"name": names[1]}]},
            "status": {"containerStatuses": [status(names[0], first), status(names[1], second)]}}))
        .unwrap()
    }

    #[test]
    fn a_job_is_judged_by_its_migration_and_not_by_a_sidecar() {
        let job: Job = serde_json::from_value(serde_json::json!({"metadata": {"name": "j"}, "status": {"active": 1}})).unwrap();
        let (up, done) = (serde_json::json!({"running": {}}), serde_json::json!({"terminated": {"exitCode": 0}}));
        let failed = serde_json::json!({"terminated": {"exitCode": 1}});
        let of = |names, states| JobRow::of(&job, std::iter::once(&pod(names, states)));
        let row = of(["cloud-sql-proxy", "migrate"], [up.clone(), done.clone()]);
        assert_eq!((row.state, row.lingering), (JobState::Migrated, vec!["cloud-sql-proxy".to_owned()]));
        assert_eq!(of(["cloud-sql-proxy", "migrate"], [up.clone(), failed]).state, JobState::Running);
        // Two workers, one of which is quicker.
        assert_eq!(of(["one", "two"], [up, done]).state, JobState::Running);
    }

    #[test]
    fn a_workload_is_read_whatever_its_kind() {
        let object = |value| serde_json::from_value::<DynamicObject>(value).unwrap();
        let set = object(
            serde_json::json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "x", "generation": 3},
            "spec": {"replicas": 2}, "status": {"readyReplicas": 1, "observedGeneration": 2}}),
        );
        let row = WorkloadRow::of(&TargetRef { kind: Kind::StatefulSet, name: "x".to_owned() }, &set);
        assert_eq!((row.desired, row.ready, row.observed), (2, 1, false));
        let failing =
            object(serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "status": {
            "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]}}));
        assert_eq!(
            WorkloadRow::of(&TargetRef { kind: Kind::Deployment, name: "x".to_owned() }, &failing).complaint,
            "exceeded quota"
        );
    }
}
