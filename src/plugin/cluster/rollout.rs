//! Restarting the pods of a workload one after the other, and waiting until all of them are new and ready.

use std::time::Duration;

use futures::TryStreamExt as _;
use jiff::Timestamp;
use kube::api::{Api, DynamicObject};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Cluster;
use super::workload::{Kind, Workload};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;

/// As `kubectl rollout restart` does it.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";
/// Which operation restarted it, and in which direction.
const BY: &str = "dbmig.dev/restarted-by";

impl Workload {
    /// Has its pods replaced, once for each `by`.
    ///
    /// # Errors
    /// As [`Workload::get`].
    pub async fn restart(&self, cluster: &Cluster, namespace: &str, by: &str) -> Result<()> {
        let object = self.get(cluster, namespace).await?;
        let marked = object.data.pointer("/spec/template/metadata/annotations").and_then(|all| all.get(BY));
        if marked.and_then(Value::as_str) == Some(by) {
            return Ok(());
        }
        let annotations = json!({RESTARTED: Timestamp::now().to_string(), BY: by});
        let change = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
        self.change(cluster, namespace, change).await
    }

    /// Waits until all its pods are of its newest template, and ready.
    ///
    /// # Errors
    /// `Failed` with what is missing when the limit is over; `Interrupted`.
    pub async fn rolled_out(&self, cluster: &Cluster, namespace: &str, stop: &Stop, limit: Duration) -> Result<()> {
        let mut missing = "its state is not known yet".to_owned();
        let watching = self.watch(cluster, namespace, &mut missing);
        match stop.interruptible(timeout(limit, watching)).await {
            Ok(Ok(watched)) => watched,
            Ok(Err(_)) => Err(Failure::failed(format!("{self} is not rolled out after {} s", limit.as_secs())).fact(missing)),
            Err(_) => Err(Failure::new(Exit::Interrupted, format!("stopped while waiting for {self}"))),
        }
    }

    async fn watch(&self, cluster: &Cluster, namespace: &str, missing: &mut String) -> Result<()> {
        let api: Api<DynamicObject> = self.api(cluster, namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut objects = std::pin::pin!(watcher::watcher(api, config).default_backoff().applied_objects());
        loop {
            match objects.try_next().await {
                Ok(Some(object)) => match lacks(self.kind, &object) {
                    None => return Ok(()),
                    Some(lacking) => *missing = lacking,
                },
                Ok(None) => {}
                // The watcher tries again by itself.
                Err(error) => *missing = error.to_string(),
            }
        }
    }
}

/// What keeps a workload from being all new and ready, as `kubectl rollout status` judges it.
fn lacks(kind: Kind, object: &DynamicObject) -> Option<String> {
    let number = |path: &str| object.data.pointer(path).and_then(Value::as_i64);
    if number("/status/observedGeneration").unwrap_or_default() < object.metadata.generation.unwrap_or_default() {
        return Some("its controller has not seen the change yet".to_owned());
    }
    let wanted = number("/spec/replicas").unwrap_or(1);
    let of = |path: &str| number(path).unwrap_or_default();
    let (all, ready) = (of("/status/replicas"), of("/status/readyReplicas"));
    // A ReplicaSet replaces no pods, and does not count new ones.
    let updated = if kind == Kind::ReplicaSet { all } else { of("/status/updatedReplicas") };
    let available = number("/status/availableReplicas").unwrap_or(ready);
    let failed = object.data.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let failed = failed.filter(|one| one["type"] == "Progressing" && one["status"] == "False");
    let why: String = failed.filter_map(|one| one["message"].as_str()).map(|text| format!("; {text}")).collect();
    if updated < wanted {
        return Some(format!("{updated} of {wanted} pods are new{why}"));
    }
    if all > updated {
        return Some(format!("{} old pods have not ended yet{why}", all - updated));
    }
    if ready < wanted || available < wanted {
        return Some(format!("{} of {wanted} pods are ready{why}", ready.min(available)));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(status: &Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app", "generation": 3},
            "spec": {"replicas": 2}, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn it_is_rolled_out_when_all_pods_are_new_and_ready() {
        let status = |seen, updated, all, ready| json!({"observedGeneration": seen, "updatedReplicas": updated, "replicas": all, "readyReplicas": ready, "availableReplicas": ready});
        for (status, lacking) in [
            (status(2, 2, 2, 2), Some("its controller has not seen the change yet")),
            (status(3, 1, 3, 3), Some("1 of 2 pods are new")),
            (status(3, 2, 3, 3), Some("1 old pods have not ended yet")),
            (status(3, 2, 2, 1), Some("1 of 2 pods are ready")),
            (status(3, 2, 2, 2), None),
        ] {
            assert_eq!(lacks(Kind::Deployment, &object(&status)).as_deref(), lacking);
        }
        let set =
            |ready| object(&json!({"observedGeneration": 3, "replicas": 2, "readyReplicas": ready, "availableReplicas": ready}));
        assert_eq!(lacks(Kind::ReplicaSet, &set(1)).as_deref(), Some("1 of 2 pods are ready"));
        assert_eq!(lacks(Kind::ReplicaSet, &set(2)), None);
    }
}
