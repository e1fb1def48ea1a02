//! A pod that nothing owns: its spec is kept in a Secret of ours while it is away, because environment values in it may be secret.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};

use super::Cluster;
use super::error::translate;
use super::vault::{Entry, SECRET};
use super::workload::Workload;
use crate::failure::{Failure, Result};

/// How often, a second apart, the name of a deleted pod is looked at before it counts as taken.
const DELETION_LOOKS: u32 = 120;

/// The uid of the pod of that name, if it is there and not on its way out.
///
/// # Errors
/// When it can't be read.
pub async fn uid(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<String>> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let pod = pods.get_opt(name).await.map_err(|error| translate(&error, &format!("read pod/{name}")))?;
    Ok(pod.filter(|pod| pod.metadata.deletion_timestamp.is_none()).and_then(|pod| pod.metadata.uid))
}

/// Keeps the pod's spec, then deletes the pod, which must have this uid. Fine if both are done already.
///
/// # Errors
/// When another pod has taken its name, or the API server refuses.
pub async fn save_and_delete(cluster: &Cluster, namespace: &str, workload: &Workload, uid: &str, id: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let found = pods.get_opt(&workload.name).await.map_err(|error| translate(&error, &format!("read {workload}")))?;
    let Some(pod) = found else { return Ok(()) };
    let kept = entry(cluster, namespace, id);
    if kept.kept::<Pod>().await?.is_none() {
        if pod.metadata.uid.as_deref() != Some(uid) {
            return Err(
                Failure::failed(format!("{workload} was deleted and created again since this operation began")).take_back()
            );
        }
        kept.keep(&as_created(&pod)).await?;
    }
    let only_this = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    match pods.delete(&workload.name, &DeleteParams { preconditions: Some(only_this), ..DeleteParams::default() }).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(translate(&error, &format!("delete {workload}"))),
    }
}

/// Creates the pod again from what was kept, unless it is there. Its uid.
///
/// # Errors
/// When nothing was kept, or the API server refuses.
pub async fn restore(cluster: &Cluster, namespace: &str, workload: &Workload, id: &str) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    if let Some(uid) = uid(cluster, namespace, &workload.name).await? {
        return Ok(uid);
    }
    let pod: Pod = entry(cluster, namespace, id).kept().await?.ok_or_else(|| {
        Failure::failed(format!("cannot create {workload} again: its saved spec is not in secret/{SECRET}"))
            .next(format!("kubectl get secret {SECRET} -n {namespace} -o yaml"))
    })?;
    let mut looks_left = DELETION_LOOKS;
    loop {
        match pods.create(&PostParams::default(), &pod).await {
            Ok(pod) => return Ok(pod.metadata.uid.unwrap_or_default()),
            // The name is free only when the kubelet has let go of the old pod, which may be after its containers ended.
            Err(kube::Error::Api(status)) if status.code == 409 && looks_left > 0 => looks_left -= 1,
            Err(error) => return Err(translate(&error, &format!("create {workload} again"))),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Some(uid) = uid(cluster, namespace, &workload.name).await? {
            return Ok(uid);
        }
    }
}

/// Forgets what was kept for an operation.
///
/// # Errors
/// When the API server refuses.
pub async fn forget(cluster: &Cluster, namespace: &str, id: &str) -> Result<()> {
    entry(cluster, namespace, id).forget().await
}

fn entry(cluster: &Cluster, namespace: &str, id: &str) -> Entry {
    Entry::of(cluster, namespace, id, "pod")
}

/// The pod as somebody would create it: without what the cluster added.
fn as_created(pod: &Pod) -> Pod {
    let mut spec = pod.spec.clone().unwrap_or_default();
    spec.ephemeral_containers = None;
    // The token volume is added anew on creation; kept, it would name a Secret of the old pod.
    let is_token = |name: &str| name.starts_with("kube-api-access-") || name.starts_with("default-token-");
    spec.volumes = spec.volumes.map(|volumes| volumes.into_iter().filter(|volume| !is_token(&volume.name)).collect());
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        container.volume_mounts =
            container.volume_mounts.take().map(|mounts| mounts.into_iter().filter(|mount| !is_token(&mount.name)).collect());
    }
    let mut created = Pod { spec: Some(spec), ..Pod::default() };
    created.metadata.name.clone_from(&pod.metadata.name);
    created.metadata.namespace.clone_from(&pod.metadata.namespace);
    created.metadata.labels.clone_from(&pod.metadata.labels);
    created.metadata.annotations.clone_from(&pod.metadata.annotations);
    created
}
