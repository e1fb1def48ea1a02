//! What runs a pod, and how to stop and start it so that it comes back as it was.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, Patch};
use kube::core::ApiResource;
use kube::discovery::ApiResource as Discovered;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::translate;
use super::kind::{Kind as TargetKind, TargetRef};
use super::owner::{Object, Owner};
use super::{Cluster, as_ours};
use crate::failure::{Failure, Result};

/// A workload that can be stopped and started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// What kind it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its uid: another object of the same name is not it.
    pub uid: String,
}

/// Kinds of workload that can be stopped and started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Scaled to 0 and back.
    StatefulSet,
    /// Scaled to 0 and back.
    Deployment,
    /// Scaled to 0 and back, when no Deployment owns it.
    ReplicaSet,
    /// Deleted and created again from its saved spec.
    Pod,
}

impl Kind {
    /// As kubectl prints it before a slash.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StatefulSet => "statefulset",
            Self::Deployment => "deployment",
            Self::ReplicaSet => "replicaset",
            Self::Pod => "pod",
        }
    }

    fn resource(self) -> Discovered {
        match self {
            Self::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Self::Deployment => ApiResource::erase::<Deployment>(&()),
            Self::ReplicaSet => ApiResource::erase::<ReplicaSet>(&()),
            Self::Pod => ApiResource::erase::<Pod>(&()),
        }
    }
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

impl Workload {
    /// The owner of a pod, if it can be stopped.
    ///
    /// # Errors
    /// `Refused` when something owns it that can't be stopped so that it stays stopped; nothing was changed.
    pub fn of(pod: &Pod, owner: &Owner) -> Result<Self> {
        let of_kind = |kind, object: &Object| Self { kind, name: object.name.clone(), uid: object.uid.clone() };
        let name = pod.metadata.name.clone().unwrap_or_default();
        Ok(match owner {
            Owner::None => Self { kind: Kind::Pod, name, uid: pod.metadata.uid.clone().unwrap_or_default() },
            Owner::StatefulSet(object) => of_kind(Kind::StatefulSet, object),
            Owner::Deployment { object, .. } => of_kind(Kind::Deployment, object),
            Owner::ReplicaSet(object) => of_kind(Kind::ReplicaSet, object),
            Owner::DaemonSet(object) => return Err(cannot_stop(&name, "daemonset", &object.name)),
            Owner::Job(object) => return Err(cannot_stop(&name, "job", &object.name)),
            Owner::CronJob { object, .. } => return Err(cannot_stop(&name, "cronjob", &object.name)),
            Owner::Other { kind_name, object, .. } => return Err(cannot_stop(&name, kind_name, &object.name)),
        })
    }

    /// The workload of a name, where it can be stopped and started.
    ///
    /// # Errors
    /// `Usage` for another kind; nothing of that name.
    pub async fn find(cluster: &Cluster, asked: &TargetRef) -> Result<Self> {
        let kind = match asked.kind {
            TargetKind::StatefulSet => Kind::StatefulSet,
            TargetKind::Deployment => Kind::Deployment,
            TargetKind::ReplicaSet => Kind::ReplicaSet,
            _ => return Err(Failure::usage(format!("{asked} is no Deployment, StatefulSet or ReplicaSet"))),
        };
        let mut it = Self { kind, name: asked.name.clone(), uid: String::new() };
        let found = it.api(cluster, &cluster.namespace).get_metadata(&asked.name).await;
        let found = found.map_err(|error| translate(&error, &format!("read {it}")).state("nothing was changed"))?;
        it.uid = found.metadata.uid.unwrap_or_default();
        Ok(it)
    }

    /// Reads the object.
    ///
    /// # Errors
    /// When it is gone, or another object has taken its name.
    pub async fn get(&self, cluster: &Cluster, namespace: &str) -> Result<DynamicObject> {
        let object =
            self.api(cluster, namespace).get(&self.name).await.map_err(|error| translate(&error, &format!("read {self}")))?;
        if object.metadata.uid.as_deref() != Some(&self.uid) {
            return Err(Failure::failed(format!("{self} was deleted and created again since this operation began"))
                .fact(format!("expected uid {}, found {}", self.uid, object.metadata.uid.unwrap_or_default())));
        }
        Ok(object)
    }

    /// Replicas that are asked for.
    ///
    /// # Errors
    /// As [`Workload::get`].
    pub async fn replicas(&self, cluster: &Cluster, namespace: &str) -> Result<i32> {
        let object = self.get(cluster, namespace).await?;
        let replicas = object.data.pointer("/spec/replicas").and_then(serde_json::Value::as_i64).unwrap_or(1);
        Ok(i32::try_from(replicas).unwrap_or(i32::MAX))
    }

    /// Asks for another number of replicas, if it still has the number that was seen.
    ///
    /// # Errors
    /// When somebody else scaled it meanwhile, or the API server refuses.
    pub async fn scale(&self, cluster: &Cluster, namespace: &str, from: i32, to: i32) -> Result<()> {
        let seen = self.replicas(cluster, namespace).await?;
        if seen == to {
            return Ok(());
        }
        if seen != from {
            return Err(Failure::failed(format!("{self} has {seen} replicas, not {from}: somebody else scaled it"))
                .next(format!("kubectl describe {self} -n {namespace}")));
        }
        let patch = json!({"spec": {"replicas": to}});
        let params = as_ours();
        let api = self.api(cluster, namespace);
        api.patch_scale(&self.name, &params, &Patch::Merge(&patch))
            .await
            .map_err(|error| translate(&error, &format!("scale {self} to {to}")))?;
        Ok(())
    }

    /// Changes this very object, lists merged by their names: another one of its name is refused by the server.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn change(&self, cluster: &Cluster, namespace: &str, mut change: serde_json::Value) -> Result<()> {
        change["metadata"] = json!({"uid": self.uid});
        let params = as_ours();
        let changed = self.api(cluster, namespace).patch(&self.name, &params, &Patch::Strategic(change)).await;
        changed.map(|_| ()).map_err(|error| translate(&error, &format!("change {self}")))
    }

    /// Who else sets this object's fields: a GitOps tool or an operator may scale it up again while we work.
    ///
    /// # Errors
    /// As [`Workload::get`].
    pub async fn other_managers(&self, cluster: &Cluster, namespace: &str) -> Result<Vec<String>> {
        let object = self.get(cluster, namespace).await?;
        let labels = object.metadata.labels.clone().unwrap_or_default();
        let mut found: Vec<String> = Vec::new();
        for (label, tool) in [
            ("argocd.argoproj.io/instance", "Argo CD"),
            ("kustomize.toolkit.fluxcd.io/name", "Flux"),
            ("helm.toolkit.fluxcd.io/name", "Flux"),
            ("heritage", ""),
        ] {
            let Some(value) = labels.get(label) else { continue };
            match (tool, value.as_str()) {
                ("", "deckhouse") => found.push("deckhouse".to_owned()),
                ("", _) => {}
                (tool, value) => found.push(format!("{tool} ({value})")),
            }
        }
        Ok(found)
    }

    pub(super) fn api(&self, cluster: &Cluster, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(cluster.client.clone(), namespace, &self.kind.resource())
    }
}

fn cannot_stop(pod: &str, kind: &str, name: &str) -> Failure {
    let kind = kind.to_lowercase();
    let failure = Failure::refused(format!("pod/{pod} belongs to {kind}/{name}, which would start it again at once"))
        .state("nothing was changed");
    match kind.as_str() {
        "daemonset" => failure.next(
            "a DaemonSet can't be scaled: take its pods off the node first, e.g. with a node selector, then run this again",
        ),
        "job" | "cronjob" => failure.next(format!("wait for {kind}/{name} to end, or delete it, then run this again")),
        _ => failure.next(format!("stop it the way its operator offers, e.g. by pausing {kind}/{name}, then run this again")),
    }
}
