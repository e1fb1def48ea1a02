//! A pod with the network, the credentials and the sidecars of another one, in which nothing of the application runs: what
//! the other one can reach can be reached from here, also when that one has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, Pod, PodSpec, Volume, VolumeMount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, PostParams};

use super::Cluster;
use super::MANAGED_BY;
use super::error::{Context as _, found, translate};
use super::helper::{LABEL_OPERATION, WORK, WORK_VOLUME};
use super::job::is_of_controller;
use super::pods::{Obstacle, Verdict, Wait, command_line, is_running, statuses, why_not_ready};
use super::volume::is_finished;
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;

/// Init containers that bring credentials or set the network up; others may belong to the application's work.
const SURROUNDINGS: [&str; 4] = ["vault-agent-init", "istio-init", "istio-validation", "linkerd-init"];
/// An operation left alone for a day is taken up again with a new one.
const LIFE_SECONDS: i64 = 24 * 3600;
const START: Duration = Duration::from_secs(180);

/// A pod like another one.
#[derive(Debug, Clone)]
pub struct Twin {
    pod: Pod,
    container: String,
}

impl Twin {
    /// Like a pod, for an operation, with a shell's sleep in place of what a container runs.
    #[must_use]
    pub fn of(pod: &Pod, container: &str, operation: &str) -> Self {
        let mut labels: BTreeMap<String, String> = pod.metadata.labels.clone().unwrap_or_default();
        labels.retain(|name, _| !is_of_controller(name));
        labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGED_BY.to_owned());
        labels.insert(LABEL_OPERATION.to_owned(), operation.to_owned());
        let metadata = ObjectMeta {
            name: Some(format!("dbmig-{operation}")),
            namespace: pod.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: pod.metadata.annotations.clone(),
            ..ObjectMeta::default()
        };
        let spec = pod.spec.clone().map(|spec| quiet(spec, container));
        Self { pod: Pod { metadata, spec, status: None }, container: container.to_owned() }
    }

    /// Makes the pod if it is not there, and waits until it runs; as it is then.
    ///
    /// # Errors
    /// Says why it does not run; what was made is removed again.
    pub async fn ensure(&self, cluster: &Cluster, stop: &Stop) -> Result<Pod> {
        let (api, name) = (self.api(cluster), self.name());
        let found = api.get_opt(name).await.map_err(|error| translate(&error, &format!("read pod/{name}")))?;
        let usable = found.as_ref().is_some_and(|pod| pod.metadata.deletion_timestamp.is_none() && !is_finished(pod));
        if found.is_some() && !usable {
            self.delete(cluster).await?;
            self.wait(cluster, stop, "to go", |pods| match pods.is_empty() {
                true => Verdict::Met(()),
                false => Verdict::Waiting("it is still there".to_owned()),
            })
            .await?;
        }
        if !usable && let Err(error) = api.create(&PostParams::default(), &self.pod).await {
            // An answer that was lost on its way says nothing about the pod.
            if !matches!(api.get_opt(name).await, Ok(Some(_))) {
                return Err(translate(&error, &format!("create pod/{name}")).state("nothing was changed"));
            }
        }
        let running = self.wait(cluster, stop, "to run", |pods| self.judge(pods)).await;
        if running.is_err() {
            let _ = self.delete(cluster).await;
        }
        running
    }

    fn judge(&self, pods: &[Pod]) -> Verdict<Pod> {
        judge(pods.first(), &self.container)
    }

    async fn wait<T>(
        &self,
        cluster: &Cluster,
        stop: &Stop,
        what: &str,
        condition: impl FnMut(&[Pod]) -> Verdict<T>,
    ) -> Result<T> {
        let (fields, what) = (format!("metadata.name={}", self.name()), format!("pod/{} {what}", self.name()));
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        Wait { namespace, fields: &fields, limit: START, what: &what }.until(cluster, stop, condition).await
    }

    /// Has the pod removed, without waiting until it is gone. Fine if it is not there.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self, cluster: &Cluster) -> Result<()> {
        let deleted = found(self.api(cluster).delete(self.name(), &DeleteParams::default().grace_period(1)).await);
        deleted.doing(format!("delete pod/{}", self.name())).map(drop)
    }

    /// The container in which our binary can be run.
    #[must_use]
    pub fn container(&self) -> &str {
        &self.container
    }

    fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    fn api(&self, cluster: &Cluster) -> Api<Pod> {
        Api::namespaced(cluster.client.clone(), self.pod.metadata.namespace.as_deref().unwrap_or_default())
    }
}

/// Whether a container of a pod runs.
pub fn judge(pod: Option<&Pod>, container: &str) -> Verdict<Pod> {
    let Some(pod) = pod else { return Verdict::Waiting("it has not been created yet".to_owned()) };
    if statuses(pod).any(|status| status.name == container && is_running(status)) {
        return Verdict::Met(pod.clone());
    }
    let why = why_not_ready(pod);
    let name = pod.name_any();
    let fault = match Obstacle::of(&why) {
        Some(Obstacle::Pull | Obstacle::Image) => format!("an image of pod/{name} can't be had"),
        Some(Obstacle::Start) => format!("pod/{name} does not run"),
        None if is_finished(pod) => format!("pod/{name} does not run"),
        None => return Verdict::Waiting(why),
    };
    Verdict::Never(Failure::refused(fault).fact(why))
}

/// What of a pod is enough to make a twin of it when it is gone; `None` where that would be to keep a secret.
#[must_use]
pub fn kept(pod: &Pod) -> Option<Pod> {
    let spec = pod.spec.clone()?;
    if spec.containers.iter().chain(spec.init_containers.iter().flatten()).any(tells_a_secret) {
        return None;
    }
    let mut annotations = pod.metadata.annotations.clone();
    // It is all of what somebody applied, once more.
    annotations.iter_mut().for_each(|all| all.retain(|name, _| !name.ends_with("last-applied-configuration")));
    let metadata = ObjectMeta {
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        labels: pod.metadata.labels.clone(),
        annotations,
        ..ObjectMeta::default()
    };
    Some(Pod { metadata, spec: Some(spec), status: None })
}

fn tells_a_secret(container: &Container) -> bool {
    let mut values = container.env.iter().flatten().filter_map(|one| Some((&one.name, one.value.as_ref()?)));
    values.any(|(name, value)| is_about_a_secret(name) || has_password(value))
        || command_line(container).any(|word| has_password(word))
}

fn is_about_a_secret(name: &str) -> bool {
    let name = name.to_uppercase();
    ["PASS", "SECRET", "TOKEN", "CREDENTIAL"].iter().any(|word| name.contains(word))
}

/// A URL with a user's password, or libpq's `password=`.
fn has_password(text: &str) -> bool {
    let user = text.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':')) || text.contains("password=")
}

/// The same without what would do the application's work, or hold its data.
#[must_use]
pub fn quiet(mut spec: PodSpec, container: &str) -> PodSpec {
    let claims = spec.volumes.get_or_insert_default();
    let held: Vec<String> =
        claims.iter().filter(|volume| volume.persistent_volume_claim.is_some()).map(|volume| volume.name.clone()).collect();
    claims.retain(|volume| !held.contains(&volume.name));
    claims.push(Volume { name: WORK_VOLUME.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() });
    let stays = |one: &Container| one.restart_policy.as_deref() == Some("Always") || SURROUNDINGS.contains(&one.name.as_str());
    spec.init_containers.get_or_insert_default().retain(stays);
    for one in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        one.volume_mounts.get_or_insert_default().retain(|mount| !held.contains(&mount.name));
    }
    if let Some(ours) = spec.containers.iter_mut().find(|one| one.name == container) {
        // A shell as process 1 ignores SIGTERM unless told otherwise.
        let idle = ["sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"];
        (ours.command, ours.args) = (Some(idle.map(str::to_owned).to_vec()), None);
        (ours.liveness_probe, ours.readiness_probe, ours.startup_probe, ours.lifecycle) = (None, None, None, None);
        (ours.ports, ours.resources) = (None, None);
        let mount = VolumeMount { name: WORK_VOLUME.to_owned(), mount_path: WORK.to_owned(), ..VolumeMount::default() };
        ours.volume_mounts.get_or_insert_default().push(mount);
    }
    spec.restart_policy = Some("Never".to_owned());
    spec.active_deadline_seconds = Some(LIFE_SECONDS);
    spec.termination_grace_period_seconds = Some(1);
    (spec.node_name, spec.hostname, spec.subdomain, spec.ephemeral_containers) = (None, None, None, None);
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twin_has_the_surroundings_and_none_of_the_work() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "db-upgrade-x", "namespace": "shop", "uid": "u",
                         "labels": {"app": "db-upgrade", "controller-uid": "u", "job-name": "db-upgrade"},
                         "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "db-upgrade", "uid": "j"}]},
            "spec": {
                "nodeName": "n1",
                "initContainers": [{"name": "wipe", "image": "i"}, {"name": "proxy", "image": "p", "restartPolicy": "Always"}],
                "containers": [{"name": "db-upgrade", "image": "i", "command": ["bash", "/migration/start.sh"], "envFrom": [{"configMapRef": {"name": "db-upgrade"}}],
                                "volumeMounts": [{"name": "work", "mountPath": "/work"}, {"name": "pg", "mountPath": "/vault/secrets/pg"}]}],
                "volumes": [{"name": "work", "persistentVolumeClaim": {"claimName": "work"}}, {"name": "pg", "secret": {"secretName": "pg"}}],
            },
        }))
        .unwrap();
        let twin = Twin::of(&pod, "db-upgrade", "finish-bcdfgh").pod;
        let labels = twin.metadata.labels.unwrap();
        assert_eq!(labels.get("app").map(String::as_str), Some("db-upgrade"));
        assert!(!labels.contains_key("controller-uid") && !labels.contains_key("job-name"));
        assert_eq!(
            (twin.metadata.name.as_deref(), twin.metadata.uid, twin.metadata.owner_references),
            (Some("dbmig-finish-bcdfgh"), None, None)
        );
        let spec = twin.spec.unwrap();
        let names = |containers: &[Container]| containers.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(spec.init_containers.as_deref().unwrap()), ["proxy"]);
        let ours = &spec.containers[0];
        assert_eq!(ours.command.as_ref().unwrap()[0], "sh");
        let mounts: Vec<_> = ours.volume_mounts.iter().flatten().map(|mount| mount.mount_path.as_str()).collect();
        assert_eq!(mounts, ["/vault/secrets/pg", WORK]);
        assert!(ours.env_from.is_some() && spec.node_name.is_none());
    }

    #[test]
    fn what_is_kept_of_a_pod_has_no_secret() {
        let pod = |env: serde_json::Value| -> Pod {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": "x", "namespace": "shop", "uid": "u", "labels": {"app": "x"},
                             "annotations": {"a": "b", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
                "spec": {"containers": [{"name": "main", "image": "i", "env": [env]}]}, "status": {"phase": "Running"},
            }))
            .unwrap()
        };
        let from = serde_json::json!({"name": "URI", "valueFrom": {"secretKeyRef": {"name": "uris", "key": "old"}}});
        let kept = super::kept(&pod(from)).unwrap();
        assert_eq!((kept.metadata.uid, kept.status, kept.metadata.annotations.unwrap().len()), (None, None, 1));
        for (name, value, is_kept) in [
            ("PGCOPYDB_SOURCE_PGURI", "postgres://?service=db", true),
            ("PGCOPYDB_SOURCE_PGURI", "postgres://admin@db/shop", true),
            ("PGCOPYDB_SOURCE_PGURI", "postgres://admin:x@db/shop", false),
            ("PGCOPYDB_SOURCE_PGURI", "host=db password=x", false),
            ("PGPASSWORD", "x", false),
        ] {
            assert_eq!(super::kept(&pod(serde_json::json!({"name": name, "value": value}))).is_some(), is_kept, "{name}={value}");
        }
    }
}
