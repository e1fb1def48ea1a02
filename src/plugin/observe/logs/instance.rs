//! A container and its starts: each start has a log of its own. Pure.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use kube::ResourceExt as _;
use serde::{Deserialize, Serialize};

/// What a container is in its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Role {
    Init,
    Main,
    Ephemeral,
}

/// A container of one pod. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Named", into = "Named")]
pub struct Source(Arc<Named>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Named {
    namespace: String,
    pod: String,
    uid: String,
    container: String,
    role: Role,
}

impl Source {
    /// A container of this pod.
    #[must_use]
    pub fn new(pod: &Pod, container: &str, role: Role) -> Self {
        Self(Arc::new(Named {
            namespace: pod.namespace().unwrap_or_default(),
            pod: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            container: container.to_owned(),
            role,
        }))
    }

    /// Namespace of the pod.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// Name of the pod.
    #[must_use]
    pub fn pod(&self) -> &str {
        &self.0.pod
    }

    /// Uid of the pod: a new pod of the same name is another one.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.0.uid
    }

    /// Name of the container.
    #[must_use]
    pub fn container(&self) -> &str {
        &self.0.container
    }

    /// What it is in its pod.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.role
    }
}

impl From<Named> for Source {
    fn from(named: Named) -> Self {
        Self(Arc::new(named))
    }
}

impl From<Source> for Named {
    fn from(source: Source) -> Self {
        Arc::unwrap_or_clone(source.0)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.pod, self.0.container)
    }
}

/// One start of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Id of the runtime: `containerd://…`.
    pub id: String,
    /// How often the container was started before.
    pub restarts: i32,
    /// How it ended; `None` while it runs.
    pub ending: Option<Ending>,
    /// Id and ending of the start before it, where the kubelet still tells.
    pub before: Option<(String, Ending)>,
}

/// How a start of a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ending {
    /// Exit code; 128 + the signal where a signal ended it.
    pub exit_code: i32,
    /// The kubelet's word: `Completed`, `Error`, `OOMKilled`.
    pub reason: String,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exit_code {
            0 => f.write_str("exit code 0"),
            code if matches!(self.reason.as_str(), "" | "Error") => write!(f, "exit code {code}"),
            code => write!(f, "{}, exit code {code}", self.reason),
        }
    }
}

impl Instance {
    /// The newest start that has a log. `None` before the first one.
    #[must_use]
    pub fn newest(status: &ContainerStatus) -> Option<Self> {
        let (now, before) = (status.state.as_ref(), status.last_state.as_ref());
        let restarts = status.restart_count;
        let last = before.and_then(|state| state.terminated.as_ref()).and_then(|ended| Self::ended(ended, restarts, None));
        let told = last.clone().and_then(|last| Some((last.id, last.ending?)));
        if now.is_some_and(|state| state.running.is_some()) {
            let id = status.container_id.clone().filter(|id| !id.is_empty())?;
            return Some(Self { id, restarts, ending: None, before: told });
        }
        if let Some(ended) = now.and_then(|state| state.terminated.as_ref()) {
            let ended = Self::ended(ended, restarts, status.container_id.as_deref())?;
            return Some(Self { before: told, ..ended });
        }
        // It waits for its next start, which the count of restarts does not know yet.
        last
    }

    fn ended(state: &ContainerStateTerminated, restarts: i32, id: Option<&str>) -> Option<Self> {
        let id = state.container_id.as_deref().or(id).filter(|id| !id.is_empty())?.to_owned();
        let ending = Ending {
            exit_code: state.exit_code,
            reason: state.reason.clone().unwrap_or_default(),
            finished: state.finished_at.as_ref().map(|time| time.0),
        };
        Some(Self { id, restarts, ending: Some(ending), before: None })
    }
}

/// All containers of a pod in the order in which they start, each with its status if it has one.
pub(super) fn containers(pod: &Pod) -> Vec<(Role, String, Option<&ContainerStatus>)> {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let names = |role: Role| -> Vec<String> {
        let Some(spec) = spec else { return Vec::new() };
        match role {
            Role::Init => spec.init_containers.iter().flatten().map(|container| container.name.clone()).collect(),
            Role::Main => spec.containers.iter().map(|container| container.name.clone()).collect(),
            Role::Ephemeral => spec.ephemeral_containers.iter().flatten().map(|container| container.name.clone()).collect(),
        }
    };
    let statuses = |role: Role| {
        let status = status?;
        match role {
            Role::Init => status.init_container_statuses.as_ref(),
            Role::Main => status.container_statuses.as_ref(),
            Role::Ephemeral => status.ephemeral_container_statuses.as_ref(),
        }
    };
    let of = |role: Role| {
        let known = statuses(role);
        names(role).into_iter().map(move |name| {
            let status = known.and_then(|known| known.iter().find(|status| status.name == name));
            (role, name, status)
        })
    };
    [Role::Init, Role::Main, Role::Ephemeral].into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(status: &serde_json::Value) -> Option<Instance> {
        let mut whole = serde_json::json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 2});
        whole.as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
        Instance::newest(&serde_json::from_value(whole).unwrap())
    }

    #[test]
    fn the_newest_start_with_a_log_is_found_in_every_state() {
        let ended = serde_json::json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "containerID": "r://old"}});
        let running =
            newest(&serde_json::json!({"state": {"running": {}}, "containerID": "r://new", "lastState": ended})).unwrap();
        assert_eq!((running.id.as_str(), running.ending), ("r://new", None));
        assert_eq!(running.before.unwrap().0, "r://old");
        let crashed = serde_json::json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "containerID": "r://old", "lastState": ended});
        let crashed = newest(&crashed).unwrap();
        assert_eq!((crashed.id.as_str(), crashed.ending.unwrap().to_string().as_str()), ("r://old", "OOMKilled, exit code 137"));
        // A start so short that the one before it is heard of together with it.
        let again = serde_json::json!({"terminated": {"exitCode": 3, "reason": "Error", "containerID": "r://new"}});
        let short = newest(&serde_json::json!({"state": again, "containerID": "r://new", "lastState": ended})).unwrap();
        assert_eq!((short.id.as_str(), short.ending.unwrap().exit_code), ("r://new", 3));
        assert_eq!(short.before.map(|(id, ending)| (id, ending.exit_code)), Some(("r://old".to_owned(), 137)));
        assert_eq!(newest(&serde_json::json!({"state": {"waiting": {"reason": "ContainerCreating"}}})), None);
        assert_eq!(newest(&serde_json::json!({"state": {"running": {}}})), None);
    }
}
