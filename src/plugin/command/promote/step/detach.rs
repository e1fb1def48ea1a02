//! Letting the replica go, so that its volume is nobody's.

use std::sync::Arc;

use async_trait::async_trait;

use super::super::Desk;
use crate::cluster::error::{Context as _, found};
use crate::cluster::kind::Kind;
use crate::cluster::pods::{Verdict, Wait};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::Api;

/// Has the volume stay whatever becomes of its claims.
pub(super) struct Retain(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Retain {
    fn id(&self) -> &'static str {
        "retain-volume"
    }

    fn title(&self) -> String {
        format!("have persistentvolume/{} stay when a claim of it goes", self.0.spec.bound.volume)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        let name = &self.0.spec.bound.volume;
        let volumes: Api<PersistentVolume> = Api::all(run.cluster.client.clone());
        let volume = found(volumes.get(name).await).doing(format!("read persistentvolume/{name}"))?;
        let policy = volume.and_then(|volume| volume.spec?.persistent_volume_reclaim_policy);
        Ok(if policy.as_deref() == Some("Retain") { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        self.0.spec.bound.retain(&run.cluster).await.map(|()| String::new())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        self.0.spec.bound.as_before(&run.cluster).await.map(|()| String::new())
    }
}

/// Scales the replicas down by one, and waits until the last one and its hold on the volume are gone.
pub(super) struct Detach(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Detach {
    fn id(&self) -> &'static str {
        "detach"
    }

    fn title(&self) -> String {
        let spec = &self.0.spec;
        format!("let pod/{} go ({}: {} → {} replicas)", spec.pod, spec.set, spec.replicas, spec.replicas - 1)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if self.0.is_detached(run).await? { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        spec.set.scale(&run.cluster, &run.namespace, spec.replicas, spec.replicas - 1).await.map_err(Failure::take_back)?;
        self.gone(run).await.map_err(Failure::take_back)?;
        spec.bound.detached(&run.cluster, &run.stop, spec.timeout()).await.map_err(Failure::take_back)?;
        Ok(String::new())
    }

    async fn can_go_back(&self, run: &Run) -> Result<()> {
        let set = self.0.spec.set.get(&run.cluster, &run.namespace).await;
        set.map(drop).map_err(|failure| {
            if failure.passing {
                return failure;
            }
            Failure::refused(format!("{} is not there any more: there is nothing to go back to", self.0.spec.set))
                .facts(failure.facts)
                .state("nothing was changed")
        })
    }

    async fn back(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        spec.set.scale(&run.cluster, &run.namespace, spec.replicas - 1, spec.replicas).await?;
        spec.set.rolled_out(&run.cluster, &run.namespace, &run.stop, spec.timeout()).await?;
        self.0.streams(run).await?;
        Ok(format!("pod/{} streams from {} again", spec.pod, spec.primary.target))
    }
}

impl Detach {
    async fn gone(&self, run: &Run) -> Result<()> {
        let pod = &self.0.spec.pod;
        let (fields, what) = (format!("metadata.name={pod}"), format!("{}/{pod} to go", Kind::Pod));
        let wait = Wait { namespace: &run.namespace, fields: &fields, limit: self.0.spec.timeout(), what: &what };
        let gone = wait.until(&run.cluster, &run.stop, |pods| match pods.is_empty() {
            true => Verdict::Met(()),
            false => Verdict::Waiting("it is still there".to_owned()),
        });
        gone.await.map_err(|failure| if failure.exit == Exit::Interrupted { failure } else { failure.exit(Exit::TimedOut) })
    }
}
