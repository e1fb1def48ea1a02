//! Gives the volume of one claim to another claim, so that nobody who asks for the old one by its name gets it any more.
//!
//! The data is never touched: the PersistentVolume is told to stay whatever becomes of its claims before the first one is deleted.

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{Api, DeleteParams, ListParams, Patch, PostParams, Preconditions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::error::{Context as _, found, is_forbidden, is_not_found};
use super::{Cluster, MANAGED_BY, as_ours};
use crate::cluster::helper::LABEL_OPERATION;
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;

/// The controller that binds volumes looks again every 15 s at what it has missed (`--pvclaimbinder-sync-period`): twice that at least.
const BINDS: Duration = Duration::from_secs(40);
/// What becomes of a volume whose claim is deleted, when nothing is to become of it.
const RETAIN: &str = "Retain";

/// A claim and its volume, as they were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bound {
    /// Name of the claim.
    pub claim: String,
    /// Its uid: another one of its name is not it.
    pub uid: String,
    /// Name of its volume.
    pub volume: String,
    /// What becomes of the volume when its claim is deleted.
    pub reclaim: String,
    /// Storage class.
    pub class: Option<String>,
    /// How it may be mounted.
    pub modes: Vec<String>,
    /// Size that was asked for.
    pub size: String,
    /// Labels of the claim.
    pub labels: Value,
}

impl Bound {
    /// Looks at a claim and its volume.
    ///
    /// # Errors
    /// The claim is not bound; the volume may not be read.
    pub async fn of(cluster: &Cluster, namespace: &str, claim: &str) -> Result<Self> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), namespace);
        let object = api.get(claim).await.doing(format!("read persistentvolumeclaim/{claim}"))?;
        let spec = object.spec.unwrap_or_default();
        let volume = spec.volume_name.filter(|name| !name.is_empty()).ok_or_else(|| {
            Failure::refused(format!("persistentvolumeclaim/{claim} has no volume yet")).state("nothing was changed")
        })?;
        if object.metadata.deletion_timestamp.is_some() {
            return Err(Failure::refused(format!("persistentvolumeclaim/{claim} is being deleted"))
                .fact("it goes as soon as no pod uses it any more, and by its reclaim policy its volume may go with it")
                .state("nothing was changed")
                .next(format!("kubectl describe persistentvolumeclaim/{claim} -n {namespace}")));
        }
        let volumes: Api<PersistentVolume> = Api::all(cluster.client.clone());
        let held = volumes.get(&volume).await.doing(format!("read persistentvolume/{volume}"))?;
        let requests = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
        Ok(Self {
            claim: claim.to_owned(),
            uid: object.metadata.uid.unwrap_or_default(),
            volume,
            reclaim: held.spec.and_then(|spec| spec.persistent_volume_reclaim_policy).unwrap_or_else(|| RETAIN.to_owned()),
            class: spec.storage_class_name,
            modes: spec.access_modes.unwrap_or_default(),
            size: requests.get("storage").map(|size| size.0.clone()).unwrap_or_default(),
            labels: json!(object.metadata.labels.unwrap_or_default()),
        })
    }

    /// Has the volume stay when a claim of it is deleted.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn retain(&self, cluster: &Cluster) -> Result<()> {
        self.reclaim_by(cluster, RETAIN).await
    }

    /// Puts the volume's reclaim policy back.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn as_before(&self, cluster: &Cluster) -> Result<()> {
        self.reclaim_by(cluster, &self.reclaim).await
    }

    async fn reclaim_by(&self, cluster: &Cluster, policy: &str) -> Result<()> {
        self.change(cluster, json!({"spec": {"persistentVolumeReclaimPolicy": policy}})).await
    }

    async fn change(&self, cluster: &Cluster, change: Value) -> Result<()> {
        let volumes: Api<PersistentVolume> = Api::all(cluster.client.clone());
        let changed = volumes.patch(&self.volume, &as_ours(), &Patch::Merge(change)).await;
        changed.map(drop).doing(format!("change persistentvolume/{}", self.volume))
    }

    /// Waits until no node has the volume attached any more. Who may not list attachments is not told: mounting it elsewhere waits then.
    ///
    /// # Errors
    /// It still is after the limit; `Interrupted`.
    pub async fn detached(&self, cluster: &Cluster, stop: &Stop, limit: Duration) -> Result<()> {
        let api: Api<VolumeAttachment> = Api::all(cluster.client.clone());
        let until = Instant::now() + limit;
        loop {
            let list = match api.list(&ListParams::default()).await {
                Err(error) if is_forbidden(&error) || is_not_found(&error) => return Ok(()),
                list => list.doing("list the volumes that are attached to nodes")?,
            };
            let of = |one: &&VolumeAttachment| one.spec.source.persistent_volume_name.as_deref() == Some(self.volume.as_str());
            let Some(left) = list.items.iter().find(of) else { return Ok(()) };
            let still = format!("persistentvolume/{} is still attached to node {}", self.volume, left.spec.node_name);
            stop.pause(until, &still).await?;
        }
    }

    /// The claim of this name that has the volume, if there is one.
    async fn held_by(&self, cluster: &Cluster, namespace: &str, claim: &str) -> Result<Option<PersistentVolumeClaim>> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), namespace);
        let object = found(api.get(claim).await).doing(format!("read persistentvolumeclaim/{claim}"))?;
        let names = |object: &PersistentVolumeClaim| {
            object.spec.as_ref().is_some_and(|spec| spec.volume_name.as_deref() == Some(self.volume.as_str()))
        };
        Ok(object.filter(names))
    }

    /// Whether a claim of this name has the volume, for good.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn is_held_by(&self, cluster: &Cluster, namespace: &str, claim: &str) -> Result<bool> {
        let held = self.held_by(cluster, namespace, claim).await?;
        let bound =
            |claim: &PersistentVolumeClaim| claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
        Ok(held.is_some_and(|claim| claim.metadata.deletion_timestamp.is_none() && bound(&claim)))
    }

    /// Takes the volume from a claim and gives it to another one, which is made. Fine if that has been done in part.
    ///
    /// # Errors
    /// A pod still uses the first claim after the limit, or somebody else has taken one of the names; the data stays where it is.
    pub async fn give(&self, cluster: &Cluster, stop: &Stop, place: &Place<'_>) -> Result<()> {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), place.namespace);
        let until = Instant::now() + place.limit;
        while let Some(old) = self.held_by(cluster, place.namespace, place.from).await? {
            if old.metadata.deletion_timestamp.is_none() {
                let preconditions = Preconditions { uid: old.metadata.uid.clone(), resource_version: None };
                let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                match api.delete(place.from, &params).await {
                    Err(error) if !is_not_found(&error) => {
                        return Err(error).doing(format!("delete persistentvolumeclaim/{}", place.from));
                    }
                    _ => {}
                }
            }
            stop.pause(until, &format!("persistentvolumeclaim/{} is still used by a pod", place.from)).await?;
        }
        if self.held_by(cluster, place.namespace, place.to).await?.is_none() {
            let claim = self.claim(place)?;
            let made = api.create(&PostParams::default(), &claim).await;
            made.doing(format!("create persistentvolumeclaim/{}", place.to))?;
        }
        // By its name alone: the controller fills in the rest, and never gives a volume with such a reference to another claim.
        let reference = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": place.namespace, "name": place.to,
            "uid": null, "resourceVersion": null});
        if !self.is_held_by(cluster, place.namespace, place.to).await? {
            self.change(cluster, json!({"spec": {"claimRef": reference}})).await?;
        }
        let until = until.max(Instant::now() + BINDS);
        while !self.is_held_by(cluster, place.namespace, place.to).await? {
            stop.pause(until, &format!("persistentvolumeclaim/{} is not bound yet", place.to)).await?;
        }
        Ok(())
    }

    fn claim(&self, place: &Place<'_>) -> Result<PersistentVolumeClaim> {
        let labels = place
            .labels
            .clone()
            .unwrap_or_else(|| json!({"app.kubernetes.io/managed-by": MANAGED_BY, LABEL_OPERATION: place.operation}));
        let claim = json!({
            "metadata": {"name": place.to, "labels": labels},
            "spec": {
                "accessModes": self.modes, "storageClassName": self.class, "volumeName": self.volume,
                "resources": {"requests": {"storage": self.size}},
            },
        });
        serde_json::from_value(claim)
            .map_err(|error| Failure::failed(format!("cannot describe persistentvolumeclaim/{}: {error}", place.to)))
    }
}

/// From which claim to which a volume goes.
#[derive(Debug, Clone)]
pub struct Place<'a> {
    /// Namespace of both.
    pub namespace: &'a str,
    /// Has it now, or had it.
    pub from: &'a str,
    /// Gets it.
    pub to: &'a str,
    /// Labels of the claim that is made; ours when `None`.
    pub labels: Option<Value>,
    /// Operation that it is made by.
    pub operation: &'a str,
    /// How long to wait for pods that use the first one.
    pub limit: Duration,
}
