//! Stopping and starting what writes to the database.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;

use super::{Desk, POD_AGAIN};
use crate::cluster::bare_pod;
use crate::cluster::helper::is_helper;
use crate::cluster::pods::{Verdict, Wait};
use crate::cluster::volume::{users, uses};
use crate::cluster::workload::Kind;
use crate::command::kept_logs;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};

/// Scales the owner to 0, or deletes a bare pod whose spec is saved first, and waits until nobody uses the volume.
pub(super) struct Stop(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Stop {
    fn id(&self) -> &'static str {
        "stop-writers"
    }

    fn title(&self) -> String {
        let spec = &self.0.spec;
        match spec.workload.kind {
            Kind::Pod => format!("stop {} (it is created again from its saved spec)", spec.workload),
            _ if spec.replicas == 0 => format!("see that {} (0 replicas) runs nowhere", spec.workload),
            _ => format!("stop {} ({} → 0 replicas)", spec.workload, spec.replicas),
        }
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        if self.0.is_swapped(run)? {
            return Ok(Look::Done);
        }
        let stopped = match self.0.spec.workload.kind {
            Kind::Pod => false,
            _ => self.0.spec.workload.replicas(&run.cluster, &run.namespace).await? == 0,
        };
        Ok(if stopped && self.0.other_user(run).await?.is_none() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        self.0.stop_writers(run).await?;
        Ok(String::new())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        self.0.start_writers(run).await
    }
}

/// Puts the owner back to the replicas it had, or creates the bare pod again.
pub(super) struct Start(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Start {
    fn id(&self) -> &'static str {
        "start-writers"
    }

    fn title(&self) -> String {
        let spec = &self.0.spec;
        match spec.workload.kind {
            Kind::Pod => format!("create {} again", spec.workload),
            _ if spec.replicas == 0 => format!("leave {} at 0 replicas", spec.workload),
            _ => format!("start {} (0 → {} replicas)", spec.workload, spec.replicas),
        }
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        if self.0.spec.replicas == 0 {
            return Ok(Look::NotNeeded);
        }
        self.0.look_started(run).await
    }

    async fn act(&self, run: &Run) -> Result<String> {
        self.0.start_writers(run).await
    }

    async fn back(&self, run: &Run) -> Result<String> {
        self.0.stop_writers(run).await?;
        Ok(String::new())
    }
}

impl Desk {
    async fn stop_writers(&self, run: &Run) -> Result<()> {
        let spec = &self.spec;
        kept_logs::keep(run, &self.other_users(run).await?).await;
        match spec.workload.kind {
            Kind::Pod => {
                // After the pod was created again, and its saved spec forgotten, an undo stops that one.
                let uid = run.memory.recall::<String>(POD_AGAIN)?.unwrap_or_else(|| spec.workload.uid.clone());
                bare_pod::save_and_delete(&run.cluster, &run.namespace, &spec.workload, &uid, &run.id).await?;
            }
            _ => spec.workload.scale(&run.cluster, &run.namespace, spec.replicas, 0).await?,
        }
        let what = format!("every pod that mounts the database's volume to go ({})", spec.workload);
        let wait = Wait { namespace: &run.namespace, fields: "", limit: self.timeout(), what: &what };
        wait.until(&run.cluster, &run.stop, |pods| {
            let left: Vec<String> =
                pods.iter().filter(|pod| self.uses_volume(pod)).map(|pod| format!("pod/{} is still there", name(pod))).collect();
            if left.is_empty() { Verdict::Met(()) } else { Verdict::Waiting(left.join("\n")) }
        })
        .await
        // Who asks to stop decides then whether to go on or back.
        .map_err(|failure| if failure.exit == Exit::Interrupted { failure } else { failure.exit(Exit::TimedOut).take_back() })
    }

    async fn start_writers(&self, run: &Run) -> Result<String> {
        let spec = &self.spec;
        match spec.workload.kind {
            Kind::Pod => {
                let uid = bare_pod::restore(&run.cluster, &run.namespace, &spec.workload, &run.id).await?;
                run.memory.keep(POD_AGAIN, &uid)?;
            }
            _ => spec.workload.scale(&run.cluster, &run.namespace, 0, spec.replicas).await?,
        }
        Ok(String::new())
    }

    async fn look_started(&self, run: &Run) -> Result<Look> {
        let spec = &self.spec;
        let started = match spec.workload.kind {
            Kind::Pod => bare_pod::uid(&run.cluster, &run.namespace, &spec.workload.name).await?.is_some(),
            _ => spec.workload.replicas(&run.cluster, &run.namespace).await? == spec.replicas,
        };
        Ok(if started { Look::Done } else { Look::Todo })
    }

    /// Proves, right before the database is touched, that nobody has been started meanwhile.
    pub(super) async fn prove_stopped(&self, run: &Run) -> Result<()> {
        let Some(pod) = self.other_user(run).await? else { return Ok(()) };
        let managers = if self.spec.workload.kind == Kind::Pod {
            Vec::new()
        } else {
            self.spec.workload.other_managers(&run.cluster, &run.namespace).await?
        };
        let failure = Failure::failed(format!(
            "pod/{} mounts the database's volume again while {} should be stopped",
            name(&pod),
            self.spec.workload
        ))
        .state("the database is as it was; nothing was put in its place")
        .take_back();
        Err(if managers.is_empty() {
            failure
        } else {
            failure.fact(format!("{} is managed by {}: pause it first", self.spec.workload, managers.join(", ")))
        })
    }

    /// A pod that uses the database's volume and is not the helper.
    async fn other_user(&self, run: &Run) -> Result<Option<Pod>> {
        Ok(self.other_users(run).await?.pop())
    }

    /// All such pods.
    async fn other_users(&self, run: &Run) -> Result<Vec<Pod>> {
        let mut users = users(&run.cluster, &run.namespace, &self.spec.mount.source).await?;
        users.retain(|pod| self.is_other(pod));
        Ok(users)
    }

    fn uses_volume(&self, pod: &Pod) -> bool {
        uses(pod, &self.spec.mount.source) && self.is_other(pod)
    }

    /// Not a helper pod: of this operation, or of one that only looks, since nobody else can hold the volume's Lease.
    fn is_other(&self, pod: &Pod) -> bool {
        name(pod) != self.spec.helper.name && !is_helper(pod)
    }
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}
