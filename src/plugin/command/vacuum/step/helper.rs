//! The helper pod and the scratch volume: made before the work, removed after it.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use super::super::examine::Examined;
use super::super::space::{KeepOld, Place, Room};
use super::{Desk, EXAMINED, KEEP_SCRATCH, scratch};
use crate::cluster::MANAGED_BY;
use crate::cluster::bare_pod;
use crate::cluster::error::translate;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};

/// Brings the helper pod up and our binary into it.
pub(super) struct Prepare(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Prepare {
    fn id(&self) -> &'static str {
        "helper"
    }

    fn title(&self) -> String {
        format!("prepare the helper pod/{}", self.0.spec.helper.name)
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo) // Bringing up what is up is cheap, and every later step needs it in this process.
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let agent = self.0.agent(run).await?;
        Ok(format!("runs as user {}", agent.hello.uid))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        self.0.spec.helper.delete(&run.cluster).await?;
        Ok(String::new())
    }
}

/// Makes a PersistentVolumeClaim for what does not fit on the database's volume.
pub(super) struct Scratch(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Scratch {
    fn id(&self) -> &'static str {
        "scratch-volume"
    }

    fn title(&self) -> String {
        "make a scratch volume".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if scratch(run.memory.recall(EXAMINED)?.as_ref()).is_some() { Look::Todo } else { Look::NotNeeded })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let examined: Examined = run.memory.need(EXAMINED)?;
        let Some(place) = scratch(Some(&examined)) else { return Ok(String::new()) };
        let summary = if let Place::Claim { class } = &place {
            self.make_claim(run, class.as_deref(), &examined).await?
        } else {
            String::new()
        };
        self.0.agent_again(run).await?;
        Ok(summary)
    }

    async fn back(&self, run: &Run) -> Result<String> {
        self.0.spec.helper.delete(&run.cluster).await?;
        if run.memory.recall::<bool>(KEEP_SCRATCH)?.is_some() {
            return Ok(format!("persistentvolumeclaim/{} stays: it holds what was written since", self.0.spec.helper.name));
        }
        remove_claim(run, &self.0.spec.helper.name).await
    }
}

impl Scratch {
    async fn make_claim(&self, run: &Run, class: Option<&str>, examined: &Examined) -> Result<String> {
        let name = &self.0.spec.helper.name;
        let claims = claims(run);
        if claims.get_opt(name).await.map_err(|error| translate(&error, &format!("read persistentvolumeclaim/{name}")))?.is_some()
        {
            return Ok(format!("persistentvolumeclaim/{name} is there"));
        }
        let mebibytes = bytes_needed(examined).div_ceil(1 << 20);
        let claim: PersistentVolumeClaim = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": MANAGED_BY, "dbmig.dev/operation": run.id}},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": format!("{mebibytes}Mi")}}},
        }))
        .map_err(|error| Failure::failed(format!("cannot describe the scratch volume: {error}")))?;
        claims
            .create(&PostParams::default(), &claim)
            .await
            .map_err(|error| translate(&error, &format!("create persistentvolumeclaim/{name}")))?;
        Ok(format!("persistentvolumeclaim/{name}, {mebibytes} MiB"))
    }
}

/// With an eighth on top: file systems keep some for themselves.
fn bytes_needed(examined: &Examined) -> u64 {
    let new = if matches!(examined.room, Room::Scratch(_)) { examined.expected_bytes } else { 0 };
    let old = if matches!(examined.keep_old, KeepOld::At(_)) { examined.bytes } else { 0 };
    (new + old) * 9 / 8 + (16 << 20)
}

/// Removes the helper pod and what else the operation has left in the cluster.
pub(super) struct CleanUp(pub(super) Arc<Desk>);

#[async_trait]
impl Step for CleanUp {
    fn id(&self) -> &'static str {
        "clean-up"
    }

    fn title(&self) -> String {
        "remove the helper pod".to_owned()
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let helper = &self.0.spec.helper;
        helper.delete(&run.cluster).await?;
        if self.0.spec.workload.kind == crate::cluster::workload::Kind::Pod {
            bare_pod::forget(&run.cluster, &run.namespace, &run.id).await?;
        }
        let examined: Option<Examined> = run.memory.recall(EXAMINED)?;
        match examined.map(|examined| (examined.room, examined.keep_old)) {
            Some((_, KeepOld::At(Place::Claim { .. }))) => {
                Ok(format!("the old file stays on persistentvolumeclaim/{}", helper.name))
            }
            Some((Room::Scratch(Place::Claim { .. }), _)) => remove_claim(run, &helper.name).await,
            _ => Ok(String::new()),
        }
    }
}

async fn remove_claim(run: &Run, name: &str) -> Result<String> {
    match claims(run).delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(format!("persistentvolumeclaim/{name} removed")),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(String::new()),
        Err(error) => Err(translate(&error, &format!("delete persistentvolumeclaim/{name}"))),
    }
}

fn claims(run: &Run) -> Api<PersistentVolumeClaim> {
    Api::namespaced(run.cluster.client.clone(), &run.namespace)
}
