//! Files of the application's own image, read where nothing of the application runs: a pod of that image whose only
//! process is our binary. Needs no shell in the image; works while the application crash-loops.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Volume, VolumeMount};
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use super::agent::Agent;
use super::error::translate;
use super::helper::{Helper, LABEL_OPERATION, WORK, WORK_VOLUME, on_node};
use super::payload::Payload;
use super::pods::{Verdict, Wait, statuses, why_not_ready};
use super::{Cluster, MANAGED_BY};
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;

const START: Duration = Duration::from_secs(90);
/// For a container whose predecessor has ended already.
const GRACE: Duration = Duration::from_secs(15);
const LOADER: &str = "loader";
const IMAGE: &str = "image";
/// Seconds that reading some files may take at worst.
const HOLD_SECONDS: u32 = 300;

/// A pod of an application's image with our binary in it.
pub struct ImagePod {
    /// The agent; it sees the image's files.
    pub agent: Agent,
    name: String,
    namespace: String,
}

impl ImagePod {
    /// Starts a pod of the image that a container of a pod uses, on the node where it is present; the ConfigMaps that the
    /// container has as files are there too.
    ///
    /// # Errors
    /// Says why it does not start; nothing is left behind.
    pub async fn start(
        cluster: &Cluster,
        stop: &Stop,
        helper: &Helper,
        volumes: &[Volume],
        container: &Container,
        arch: &str,
    ) -> Result<Self> {
        let (name, namespace) = (name_of(helper), helper.namespace.clone());
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &namespace);
        let payload = Payload::for_arch(arch)?;
        let pod = serde_json::from_value(manifest(helper, &name, volumes, container, &payload.path(WORK)))
            .map_err(|error| Failure::failed(format!("cannot describe the pod that reads the image: {error}")))?;
        pods.create(&PostParams::default(), &pod).await.map_err(|error| translate(&error, &format!("create pod/{name}")))?;
        let pod = Self::load(cluster, stop, &name, &namespace, arch).await;
        if pod.is_err() {
            remove(cluster, &namespace, &name).await;
        }
        pod
    }

    async fn load(cluster: &Cluster, stop: &Stop, name: &str, namespace: &str, arch: &str) -> Result<Self> {
        wait_for(cluster, stop, namespace, name, LOADER, START).await?;
        let dirs = [WORK.to_owned()];
        let brought = Agent::install(cluster, namespace, name, LOADER, &dirs, arch).await;
        // The loader ends as soon as our binary answers for itself, perhaps before we have seen that it does.
        let runs = wait_for(cluster, stop, namespace, name, IMAGE, if brought.is_ok() { START } else { GRACE }).await;
        runs.map_err(|failure| brought.err().unwrap_or(failure))?;
        let agent = Agent::install(cluster, namespace, name, IMAGE, &dirs, arch).await?;
        Ok(Self { agent, name: name.to_owned(), namespace: namespace.to_owned() })
    }

    /// Removes the pod of a helper's name, if there is one: for whoever was stopped while it started.
    pub async fn forget(cluster: &Cluster, helper: &Helper) {
        remove(cluster, &helper.namespace, &name_of(helper)).await;
    }

    /// Removes the pod.
    pub async fn remove(self, cluster: &Cluster) {
        remove(cluster, &self.namespace, &self.name).await;
    }
}

fn name_of(helper: &Helper) -> String {
    format!("{}-image", helper.name)
}

/// It ends itself in minutes, so a server that is away now does no harm.
async fn remove(cluster: &Cluster, namespace: &str, name: &str) {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let _ = pods.delete(name, &DeleteParams::default().grace_period(0)).await;
}

async fn wait_for(cluster: &Cluster, stop: &Stop, namespace: &str, name: &str, container: &str, limit: Duration) -> Result<()> {
    let (fields, what) = (format!("metadata.name={name}"), format!("container {container} of pod/{name} to run"));
    let wait = Wait { namespace, fields: &fields, limit, what: &what };
    wait.until(cluster, stop, |pods| {
        let Some(pod) = pods.first() else { return Verdict::Waiting("it is not there".to_owned()) };
        let state = statuses(pod).find(|status| status.name == container).and_then(|status| status.state.as_ref());
        if state.is_some_and(|state| state.running.is_some()) {
            return Verdict::Met(());
        }
        Verdict::Waiting(why_not_ready(pod))
    })
    .await
}

fn manifest(helper: &Helper, name: &str, volumes: &[Volume], container: &Container, path: &str) -> Value {
    let work = json!({"name": WORK_VOLUME, "mountPath": WORK});
    let is_config = |mount: &&VolumeMount| volumes.iter().any(|volume| volume.name == mount.name && volume.config_map.is_some());
    let mounted: Vec<&VolumeMount> = container.volume_mounts.iter().flatten().filter(is_config).collect();
    let mounts: Vec<Value> = mounted.iter().map(|mount| json!(mount)).chain([work.clone()]).collect();
    let configs = volumes.iter().filter(|volume| mounted.iter().any(|mount| mount.name == volume.name));
    let all: Vec<Value> = configs.map(|volume| json!(volume)).chain([json!({"name": WORK_VOLUME, "emptyDir": {}})]).collect();
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    // Whole only when it answers for itself: a part of it could not.
    let wait = format!("until {path} hash >/dev/null 2>&1; do sleep 0.1; done; sleep 0.3");
    json!({
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": MANAGED_BY, LABEL_OPERATION: helper.operation},
            "annotations": {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"},
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": 2 * HOLD_SECONDS,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "affinity": on_node(helper.node.as_deref()),
            "tolerations": [{"operator": "Exists"}],
            "imagePullSecrets": helper.pull_secrets.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
            "securityContext": helper.pod_security(),
            "volumes": all,
            "initContainers": [{
                "name": LOADER, "image": helper.image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", wait],
                "securityContext": security, "volumeMounts": [work],
            }],
            "containers": [{
                "name": IMAGE, "image": container.image, "imagePullPolicy": "IfNotPresent",
                "command": [path, "hold", HOLD_SECONDS.to_string()],
                "workingDir": container.working_dir,
                "securityContext": security, "volumeMounts": mounts,
            }],
        },
    })
}
