//! The claim that the new release mounts: with the replica's own volume, or with a copy of it.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::super::Desk;
use super::super::spec::{Copy, Spec};
use super::primary::DIVERGED;
use crate::cluster::claim;
use crate::cluster::error::{Context as _, found, is_conflict};
use crate::cluster::job::own_labels;
use crate::cluster::rebind::Place;
use crate::cluster::snapshot::{self, Wanted};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};

/// Gives the replica's volume to the new claim: a replica that is scaled up again gets a new volume, and never this one.
pub(super) struct GiveVolume(pub(super) Arc<Desk>);

#[async_trait]
impl Step for GiveVolume {
    fn id(&self) -> &'static str {
        "give-volume"
    }

    fn title(&self) -> String {
        let spec = &self.0.spec;
        format!("give the volume of persistentvolumeclaim/{} to persistentvolumeclaim/{}", spec.bound.claim, spec.claim)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        let held = self.0.spec.bound.is_held_by(&run.cluster, &run.namespace, &self.0.spec.claim).await?;
        Ok(if held { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        self.0.refuse_used(run, &spec.bound.claim).await?;
        if spec.set.replicas(&run.cluster, &run.namespace).await? >= spec.replicas {
            return Err(Failure::failed(format!("{} was scaled up again", spec.set))
                .fact("its replica would mount the volume that the new release is to have")
                .take_back());
        }
        let place = Place {
            namespace: &run.namespace,
            from: &spec.bound.claim,
            to: &spec.claim,
            labels: None,
            operation: &run.id,
            limit: spec.timeout(),
        };
        let given = spec.bound.give(&run.cluster, &run.stop, &place).await;
        given.map_err(
            |failure| if failure.exit == Exit::Interrupted || failure.passing { failure } else { failure.take_back() },
        )?;
        Ok(format!("persistentvolume/{}", spec.bound.volume))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        if run.memory.recall::<bool>(DIVERGED)?.unwrap_or_default() {
            return Ok(format!(
                "persistentvolumeclaim/{} keeps the volume, which has a primary's data; {} clones the primary anew",
                spec.claim, spec.set
            ));
        }
        // Whoever was scaled up meanwhile may hold the old claim on its way out.
        let replicas = spec.set.replicas(&run.cluster, &run.namespace).await?;
        if replicas >= spec.replicas && !spec.bound.is_held_by(&run.cluster, &run.namespace, &spec.bound.claim).await? {
            spec.set.scale(&run.cluster, &run.namespace, replicas, spec.replicas - 1).await?;
            self.0.unused(run, &spec.bound.claim).await?;
        }
        let place = Place {
            namespace: &run.namespace,
            from: &spec.claim,
            to: &spec.bound.claim,
            labels: Some(spec.bound.labels.clone()),
            operation: &run.id,
            limit: spec.timeout(),
        };
        spec.bound.give(&run.cluster, &run.stop, &place).await?;
        Ok(format!("persistentvolumeclaim/{} has its volume again", spec.bound.claim))
    }
}

/// Makes the new claim with a copy of the replica's volume; the replica stays.
pub(super) struct CopyClaim(pub(super) Arc<Desk>);

#[async_trait]
impl Step for CopyClaim {
    fn id(&self) -> &'static str {
        "copy-volume"
    }

    fn title(&self) -> String {
        let spec = &self.0.spec;
        let how = if spec.copy == Copy::Clone { "a clone" } else { "a snapshot" };
        format!("make persistentvolumeclaim/{} out of {how} of persistentvolumeclaim/{}", spec.claim, spec.bound.claim)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if has_claim(&self.0.spec, run).await? { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        let (source, size) = match &spec.copy {
            Copy::Snapshot(class) => {
                let (name, backup_of) = (snapshot_name(run), format!("release {}", spec.release));
                let wanted = Wanted {
                    name: &name,
                    operation: &run.id,
                    claim: &spec.bound.claim,
                    class,
                    backup_of: &backup_of,
                    patience: spec.timeout(),
                };
                let ready = snapshot::take(&run.cluster, &run.stop, &run.namespace, &wanted).await.map_err(Failure::take_back)?;
                (json!({"apiGroup": snapshot::GROUP, "kind": "VolumeSnapshot", "name": name}), ready.size)
            }
            Copy::Clone | Copy::None => (json!({"kind": "PersistentVolumeClaim", "name": spec.bound.claim}), None),
        };
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": {"name": spec.claim, "labels": own_labels(&run.id)},
            "spec": {"accessModes": spec.bound.modes, "storageClassName": spec.bound.class, "dataSource": source,
                "resources": {"requests": {"storage": size.as_ref().unwrap_or(&spec.bound.size)}}},
        }))
        .map_err(|error| Failure::failed(format!("cannot describe persistentvolumeclaim/{}: {error}", spec.claim)))?;
        match claims(run).create(&PostParams::default(), &claim).await {
            Err(error) if is_conflict(&error) => {}
            made => made.map(drop).doing(format!("create persistentvolumeclaim/{}", spec.claim)).map_err(Failure::take_back)?,
        }
        Ok(String::new())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        let name = &self.0.spec.claim;
        let said = if run.memory.recall::<bool>(DIVERGED)?.unwrap_or_default() {
            format!("persistentvolumeclaim/{name} stays: it holds what the new release has written")
        } else {
            claim::remove(&run.cluster, &run.namespace, name).await?;
            String::new()
        };
        forget_snapshot(&self.0.spec.copy, run).await?;
        Ok(said)
    }
}

async fn has_claim(spec: &Spec, run: &Run) -> Result<bool> {
    let claim = found(claims(run).get(&spec.claim).await).doing(format!("read persistentvolumeclaim/{}", spec.claim))?;
    Ok(claim.is_some())
}

/// Whether the copy, or the snapshot that it is made of, may hold what the replica had by now.
///
/// # Errors
/// When the API server refuses.
pub(super) async fn has_begun(spec: &Spec, run: &Run) -> Result<bool> {
    let has_claim = has_claim(spec, run).await?;
    if has_claim || !matches!(spec.copy, Copy::Snapshot(_)) {
        return Ok(has_claim);
    }
    let name = snapshot_name(run);
    let snapshot = found(snapshot::api(&run.cluster.client, &run.namespace).get(&name).await);
    Ok(snapshot.doing(format!("read volumesnapshot/{name}"))?.is_some())
}

/// Removes the snapshot, if there is one: it was only needed to make the claim of.
///
/// # Errors
/// When the API server refuses.
pub(super) async fn forget_snapshot(copy: &Copy, run: &Run) -> Result<()> {
    match copy {
        Copy::Snapshot(_) => snapshot::remove(&run.cluster, &run.namespace, &snapshot_name(run)).await.map(drop),
        Copy::Clone | Copy::None => Ok(()),
    }
}

fn snapshot_name(run: &Run) -> String {
    format!("dbmig-{}", run.id)
}

fn claims(run: &Run) -> Api<PersistentVolumeClaim> {
    Api::namespaced(run.cluster.client.clone(), &run.namespace)
}
