//! Waiting for pods: one watch, one condition, one limit. Nothing here polls.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Event as Incident, Pod};
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};

use super::Cluster;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;

/// A container that has run for so long does not end by what it does when it starts.
const SETTLED: Duration = Duration::from_secs(60);

/// What a condition says of the pods it is shown.
pub enum Verdict<T> {
    /// It holds.
    Met(T),
    /// Not yet; one line on what is missing.
    Waiting(String),
    /// It can't hold any more.
    Never(Failure),
}

/// Which pods to watch, and how long.
pub struct Wait<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Field selector such as `metadata.name=x`; empty for all pods.
    pub fields: &'a str,
    /// How long to wait.
    pub limit: Duration,
    /// What is waited for, for the message when the time is over: `pod upmeter-0 to go`.
    pub what: &'a str,
}

impl Wait<'_> {
    /// Waits until a condition holds over the pods, told of each change. Survives an API server that goes away for a while.
    ///
    /// # Errors
    /// `Failed` with the last "waiting" line when the limit is over, `Interrupted` when the user asks to stop, and what the condition says.
    pub async fn until<T>(&self, cluster: &Cluster, stop: &Stop, mut condition: impl FnMut(&[Pod]) -> Verdict<T>) -> Result<T> {
        let mut missing = String::new();
        let looking = self.look(cluster, &mut missing, &mut condition);
        match stop.interruptible(tokio::time::timeout(self.limit, looking)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => {
                Err(Failure::failed(format!("waited {} s for {}", self.limit.as_secs(), self.what)).facts(lines(&missing)))
            }
            Err(_) => Err(Failure::new(Exit::Interrupted, format!("stopped while waiting for {}", self.what))),
        }
    }

    async fn look<T>(
        &self,
        cluster: &Cluster,
        missing: &mut String,
        condition: &mut impl FnMut(&[Pod]) -> Verdict<T>,
    ) -> Result<T> {
        let api: Api<Pod> = Api::namespaced(cluster.client.clone(), self.namespace);
        let config = watcher::Config::default().fields(self.fields);
        let mut events = std::pin::pin!(watch(api, config).default_backoff());
        let (mut pods, mut listed) = (BTreeMap::new(), false);
        loop {
            match events.try_next().await {
                Ok(Some(event)) => listed |= apply(&mut pods, event),
                Ok(None) => {}
                Err(error) => {
                    if let Some(failure) = final_error(&error, self.what) {
                        return Err(failure);
                    }
                    continue;
                }
            }
            if !listed {
                continue; // Half a list is no evidence that a pod is gone.
            }
            let now: Vec<Pod> = pods.values().cloned().collect();
            match condition(&now) {
                Verdict::Met(value) => return Ok(value),
                Verdict::Waiting(line) => *missing = line,
                Verdict::Never(failure) => return Err(failure),
            }
        }
    }
}

/// Returns when the kubelet has said that it started a container of a pod. It looks only once a second for what it writes into the
/// pod's status, and tells this at once. Never returns where that is not told, or may not be read.
pub async fn started(cluster: &Cluster, namespace: &str, uid: &str, container: &str) {
    let api: Api<Incident> = Api::namespaced(cluster.client.clone(), namespace);
    let field = format!("spec.containers{{{container}}}");
    let config = watcher::Config::default().fields(&format!("involvedObject.uid={uid},reason=Started"));
    let mut told = std::pin::pin!(watch(api, config).applied_objects());
    while let Ok(Some(incident)) = told.try_next().await {
        if incident.involved_object.field_path.as_deref() == Some(&field) {
            return;
        }
    }
    std::future::pending::<()>().await;
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Applies a change; true once a whole list has been seen.
fn apply(pods: &mut BTreeMap<String, Pod>, event: Event<Pod>) -> bool {
    let key = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
    match event {
        Event::Init => {
            pods.clear();
            false
        }
        Event::InitApply(pod) => {
            pods.insert(key(&pod), pod);
            false
        }
        Event::InitDone => true,
        Event::Apply(pod) => {
            pods.insert(key(&pod), pod);
            true
        }
        Event::Delete(pod) => {
            pods.remove(&key(&pod));
            true
        }
    }
}

/// Errors that waiting won't mend.
fn final_error(error: &watcher::Error, what: &str) -> Option<Failure> {
    let (watcher::Error::InitialListFailed(source)
    | watcher::Error::WatchStartFailed(source)
    | watcher::Error::WatchFailed(source)) = error
    else {
        return None;
    };
    let kube::Error::Api(status) = source else { return None };
    matches!(status.code, 401 | 403).then(|| super::error::translate(source, &format!("wait for {what}")))
}

/// All container statuses, init containers first.
pub fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_deref()).unwrap_or_default();
    let main = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    init.iter().chain(main)
}

/// Whether a pod that is being deleted has no process left: the kubelet may take a while longer to let go of it.
#[must_use]
pub fn has_stopped(pod: &Pod) -> bool {
    let count = pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
    let status = pod.status.as_ref();
    let mains = status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    let ended = |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.terminated.is_some());
    let all_ended = count > 0 && mains.len() == count && mains.iter().all(ended);
    pod.metadata.deletion_timestamp.is_some() && all_ended && !statuses(pod).any(is_running)
}

/// Whether the pod's Ready condition is true.
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none() && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Why a pod is not running yet or any more, as kubectl's STATUS column would say it, with the message behind it.
#[must_use]
pub fn why_not_ready(pod: &Pod) -> String {
    for status in statuses(pod) {
        let state = status.state.as_ref();
        if let Some(waiting) = state.and_then(|s| s.waiting.as_ref()) {
            let reason = waiting.reason.as_deref().unwrap_or("Waiting");
            if !matches!(reason, "PodInitializing" | "ContainerCreating") {
                return format!("container {}: {reason}{}", status.name, colon(waiting.message.as_deref()));
            }
        }
        if let Some(ended) = state.and_then(|s| s.terminated.as_ref()).filter(|ended| ended.exit_code != 0) {
            let reason = ended.reason.as_deref().unwrap_or("Error");
            return format!(
                "container {}: {reason}, exit code {}{}",
                status.name,
                ended.exit_code,
                colon(ended.message.as_deref())
            );
        }
    }
    let status = pod.status.as_ref();
    let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    if let Some(condition) = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False") {
        return format!("not scheduled{}", colon(condition.message.as_deref()));
    }
    let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or("Pending");
    format!("{phase}{}", colon(status.and_then(|s| s.message.as_deref())))
}

/// A container runs.
#[must_use]
pub fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

/// A container runs, and not only for the moment: one that was just started again, or is not Ready yet, may be on its way to its end.
#[must_use]
pub fn stays(status: &ContainerStatus) -> bool {
    let Some(running) = status.state.as_ref().and_then(|state| state.running.as_ref()) else { return false };
    let begun = running.started_at.as_ref().map(|time| time.0);
    let is_old = begun.is_some_and(|begun| Timestamp::now().duration_since(begun).unsigned_abs() > SETTLED);
    is_old || (status.ready && status.restart_count == 0)
}

/// The command line of a container, as far as its spec says it.
pub fn command_line(container: &Container) -> impl Iterator<Item = &String> {
    container.command.iter().chain(&container.args).flatten()
}

/// What keeps a container from starting that does not go away by waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// Its image was not to be had; the kubelet tries again now and then.
    Pull,
    /// Its image never will be: a name that is none, or one that may not be pulled.
    Image,
    /// Its configuration is wrong, or the runtime can't start it.
    Start,
}

impl Obstacle {
    /// The obstacle in what a kubelet says of a container. It calls the configuration wrong, too, when it has not heard of Secrets and
    /// ConfigMaps in time, as on a busy node; that passes.
    #[must_use]
    pub fn of(why: &str) -> Option<Self> {
        const KNOWN: [(&str, Obstacle); 5] = [
            ("ImagePullBackOff", Obstacle::Pull),
            ("InvalidImageName", Obstacle::Image),
            ("ErrImageNeverPull", Obstacle::Image),
            ("RunContainerError", Obstacle::Start),
            ("CreateContainerConfigError", Obstacle::Start),
        ];
        let (reason, obstacle) = KNOWN.into_iter().find(|(reason, _)| why.contains(reason))?;
        let passes = reason == "CreateContainerConfigError" && why.contains("failed to sync");
        (!passes).then_some(obstacle)
    }
}

fn colon(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).map(|text| format!(": {text}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_just_started_again_does_not_stay() {
        let of = |seconds: i64, ready: bool, restarts: i32| -> ContainerStatus {
            let at = Timestamp::now() - jiff::SignedDuration::from_secs(seconds);
            let state = serde_json::json!({"running": {"startedAt": at.to_string()}});
            serde_json::from_value(serde_json::json!({"name": "c", "image": "i", "imageID": "", "ready": ready, "restartCount": restarts, "state": state}))
                .unwrap()
        };
        assert!(stays(&of(1, true, 0)) && stays(&of(100, true, 3)) && stays(&of(100, false, 3)));
        assert!(!stays(&of(1, false, 0)) && !stays(&of(10, true, 1)));
    }

    #[test]
    fn a_secret_that_is_missing_stays_wrong_and_one_not_heard_of_yet_does_not() {
        let why = |message: &str| format!("container main: CreateContainerConfigError: {message}");
        assert_eq!(Obstacle::of(&why("secret \"pg\" not found")), Some(Obstacle::Start));
        assert_eq!(Obstacle::of(&why("failed to sync secret cache: timed out waiting for the condition")), None);
    }

    #[test]
    fn an_image_that_may_still_come_is_told_from_one_that_never_will() {
        let of = |reason: &str| Obstacle::of(&format!("container main: {reason}: …"));
        assert_eq!(of("ImagePullBackOff"), Some(Obstacle::Pull));
        // The first try: a kubelet says so for a moment, and then whether it goes on trying.
        assert_eq!(of("ErrImagePull"), None);
        assert_eq!(of("ErrImageNeverPull"), Some(Obstacle::Image));
        assert_eq!(of("InvalidImageName"), Some(Obstacle::Image));
        assert_eq!(of("RunContainerError"), Some(Obstacle::Start));
        assert_eq!(of("ContainerCreating"), None);
    }
}
