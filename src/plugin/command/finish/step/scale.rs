//! Writers that are scaled down while the cut-over lasts.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;

use super::super::Desk;
use super::super::spec::Scaled;
use crate::cluster::owner::owner_of;
use crate::cluster::pods::{Verdict, Wait};
use crate::exit::Exit;
use crate::failure::Result;
use crate::plan::{Look, Run, Step};

/// Scales them down, and waits until their pods are gone.
pub(super) struct Down(pub(super) Arc<Desk>);

/// Scales them up again.
pub(super) struct Up(pub(super) Arc<Desk>);

async fn all_at(desk: &Desk, run: &Run, wanted: impl Fn(&Scaled) -> i32) -> Result<bool> {
    for scaled in &desk.spec.scaled {
        if scaled.workload.replicas(&run.cluster, &run.namespace).await? != wanted(scaled) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn names(desk: &Desk) -> String {
    desk.spec.scaled.iter().map(|scaled| scaled.workload.to_string()).collect::<Vec<_>>().join(", ")
}

async fn up(desk: &Desk, run: &Run) -> Result<()> {
    for Scaled { workload, replicas } in &desk.spec.scaled {
        workload.scale(&run.cluster, &run.namespace, 0, *replicas).await?;
    }
    for Scaled { workload, .. } in &desk.spec.scaled {
        workload.rolled_out(&run.cluster, &run.namespace, &run.stop, desk.spec.timeout()).await?;
    }
    Ok(())
}

#[async_trait]
impl Step for Down {
    fn id(&self) -> &'static str {
        "scale-down"
    }

    fn title(&self) -> String {
        format!("scale {} to 0 replicas", names(&self.0))
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if all_at(&self.0, run, |_| 0).await? && self.pods(run).await?.is_empty() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        for Scaled { workload, replicas } in &self.0.spec.scaled {
            workload.scale(&run.cluster, &run.namespace, *replicas, 0).await?;
        }
        let mut left = self.pods(run).await?;
        let what = format!("the pods of {} to go", names(&self.0));
        let wait = Wait { namespace: &run.namespace, fields: "", limit: self.0.spec.max_downtime(), what: &what };
        wait.until(&run.cluster, &run.stop, |pods| {
            left.retain(|name| pods.iter().any(|pod| pod.metadata.name.as_ref() == Some(name)));
            if left.is_empty() { Verdict::Met(()) } else { Verdict::Waiting(format!("still there: {}", left.join(", "))) }
        })
        .await
        .map_err(|failure| if failure.exit == Exit::Interrupted { failure } else { failure.exit(Exit::TimedOut).take_back() })?;
        Ok(String::new())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        up(&self.0, run).await.map(|()| String::new())
    }
}

impl Down {
    /// Names of the pods of what is scaled down.
    async fn pods(&self, run: &Run) -> Result<Vec<String>> {
        let api: kube::Api<Pod> = kube::Api::namespaced(run.cluster.client.clone(), &run.namespace);
        let listed = api.list(&kube::api::ListParams::default()).await;
        let listed = listed.map_err(|error| crate::cluster::error::translate(&error, "list pods"))?;
        let mut found = Vec::new();
        for pod in listed.items {
            let owner = owner_of(&run.cluster, &run.namespace, &pod.metadata).await?;
            let of = |scaled: &Scaled| owner.object().is_some_and(|(_, object)| object.uid == scaled.workload.uid);
            if self.0.spec.scaled.iter().any(of) {
                found.extend(pod.metadata.name);
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl Step for Up {
    fn id(&self) -> &'static str {
        "scale-up"
    }

    fn title(&self) -> String {
        format!("scale {} up again", names(&self.0))
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if all_at(&self.0, run, |scaled| scaled.replicas).await? { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        up(&self.0, run).await.map(|()| String::new())
    }
}
