//! The helper pod: a place on the target's node where our binary runs beside the target's volumes.
//!
//! It asks for no more than the volume's owner needs: the target's own user where that is known (which meets the
//! Pod Security level `restricted`), else root with three capabilities over files.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, SecurityContext};
use kube::api::{Api, DeleteParams, PostParams};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Cluster;
use super::MANAGED_BY;
use super::error::{Context as _, found, translate};
use super::pods::{Obstacle, Verdict, Wait, is_ready, started, statuses, why_not_ready};
use super::volume::{Mount, Source};
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;

/// Folder in the helper pod under which each volume is mounted by its name.
pub const VOLUMES: &str = "/dbmig/volumes";
/// Folder in the helper pod for our binary and its journals.
pub const WORK: &str = "/dbmig/work";
/// The same in a pod without any volume.
const ROOT_WORK: &str = "/tmp";
/// Name of the volume for our binary, in every pod of ours that has one.
pub(super) const WORK_VOLUME: &str = "dbmig-work";
/// The helper's only container.
pub const CONTAINER: &str = "helper";
/// The image of the helper unless the user names another one: any with `sh`, `tar` and `head` will do.
pub const IMAGE: &str = "busybox:1";

/// Label with the operation that a pod belongs to.
pub const LABEL_OPERATION: &str = "dbmig.dev/operation";

/// An operation left alone for a day is taken up again with a new helper.
const LIFE_SECONDS: i64 = 24 * 3600;
const START: Duration = Duration::from_secs(180);
/// kubelet's first two tries to pull an image are over by then.
const PULL_PATIENCE: Duration = Duration::from_secs(25);

/// What a helper pod must be like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Helper {
    /// Name of the pod.
    pub name: String,
    /// Operation it belongs to.
    pub operation: String,
    /// Namespace.
    pub namespace: String,
    /// Image with a shell and tar.
    pub image: String,
    /// Names of secrets to pull it with.
    pub pull_secrets: Vec<String>,
    /// Node of the target's pod; `None` lets the scheduler choose.
    pub node: Option<String>,
    /// Volumes by name.
    pub volumes: BTreeMap<String, Source>,
    /// User and group to run as.
    pub identity: Identity,
}

/// A helper pod that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// It was not there: nothing is in it.
    pub is_new: bool,
    /// Folder in it for our binary.
    pub work: &'static str,
}

/// As whom the target's container runs, as far as its spec says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// User id; `None` when only the image knows.
    pub uid: Option<i64>,
    /// Group id.
    pub gid: Option<i64>,
    /// Group of the volumes.
    pub fs_group: Option<i64>,
    /// Further groups.
    pub groups: Vec<i64>,
    /// SELinux options of the pod, as they are: a volume's label must fit.
    pub se_linux: Option<Value>,
}

impl Identity {
    /// The group that a new volume, which belongs to root, has to be given so that this user can write to it.
    #[must_use]
    pub fn group_of_new_volumes(&self) -> Option<i64> {
        match (self.uid, self.fs_group) {
            (Some(uid), None) if uid != 0 => Some(self.gid.filter(|gid| *gid != 0).unwrap_or(uid)),
            _ => None,
        }
    }

    /// As whom a container of a pod runs.
    #[must_use]
    pub fn of(pod: &Pod, container: &str) -> Self {
        let spec = pod.spec.as_ref();
        let for_pod = spec.and_then(|s| s.security_context.as_ref());
        let all = spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
        let for_container = all.into_iter().find(|c| c.name == container).and_then(|c| c.security_context.as_ref());
        let running = statuses(pod).find(|s| s.name == container).and_then(|s| s.user.as_ref()).and_then(|u| u.linux.as_ref());
        let uid = |c: Option<&SecurityContext>| c.and_then(|c| c.run_as_user);
        let gid = |c: Option<&SecurityContext>| c.and_then(|c| c.run_as_group);
        Self {
            uid: uid(for_container).or(for_pod.and_then(|c| c.run_as_user)).or(running.map(|u| u.uid)),
            gid: gid(for_container).or(for_pod.and_then(|c| c.run_as_group)).or(running.map(|u| u.gid)),
            fs_group: for_pod.and_then(|c| c.fs_group),
            groups: for_pod.and_then(|c| c.supplemental_groups.clone()).unwrap_or_default(),
            se_linux: for_pod.and_then(|c| c.se_linux_options.as_ref()).and_then(|options| serde_json::to_value(options).ok()),
        }
    }
}

/// Whether a pod is a helper of some operation: it writes only for the holder of the Lease.
#[must_use]
pub fn is_helper(pod: &Pod) -> bool {
    let named = pod.metadata.name.as_deref().is_some_and(|name| name.starts_with("dbmig-"));
    named && pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(LABEL_OPERATION))
}

/// Removes the helper pod that an operation may have left behind, in whichever process. Who may not has never made one.
///
/// # Errors
/// When the API server refuses otherwise.
pub async fn delete_of(cluster: &Cluster, namespace: &str, operation: &str) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    match api.get_metadata_opt(&format!("dbmig-{operation}")).await {
        Ok(Some(_)) => delete(&api, &format!("dbmig-{operation}")).await,
        Ok(None) | Err(_) => Ok(()),
    }
}

async fn delete(api: &Api<Pod>, name: &str) -> Result<()> {
    let deleted = found(api.delete(name, &DeleteParams::default().grace_period(1)).await);
    deleted.doing(format!("delete the helper pod/{name}")).map(drop)
}

impl Helper {
    /// A helper that mounts the given volumes beside a pod.
    #[must_use]
    pub fn beside(pod: &Pod, container: &str, operation: &str, image: &str, mounts: &[Mount]) -> Self {
        let spec = pod.spec.as_ref();
        let secrets = spec.and_then(|s| s.image_pull_secrets.as_deref()).unwrap_or_default();
        Self {
            name: format!("dbmig-{operation}"),
            operation: operation.to_owned(),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            image: image.to_owned(),
            pull_secrets: secrets.iter().map(|secret| secret.name.clone()).filter(|name| !name.is_empty()).collect(),
            node: spec.and_then(|s| s.node_name.clone()),
            volumes: mounts.iter().map(|mount| (mount.volume.clone(), mount.source.clone())).collect(),
            identity: Identity::of(pod, container),
        }
    }

    /// Path in the helper of a path within a volume.
    #[must_use]
    pub fn path(volume: &str, inside: &str) -> String {
        format!("{VOLUMES}/{volume}/{inside}")
    }

    /// Makes the pod if it is not there, and waits until it runs. One that ended or lacks a volume is replaced.
    ///
    /// # Errors
    /// Says why it does not run: admission, scheduling, image, mounting; what was made is removed again.
    pub async fn ensure(&self, cluster: &Cluster, stop: &Stop) -> Result<Found> {
        let api = self.api(cluster);
        if let Some(found) =
            api.get_opt(&self.name).await.map_err(|error| translate(&error, &format!("read pod/{}", self.name)))?
        {
            if self.fits(&found) {
                let work = work_of(&found);
                return self.wait_running(cluster, stop, found.metadata.uid).await.map(|()| Found { is_new: false, work });
            }
            self.remove(cluster, stop).await?;
        }
        let made = self.create(&api).await?;
        let work = work_of(&made);
        match self.wait_running(cluster, stop, made.metadata.uid).await {
            Ok(()) => Ok(Found { is_new: true, work }),
            Err(failure) => {
                let _ = api.delete(&self.name, &DeleteParams::default().grace_period(0)).await;
                Err(failure)
            }
        }
    }

    async fn create(&self, api: &Api<Pod>) -> Result<Pod> {
        let pod = |work: &str| -> Result<Pod> {
            serde_json::from_value(self.manifest(work))
                .map_err(|error| Failure::failed(format!("cannot describe the helper pod: {error}")))
        };
        // A pod without any volume starts a third of a second earlier: the kubelet looks only so often whether they are mounted. Where
        // nobody may write to an image's file system, there is a volume for that.
        if self.volumes.is_empty()
            && let Ok(made) = api.create(&PostParams::default(), &pod(ROOT_WORK)?).await
        {
            return Ok(made);
        }
        match api.create(&PostParams::default(), &pod(WORK)?).await {
            Ok(made) => Ok(made),
            // An answer that was lost on its way says nothing about the pod.
            Err(error) => match api.get_opt(&self.name).await {
                Ok(Some(found)) if self.fits(&found) => Ok(found),
                _ => Err(self.not_admitted(&error)),
            },
        }
    }

    fn fits(&self, pod: &Pod) -> bool {
        let alive = pod.metadata.deletion_timestamp.is_none() && !super::volume::is_finished(pod);
        alive && self.volumes.values().all(|source| super::volume::mounts_source(pod, source))
    }

    async fn wait_running(&self, cluster: &Cluster, stop: &Stop, uid: Option<String>) -> Result<()> {
        let (fields, what) = (format!("metadata.name={}", self.name), format!("the helper pod/{} to run", self.name));
        let wait = Wait { namespace: &self.namespace, fields: &fields, limit: START, what: &what };
        let begun = tokio::time::Instant::now();
        let running = wait.until(cluster, stop, |pods| {
            // It was there before this wait began.
            let Some(pod) = pods.first().filter(|pod| pod.metadata.deletion_timestamp.is_none()) else {
                return Verdict::Never(Failure::failed(format!("the helper pod/{} was deleted", self.name)).passing());
            };
            if is_ready(pod) {
                return Verdict::Met(());
            }
            let why = why_not_ready(pod);
            match Obstacle::of(&why) {
                Some(Obstacle::Pull) if begun.elapsed() <= PULL_PATIENCE => Verdict::Waiting(why),
                Some(Obstacle::Pull | Obstacle::Image) => Verdict::Never(self.not_pulled(&why)),
                None if !super::volume::is_finished(pod) => Verdict::Waiting(why),
                Some(Obstacle::Start) | None => {
                    Verdict::Never(Failure::refused(format!("the helper pod/{} does not run", self.name)).fact(why))
                }
            }
        });
        let uid = uid.unwrap_or_default();
        tokio::select! {
            running = running => running,
            () = started(cluster, &self.namespace, &uid, CONTAINER) => Ok(()),
        }
    }

    /// Has the pod removed, without waiting until it is gone: the kubelet takes some seconds. Fine if it is not there.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self, cluster: &Cluster) -> Result<()> {
        delete(&self.api(cluster), &self.name).await
    }

    /// Removes the pod and waits until it is gone, so that its name and its volumes are free. Fine if it is not there.
    ///
    /// # Errors
    /// When the API server refuses, or it does not go.
    pub async fn remove(&self, cluster: &Cluster, stop: &Stop) -> Result<()> {
        self.delete(cluster).await?;
        let (fields, what) = (format!("metadata.name={}", self.name), format!("the helper pod/{} to go", self.name));
        let wait = Wait { namespace: &self.namespace, fields: &fields, limit: START, what: &what };
        wait.until(cluster, stop, |pods| {
            if pods.is_empty() { Verdict::Met(()) } else { Verdict::Waiting("it is still there".to_owned()) }
        })
        .await
    }

    fn not_admitted(&self, error: &kube::Error) -> Failure {
        let failure = translate(error, &format!("create the helper pod/{}", self.name))
            .exit(crate::exit::Exit::Refused)
            .state("nothing was changed");
        let text = failure.facts.join(" ");
        if text.contains("PodSecurity") && self.identity.uid.is_none() {
            return failure
                .fact("the target's spec does not say as which user it runs, so the helper asked to run as root")
                .next("set securityContext.runAsUser in the workload, or label the namespace pod-security.kubernetes.io/enforce=baseline for the time being");
        }
        failure
    }

    fn not_pulled(&self, why: &str) -> Failure {
        Failure::refused(format!(
            "the image of the helper pod, {}, can't be had on node {}",
            self.image,
            self.node.as_deref().unwrap_or("<any>")
        ))
        .fact(why)
        .state("nothing was changed; the helper pod was removed")
        .next("name an image with sh, tar and head that this node can pull or has: --helper-image IMAGE")
    }

    fn api(&self, cluster: &Cluster) -> Api<Pod> {
        Api::namespaced(cluster.client.clone(), &self.namespace)
    }

    /// What its pod is like.
    #[must_use]
    pub fn spec(&self) -> Value {
        self.manifest(WORK)["spec"].take()
    }

    /// `work` is [`WORK`] or [`ROOT_WORK`].
    fn manifest(&self, work: &str) -> Value {
        let mut volumes: Vec<Value> = self.volumes.iter().map(|(name, source)| volume(name, source)).collect();
        let mut mounts: Vec<Value> =
            self.volumes.keys().map(|name| json!({"name": name, "mountPath": format!("{VOLUMES}/{name}")})).collect();
        if work == WORK {
            volumes.push(json!({"name": WORK_VOLUME, "emptyDir": {}}));
            mounts.push(json!({"name": WORK_VOLUME, "mountPath": WORK}));
        }
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": {"app.kubernetes.io/managed-by": MANAGED_BY, LABEL_OPERATION: self.operation},
                "annotations": {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"},
            },
            "spec": {
                "restartPolicy": "Never",
                "activeDeadlineSeconds": LIFE_SECONDS,
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "affinity": on_node(self.node.as_deref()),
                "tolerations": [{"operator": "Exists"}],
                "imagePullSecrets": self.pull_secrets.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
                "securityContext": self.pod_security(),
                "volumes": volumes,
                "containers": [{
                    "name": CONTAINER,
                    "image": self.image,
                    "imagePullPolicy": "IfNotPresent",
                    // A shell as process 1 ignores SIGTERM unless told otherwise.
                    "command": ["sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"],
                    "workingDir": "/",
                    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                    "securityContext": self.container_security(work == WORK),
                    "volumeMounts": mounts,
                }],
            },
        })
    }

    pub(super) fn pod_security(&self) -> Value {
        let Identity { uid, gid, fs_group, groups, se_linux } = &self.identity;
        let mut context = json!({
            "runAsUser": uid.unwrap_or(0),
            "runAsNonRoot": uid.is_some_and(|uid| uid != 0),
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        if let Some(gid) = gid {
            context["runAsGroup"] = json!(gid);
        }
        if let Some(group) = fs_group {
            context["fsGroup"] = json!(group);
            context["fsGroupChangePolicy"] = json!("OnRootMismatch");
        }
        if !groups.is_empty() {
            context["supplementalGroups"] = json!(groups);
        }
        if let Some(options) = se_linux {
            context["seLinuxOptions"] = options.clone();
        }
        context
    }

    fn container_security(&self, read_only: bool) -> Value {
        let mut capabilities = json!({"drop": ["ALL"]});
        if self.identity.uid.unwrap_or(0) == 0 {
            capabilities["add"] = json!(["CHOWN", "DAC_OVERRIDE", "FOWNER"]);
        }
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": read_only, "capabilities": capabilities})
    }
}

/// The folder for our binary in a helper pod.
fn work_of(pod: &Pod) -> &'static str {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    if volumes.iter().any(|volume| volume.name == WORK_VOLUME) { WORK } else { ROOT_WORK }
}

/// Affinity to one node. `nodeName` would pass the scheduler by, and without it no claim of a class that waits for its
/// first consumer is ever bound.
pub(super) fn on_node(node: Option<&str>) -> Value {
    let Some(node) = node else { return Value::Null };
    let term = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]});
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}})
}

fn volume(name: &str, source: &Source) -> Value {
    match source {
        Source::Claim(claim) => json!({"name": name, "persistentVolumeClaim": {"claimName": claim}}),
        Source::HostPath(path) => json!({"name": name, "hostPath": {"path": path}}),
        Source::WithPod(_) => json!({"name": name, "emptyDir": {}}),
    }
}
