//! Jobs of ours: what they are made from, and how they are created once, found again and ended.

mod build;
mod origin;

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PostParams, Preconditions, PropagationPolicy};
use kube::runtime::wait::await_condition;
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;
use tokio::time::{sleep, timeout};

pub use self::build::{
    Built, COMPONENT, NEVER_READY, Order, Variable, build, is_of_controller, is_sidecar, name, own_labels, quieten,
};
pub use self::origin::{Hook, Origin, Template, of_file, of_hook, of_object};
use super::error::{Context as _, found, is_conflict, is_webhook_that_fails, translate};
use super::helper::LABEL_OPERATION;
use super::pods::{Verdict, Wait};
use super::volume::is_finished;
use super::{Cluster, as_ours};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;

/// A Job of ours by its name, in the namespace of an operation.
#[derive(Clone)]
pub struct OwnJob {
    api: Api<Job>,
    namespace: String,
    name: String,
}

impl OwnJob {
    /// The Job of this name; it need not be there.
    #[must_use]
    pub fn new(cluster: &Cluster, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced(cluster.client.clone(), namespace), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// As the server has it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn get(&self) -> Result<Option<Job>> {
        found(self.api.get(&self.name).await).doing(format!("read job/{}", self.name))
    }

    /// The Job, if it is of this operation.
    ///
    /// # Errors
    /// As [`OwnJob::get`].
    pub async fn of(&self, operation: &str) -> Result<Option<Job>> {
        Ok(self.get().await?.filter(|job| is_of(job, operation)))
    }

    /// The one of its name that is over and of another operation: it may make room for the next.
    ///
    /// # Errors
    /// `Held` with what is known of one that runs.
    pub async fn ended_other(&self, operation: &str) -> Result<Option<Job>> {
        match self.get().await?.filter(|job| !is_of(job, operation)) {
            Some(job) if !is_over(&job) => Err(self.held(&job)),
            ended => Ok(ended),
        }
    }

    /// Creates it. One of that name is the lock that keeps a second one out.
    ///
    /// # Errors
    /// `Held` with the one that is there; otherwise when the API server refuses.
    pub async fn create(&self, job: &Job, operation: &str) -> Result<Job> {
        let error = match self.api.create(&PostParams::default(), job).await {
            Ok(created) => return Ok(created),
            Err(error) => error,
        };
        match self.get().await? {
            // The answer to the creation was lost on its way.
            Some(ours) if is_of(&ours, operation) => Ok(ours),
            Some(other) if is_conflict(&error) => Err(self.held(&other)),
            _ => {
                let failure = translate(&error, &format!("create job/{}", self.name));
                // That is certain, and may pass; but nobody is to wait for it for ever.
                Err(if is_webhook_that_fails(&error) { failure.take_back() } else { failure })
            }
        }
    }

    /// Lets no pod of it run any more, and none come: a sidecar would keep it up for ever.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn halt(&self) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"parallelism": 0}}));
        let params = as_ours();
        self.api.patch(&self.name, &params, &patch).await.doing(format!("end the pods of job/{}", self.name))?;
        Ok(())
    }

    /// Deletes this very Job and waits until none of its pods can write any more.
    ///
    /// # Errors
    /// When the API server refuses, or a pod does not go.
    pub async fn remove(&self, cluster: &Cluster, stop: &Stop, job: &Job) -> Result<()> {
        self.delete(job).await?;
        self.await_no_pods(cluster, stop, job).await
    }

    /// Has this very Job deleted, without waiting for its pods to go.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self, job: &Job) -> Result<()> {
        let only_this = Preconditions { uid: job.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams {
            preconditions: Some(only_this),
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        // Gone already, or another one by now: either way this one is no more.
        match self.api.delete(&self.name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(translate(&error, &format!("delete job/{}", self.name))),
        }
    }

    /// Waits until no pod of a Job is left in which something may still run: how long the rest of one that has ended stays is the
    /// kubelet's affair.
    ///
    /// # Errors
    /// When one does not go within some minutes.
    pub async fn await_no_pods(&self, cluster: &Cluster, stop: &Stop, job: &Job) -> Result<()> {
        let what = format!("the pods of job/{} to go", self.name);
        let wait = Wait { namespace: &self.namespace, fields: "", limit: PATIENCE, what: &what };
        let uid = job.uid().unwrap_or_default();
        let left = |pods: &[Pod]| {
            let names: Vec<String> = pods
                .iter()
                .filter(|pod| owned_by(pod, &uid) && !is_finished(pod))
                .map(|pod| format!("pod/{} is still there", pod.name_any()))
                .collect();
            if names.is_empty() { Verdict::Met(()) } else { Verdict::Waiting(names.join("\n")) }
        };
        wait.until(cluster, stop, left).await
    }

    /// Waits until it has ended, or is gone; false when it has not within this time.
    pub async fn is_over_within(&self, limit: Duration) -> bool {
        let ended = async {
            let is_no_more = |job: Option<&Job>| job.is_none_or(is_over);
            while await_condition(self.api.clone(), &self.name, is_no_more).await.is_err() {
                sleep(PAUSE).await; // A server that is away for a moment.
            }
        };
        timeout(limit, ended).await.is_ok()
    }

    fn held(&self, job: &Job) -> Failure {
        let (name, namespace) = (&self.name, &self.namespace);
        let failure = Failure::new(Exit::Held, format!("job/{name} runs already"));
        let since = job.creation_timestamp().map(|time| format!("created {}", time.0));
        let by = job.labels().get(LABEL_OPERATION).map(|id| format!("by operation {id}"));
        failure
            .facts([since, by].into_iter().flatten())
            .state("nothing was changed")
            .next(format!("kubectl dbmig watch job/{name} -n {namespace}"))
    }
}

/// Between two tries to watch.
const PAUSE: Duration = Duration::from_secs(1);
/// Grace periods of sidecars are half a minute unless somebody made them longer.
const PATIENCE: Duration = Duration::from_secs(300);

/// Whether a Job has ended, one way or another.
#[must_use]
pub fn is_over(job: &Job) -> bool {
    has(job, "Failed") || has_succeeded(job)
}

/// Whether a Job has ended with success.
#[must_use]
pub fn has_succeeded(job: &Job) -> bool {
    has(job, "Complete")
}

fn has(job: &Job, condition: &str) -> bool {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == condition && one.status == "True")
}

/// Whether a Job is of this operation.
#[must_use]
pub fn is_of(job: &Job, operation: &str) -> bool {
    job.labels().get(LABEL_OPERATION).is_some_and(|id| id == operation)
}

/// Whether a pod belongs to the controller with this uid.
#[must_use]
pub fn owned_by(pod: &Pod, uid: &str) -> bool {
    pod.meta().owner_references.iter().flatten().any(|owner| owner.uid == uid)
}
