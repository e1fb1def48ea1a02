//! The pods that a workload or claim stands for. Reads only.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{DynamicObject, ListParams};
use kube::core::Selector;
use kube::{Api, ResourceExt as _};

use super::Cluster;
use super::error::{Context as _, found};
use super::kind::{Kind, TargetRef};
use super::names;
use super::target::{label, not_found, selected};
use crate::failure::{Failure, Result};

/// All pods of `asked` in the cluster's namespace, in no order.
pub(super) async fn of(cluster: &Cluster, asked: &TargetRef) -> Result<Vec<Pod>> {
    match asked.kind {
        Kind::Pod => Ok(vec![get::<Pod>(cluster, asked).await?]),
        Kind::StatefulSet => {
            by(cluster, asked, get::<StatefulSet>(cluster, asked).await?, |it| it.spec.map(|spec| spec.selector)).await
        }
        Kind::DaemonSet => {
            by(cluster, asked, get::<DaemonSet>(cluster, asked).await?, |it| it.spec.map(|spec| spec.selector)).await
        }
        Kind::ReplicaSet => {
            by(cluster, asked, get::<ReplicaSet>(cluster, asked).await?, |it| it.spec.map(|spec| spec.selector)).await
        }
        Kind::Job => of_job(cluster, asked, get::<Job>(cluster, asked).await?).await,
        Kind::Deployment => of_deployment(cluster, asked).await,
        Kind::CronJob => of_cronjob(cluster, asked).await,
        Kind::PersistentVolumeClaim => of_claim(cluster, asked).await,
    }
}

async fn get<K>(cluster: &Cluster, asked: &TargetRef) -> Result<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    match found(api.get(&asked.name).await).doing(reading(cluster, asked))? {
        Some(object) => Ok(object),
        None => Err(not_found(cluster, asked).await),
    }
}

fn reading(cluster: &Cluster, asked: &TargetRef) -> String {
    format!("read {asked} in namespace {}", cluster.namespace)
}

async fn by<K: kube::Resource<DynamicType = ()>>(
    cluster: &Cluster,
    asked: &TargetRef,
    object: K,
    selector: impl FnOnce(K) -> Option<LabelSelector>,
) -> Result<Vec<Pod>> {
    let uid = object.uid();
    selected(cluster, understood(selector(object), asked)?, uid.as_deref(), asked).await
}

fn understood(selector: Option<LabelSelector>, asked: &TargetRef) -> Result<Selector> {
    let cannot = || Failure::failed(format!("{asked} has no selector that can be understood"));
    selector.ok_or_else(cannot)?.try_into().map_err(|_| cannot())
}

async fn of_deployment(cluster: &Cluster, asked: &TargetRef) -> Result<Vec<Pod>> {
    let deployment: Deployment = get(cluster, asked).await?;
    let (uid, selector) = (deployment.uid(), understood(deployment.spec.map(|spec| spec.selector), asked)?);
    let sets: Api<ReplicaSet> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let sets = sets
        .list_metadata(&ListParams::default().labels_from(&selector))
        .await
        .doing(format!("list the replicasets of {asked}"))?;
    let its = |owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference], uids: &[String]| {
        owners.iter().any(|owner| owner.controller == Some(true) && uids.contains(&owner.uid))
    };
    let uid: Vec<String> = uid.into_iter().collect();
    let sets: Vec<String> =
        sets.items.iter().filter(|set| its(set.owner_references(), &uid)).filter_map(kube::ResourceExt::uid).collect();
    let pods = selected(cluster, selector, None, asked).await?;
    Ok(pods.into_iter().filter(|pod| its(pod.owner_references(), &sets)).collect())
}

async fn of_job(cluster: &Cluster, asked: &TargetRef, job: Job) -> Result<Vec<Pod>> {
    let by_name = label("job-name", &job.name_any());
    let (uid, selector) = (job.uid(), job.spec.and_then(|spec| spec.selector));
    let selector = selector.map_or(Ok(by_name), |selector| understood(Some(selector), asked))?;
    selected(cluster, selector, uid.as_deref(), asked).await
}

/// The pods of its newest Job that has any.
async fn of_cronjob(cluster: &Cluster, asked: &TargetRef) -> Result<Vec<Pod>> {
    cluster.features().await?;
    let resource = names::resource(cluster, Kind::CronJob).await;
    let resource = resource.ok_or_else(|| Failure::failed("the API server does not say how it serves cronjobs"))?;
    let cronjobs: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    let Some(cronjob) = found(cronjobs.get_metadata(&asked.name).await).doing(reading(cluster, asked))? else {
        return Err(not_found(cluster, asked).await);
    };
    let uid = cronjob.metadata.uid.unwrap_or_default();
    let jobs: Api<Job> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let mut jobs = jobs.list(&ListParams::default()).await.doing(format!("list the jobs of {asked}"))?.items;
    jobs.retain(|job| job.owner_references().iter().any(|owner| owner.uid == uid));
    jobs.sort_by_key(|job| std::cmp::Reverse(job.creation_timestamp().map(|time| time.0)));
    for job in jobs {
        let pods = of_job(cluster, asked, job).await?;
        if !pods.is_empty() {
            return Ok(pods);
        }
    }
    Ok(Vec::new())
}

async fn of_claim(cluster: &Cluster, asked: &TargetRef) -> Result<Vec<Pod>> {
    get::<PersistentVolumeClaim>(cluster, asked).await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let list = pods.list(&ListParams::default()).await.doing(format!("list the pods in namespace {}", cluster.namespace))?;
    let mounts = |pod: &Pod| {
        let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        volumes
            .into_iter()
            .any(|volume| volume.persistent_volume_claim.as_ref().is_some_and(|claim| claim.claim_name == asked.name))
    };
    Ok(list.items.into_iter().filter(mounts).collect())
}
