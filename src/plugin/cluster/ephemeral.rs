//! An ephemeral container beside a running one: for images without a shell, and for volumes that only this pod mounts.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::Cluster;
use super::error::translate;
use super::helper::Identity;
use super::pods::{Obstacle, Verdict, Wait};
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;

/// Folder with room for our binary in any image that has a shell.
pub const WORK: &str = "/tmp";
const START: Duration = Duration::from_secs(90);

/// Adds an ephemeral container that mounts what a container mounts, at the same paths, and runs as the same user. It
/// stays in the pod's spec until the pod goes (Kubernetes can't remove one), and ends itself after an hour.
///
/// # Errors
/// `Refused` when the server has no ephemeral containers, or the image can't be had.
pub async fn add(cluster: &Cluster, stop: &Stop, pod: &Pod, container: &str, name: &str, image: &str) -> Result<()> {
    if !cluster.features().await?.ephemeral_containers {
        return Err(Failure::refused("this server has no ephemeral containers").state("nothing was changed"));
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or(&cluster.namespace);
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    // Not as a Pod: before 1.22 the answer is something else, and would be no more than unreadable.
    let pods: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), namespace, &ApiResource::erase::<Pod>(&()));
    let patch = json!({"spec": {"ephemeralContainers": [describe(pod, container, name, image)]}});
    let doing = format!("add an ephemeral container to pod/{pod_name}");
    let patched =
        pods.patch_subresource("ephemeralcontainers", pod_name, &PatchParams::default(), &Patch::Strategic(&patch)).await;
    let patched =
        patched.map_err(|error| translate(&error, &doing).exit(crate::exit::Exit::Refused).state("nothing was changed"))?;
    let added = patched.data.pointer("/spec/ephemeralContainers").and_then(Value::as_array);
    let there = added.is_some_and(|added| added.iter().any(|container| container["name"] == name));
    if !there {
        // Kubernetes 1.16 to 1.21 answers 200 without doing anything.
        return Err(Failure::refused(format!("cannot {doing}"))
            .fact("this server is too old for ephemeral containers")
            .state("nothing was changed"));
    }
    let (fields, what) = (format!("metadata.name={pod_name}"), format!("the ephemeral container {name} to run"));
    let wait = Wait { namespace, fields: &fields, limit: START, what: &what };
    wait.until(cluster, stop, |pods| running(pods.first(), name)).await
}

fn running(pod: Option<&Pod>, name: &str) -> Verdict<()> {
    let statuses = pod.and_then(|pod| pod.status.as_ref()).and_then(|status| status.ephemeral_container_statuses.as_deref());
    let state = statuses.unwrap_or_default().iter().find(|status| status.name == name).and_then(|status| status.state.as_ref());
    let Some(state) = state else { return Verdict::Waiting("it has not been started yet".to_owned()) };
    if state.running.is_some() {
        return Verdict::Met(());
    }
    let ended = state.terminated.as_ref().map(|ended| format!("it ended with exit code {}", ended.exit_code));
    if let Some(ended) = ended {
        return Verdict::Never(Failure::refused("the ephemeral container does not run").fact(ended));
    }
    let waiting = state.waiting.as_ref();
    let reason = waiting.and_then(|waiting| waiting.reason.clone()).unwrap_or_default();
    let message = waiting.and_then(|waiting| waiting.message.clone()).unwrap_or_default();
    let why = format!("{reason}: {message}");
    if Obstacle::of(&why).is_some() {
        return Verdict::Never(Failure::refused("the ephemeral container does not run").fact(why));
    }
    Verdict::Waiting(reason)
}

fn describe(pod: &Pod, container: &str, name: &str, image: &str) -> Value {
    let target = pod.spec.as_ref().and_then(|spec| spec.containers.iter().find(|c| c.name == container));
    // Kubernetes refuses mounts of a folder within a volume here.
    let mounts: Vec<&_> = target
        .and_then(|c| c.volume_mounts.as_ref())
        .into_iter()
        .flatten()
        .filter(|m| m.sub_path.is_none() && m.sub_path_expr.is_none())
        .collect();
    let mounts = serde_json::to_value(mounts).unwrap_or_default();
    let identity = Identity::of(pod, container);
    // All that the Pod Security level `restricted` asks of a container: what the pod's own containers say for themselves
    // does not count for this one.
    let mut security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"}});
    if let Some(uid) = identity.uid {
        security["runAsUser"] = json!(uid);
        security["runAsNonRoot"] = json!(uid != 0);
    }
    if let Some(gid) = identity.gid {
        security["runAsGroup"] = json!(gid);
    }
    json!({
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", "sleep 3600"],
        "securityContext": security,
        "volumeMounts": mounts,
    })
}
