//! A pod as people see it in kubectl's list. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodStatus};
use kube::ResourceExt as _;

use crate::cluster::pods::{is_ready, is_running, why_not_ready};

/// One line about a pod.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodRow {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Ready containers.
    pub ready: usize,
    /// Containers in all; sidecars of the newer kind count.
    pub containers: usize,
    /// kubectl's STATUS: a phase, or the reason that says more.
    pub status: String,
    /// The pod counts as ready.
    pub is_ready: bool,
    /// How often its containers were restarted, in all.
    pub restarts: i32,
    /// When one of them was restarted last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_restart: Option<Timestamp>,
    /// When it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Why it is not ready, with the message behind the reason; empty when it is ready or over.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl PodRow {
    /// As kubectl prints it (kubernetes: `pkg/printers/internalversion/printers.go`, `printPod`).
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let none = PodStatus::default();
        let status = pod.status.as_ref().unwrap_or(&none);
        let spec = pod.spec.clone().unwrap_or_default();
        let init = spec.init_containers.unwrap_or_default();
        let init_statuses = status.init_container_statuses.as_deref().unwrap_or_default();
        let statuses = status.container_statuses.as_deref().unwrap_or_default();
        let sidecars = || init.iter().filter(|container| is_sidecar(container));
        let is_up = |status: &&ContainerStatus| status.ready && is_running(status);
        let ready_sidecars =
            sidecars().filter(|sidecar| init_statuses.iter().any(|status| status.name == sidecar.name && is_up(&status)));
        let ready = statuses.iter().filter(is_up).count() + ready_sidecars.count();
        let shown = reason(pod, status, &init, init_statuses, statuses);
        let is_ready = is_ready(pod);
        let is_over = matches!(shown.as_str(), "Completed" | "Succeeded");
        let restarted = statuses.iter().chain(init_statuses);
        let last = restarted.clone().filter_map(last_restart);
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            ready,
            containers: spec.containers.len() + sidecars().count(),
            why: if is_ready || is_over { String::new() } else { why(pod, statuses) },
            status: shown,
            is_ready,
            restarts: restarted.map(|status| status.restart_count).sum(),
            last_restart: last.max(),
            created: pod.creation_timestamp().map(|time| time.0),
            node: spec.node_name,
        }
    }
}

/// Of a container that waits for its next start the end of the last one says more than the kubelet's "back-off".
fn why(pod: &Pod, statuses: &[ContainerStatus]) -> String {
    let waits = |status: &&ContainerStatus| {
        let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
        waiting.and_then(|waiting| waiting.reason.as_deref()) == Some("CrashLoopBackOff")
    };
    let ending = |status: &ContainerStatus| {
        let last = status.last_state.as_ref()?.terminated.as_ref()?;
        let said = last.message.as_deref().map(|said| format!(": {}", said.trim())).unwrap_or_default();
        let reason =
            last.reason.as_deref().filter(|reason| *reason != "Error").map(|reason| format!("{reason}, ")).unwrap_or_default();
        Some(format!("container {} ended with {reason}exit code {}{said}", status.name, last.exit_code))
    };
    statuses.iter().find(waits).and_then(ending).unwrap_or_else(|| why_not_ready(pod))
}

/// When the start before this one ended. A kubelet that has cleared that one away still knows when this one began.
fn last_restart(status: &ContainerStatus) -> Option<Timestamp> {
    let ended = || Some(status.last_state.as_ref()?.terminated.as_ref()?.finished_at.as_ref()?.0);
    let began = || Some(status.state.as_ref()?.running.as_ref()?.started_at.as_ref()?.0);
    ended().or_else(|| began().filter(|_| status.restart_count > 0))
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn reason(
    pod: &Pod,
    status: &PodStatus,
    init: &[Container],
    init_statuses: &[ContainerStatus],
    mains: &[ContainerStatus],
) -> String {
    let own = || status.reason.clone().filter(|reason| !reason.is_empty());
    let mut shown = own().or_else(|| status.phase.clone()).unwrap_or_else(|| "Pending".to_owned());
    if let Some(initialising) = initialising(init, init_statuses) {
        shown = initialising;
    } else {
        let mut one_runs = false;
        for container in mains.iter().rev() {
            one_runs |= container.ready && is_running(container);
            shown = stopped(container).unwrap_or(shown);
        }
        if shown == "Completed" && one_runs {
            shown = if is_ready(pod) { "Running" } else { "NotReady" }.to_owned();
        }
    }
    if pod.metadata.deletion_timestamp.is_some() {
        let lost = status.reason.as_deref() == Some("NodeLost");
        let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        match (lost, over) {
            (true, _) => shown = "Unknown".to_owned(),
            (false, false) => shown = "Terminating".to_owned(),
            (false, true) => {}
        }
    }
    shown
}

/// `Init:…` as long as an init container has to do its work.
fn initialising(init: &[Container], statuses: &[ContainerStatus]) -> Option<String> {
    for (index, container) in init.iter().enumerate() {
        let status = statuses.iter().find(|status| status.name == container.name)?;
        let state = status.state.as_ref();
        if state.and_then(|state| state.terminated.as_ref()).is_some_and(|ended| ended.exit_code == 0) {
            continue;
        }
        if is_sidecar(container) && status.started == Some(true) {
            continue;
        }
        let waits = state.and_then(|state| state.waiting.as_ref()).and_then(|waiting| waiting.reason.as_deref());
        let detail = match waits {
            Some("PodInitializing") | None => None,
            Some(reason) => Some(reason.to_owned()),
        };
        let detail = detail.or_else(|| state.and_then(|state| state.terminated.as_ref()).map(ended));
        return Some(format!("Init:{}", detail.unwrap_or_else(|| format!("{index}/{}", init.len()))));
    }
    None
}

fn stopped(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    let waits = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone()).filter(|reason| !reason.is_empty());
    waits.or_else(|| state.terminated.as_ref().map(ended))
}

fn ended(state: &k8s_openapi::api::core::v1::ContainerStateTerminated) -> String {
    match (state.reason.as_deref().filter(|reason| !reason.is_empty()), state.signal.filter(|signal| *signal != 0)) {
        (Some(reason), _) => reason.to_owned(),
        (None, Some(signal)) => format!("Signal:{signal}"),
        (None, None) => format!("ExitCode:{}", state.exit_code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(spec: serde_json::Value, status: serde_json::Value) -> (String, String) {
        let mut pod = serde_json::json!({"metadata": {"name": "p"}});
        (pod["spec"], pod["status"]) = (spec, status);
        let row = PodRow::of(&serde_json::from_value(pod).unwrap());
        (format!("{}/{}", row.ready, row.containers), row.status)
    }

    fn status(name: &str, ready: bool, state: serde_json::Value) -> serde_json::Value {
        let mut status = serde_json::json!({"name": name, "image": "i", "imageID": "", "ready": ready, "restartCount": 0});
        status["state"] = state;
        status
    }

    #[test]
    fn a_restart_is_known_by_the_end_before_it_or_by_its_own_beginning() {
        let (ended, began) = ("2026-01-01T10:00:00Z", "2026-01-01T10:00:20Z");
        let restart = |restarts: i32, last: serde_json::Value| {
            let mut one = status("a", true, serde_json::json!({"running": {"startedAt": began}}));
            (one["restartCount"], one["lastState"]) = (restarts.into(), last);
            last_restart(&serde_json::from_value(one).unwrap()).map(|at| at.to_string())
        };
        let last = serde_json::json!({"terminated": {"exitCode": 1, "finishedAt": ended}});
        assert_eq!(restart(2, last).as_deref(), Some(ended));
        assert_eq!(restart(2, serde_json::json!({})).as_deref(), Some(began));
        assert_eq!(restart(0, serde_json::json!({})), None);
    }

    #[test]
    fn the_status_is_the_one_that_kubectl_shows() {
        let two = serde_json::json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let up = serde_json::json!({"running": {}});
        let done = serde_json::json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        let crash = serde_json::json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let of = |one: &serde_json::Value, two_up: bool, phase: &str| {
            let statuses = [status("a", false, one.clone()), status("b", two_up, up.clone())];
            row(two.clone(), serde_json::json!({"phase": phase, "containerStatuses": statuses}))
        };
        assert_eq!(of(&crash, true, "Running"), ("1/2".to_owned(), "CrashLoopBackOff".to_owned()));
        assert_eq!(of(&done, true, "Running"), ("1/2".to_owned(), "NotReady".to_owned()));
        assert_eq!(row(two.clone(), serde_json::json!({"phase": "Pending"})), ("0/2".to_owned(), "Pending".to_owned()));
        let evicted = serde_json::json!({"phase": "Failed", "reason": "Evicted"});
        assert_eq!(row(two, evicted).1, "Evicted");
    }

    #[test]
    fn an_init_container_is_counted_or_named() {
        let spec = serde_json::json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
        let done = status("i", true, serde_json::json!({"terminated": {"exitCode": 0}}));
        let of = |state: serde_json::Value| {
            let status =
                serde_json::json!({"phase": "Pending", "initContainerStatuses": [done.clone(), status("j", false, state)]});
            row(spec.clone(), status).1
        };
        assert_eq!(of(serde_json::json!({"running": {}})), "Init:1/2");
        assert_eq!(of(serde_json::json!({"waiting": {"reason": "CrashLoopBackOff"}})), "Init:CrashLoopBackOff");
        assert_eq!(of(serde_json::json!({"terminated": {"exitCode": 3}})), "Init:ExitCode:3");
        assert_eq!(of(serde_json::json!({"terminated": {"exitCode": 137, "signal": 9}})), "Init:Signal:9");
    }
}
