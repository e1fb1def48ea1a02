//! Finds everything in the namespace that uses the database of a pod. Reads only.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::ResourceExt as _;
use kube::api::{DynamicObject, ListParams};
use serde::de::DeserializeOwned;

use super::sharing::{Clue, clues, shared};
use super::{Offline, Scaled, Suspended, changes};
use crate::cluster::error::Context as _;
use crate::cluster::helper::is_helper;
use crate::cluster::kind::Kind as Named;
use crate::cluster::volume::{has_ended, is_finished};
use crate::cluster::workload::{Kind, Workload};
use crate::cluster::{Cluster, names};
use crate::failure::{Failure, Result};

/// Label of the autoscalers that KEDA makes; it scales from 0 itself.
const KEDA: &str = "scaledobject.keda.sh/name";

/// What was found.
pub(in crate::command::run) struct Found {
    pub(in crate::command::run) offline: Offline,
    /// Why each of them is said to use the database, a line each.
    pub(in crate::command::run) because: Vec<String>,
    /// What uses it and can't be stopped so that it stays stopped.
    pub(in crate::command::run) unstoppable: Vec<String>,
    /// Tools that may start one of them again.
    pub(in crate::command::run) managers: Vec<String>,
    /// Autoscalers of what is scaled, and what they do meanwhile, a line each.
    pub(in crate::command::run) autoscalers: Vec<String>,
}

/// Looks for whatever is told of the same database as the pod of the target; `old` is the image that `new` takes the place of.
///
/// # Errors
/// The kinds can't be listed; the target is not told of any database.
pub(in crate::command::run) async fn find(cluster: &Cluster, target: &PodSpec, images: (&str, Option<&str>)) -> Result<Found> {
    let (old, new) = images;
    let own = clues(target);
    if own.is_empty() {
        return Err(Failure::refused("nothing in its pods says where their database is, so what else uses it can't be found")
            .fact("looked for variables from Secrets and ConfigMaps, URLs, and claims")
            .state("nothing was changed"));
    }
    let mut found = Found {
        offline: Offline { scaled: Vec::new(), suspended: Vec::new(), left: Vec::new() },
        because: Vec::new(),
        unstoppable: Vec::new(),
        managers: Vec::new(),
        autoscalers: Vec::new(),
    };
    for user in users(cluster, &own).await? {
        let named = format!("{}/{}", user.kind.singular(), user.name);
        found.because.push(format!("{named}: {}", user.clue));
        let of_kind = match user.kind {
            Named::Deployment => Kind::Deployment,
            Named::StatefulSet => Kind::StatefulSet,
            Named::ReplicaSet => Kind::ReplicaSet,
            Named::CronJob => {
                if !user.stopped {
                    let images = changes(&user.pod, old, new);
                    found.offline.suspended.push(Suspended { name: user.name, uid: user.uid, images });
                }
                continue;
            }
            _ => {
                found.unstoppable.push(named);
                continue;
            }
        };
        let workload = Workload { kind: of_kind, name: user.name, uid: user.uid };
        let managers = workload.other_managers(cluster, &cluster.namespace).await?;
        found.managers.extend(managers.into_iter().map(|manager| format!("{named}: {manager}")));
        found.offline.scaled.push(Scaled { workload, replicas: user.replicas, images: changes(&user.pod, old, new) });
    }
    autoscalers(cluster, &mut found).await;
    Ok(found)
}

/// Looks for autoscalers of what is scaled. Who may not list them is told of none: whatever is scaled back stops the plan all the same.
async fn autoscalers(cluster: &Cluster, found: &mut Found) {
    let api: Api<HorizontalPodAutoscaler> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let Ok(list) = api.list(&ListParams::default()).await else { return };
    for scaler in list.items {
        let name = format!("horizontalpodautoscaler/{}", scaler.name_any());
        let event_driven = scaler.labels().contains_key(KEDA);
        let Some(spec) = scaler.spec else { continue };
        let of = format!("{}/{}", spec.scale_target_ref.kind.to_lowercase(), spec.scale_target_ref.name);
        if !found.offline.scaled.iter().any(|one| one.workload.to_string() == of) {
            continue;
        }
        // At 0 replicas an autoscaler rests, unless it may scale to 0 itself.
        match spec.min_replicas {
            Some(0) => found.managers.push(format!("{of}: {name}, which may scale it up from 0,")),
            _ if event_driven => found.managers.push(format!("{of}: KEDA ({name})")),
            _ => found.autoscalers.push(format!("{of}: {name} leaves it alone while it has 0 replicas, and goes on then")),
        }
    }
}

/// Something that uses the database.
struct User {
    kind: Named,
    name: String,
    uid: String,
    replicas: i32,
    /// A CronJob that is suspended already.
    stopped: bool,
    pod: PodSpec,
    clue: Clue,
}

async fn users(cluster: &Cluster, own: &BTreeSet<Clue>) -> Result<Vec<User>> {
    let mut users = Vec::new();
    let mut take = |kind: Named, metadata: &ObjectMeta, replicas: i32, stopped: bool, pod: Option<PodSpec>| {
        let owned = metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true));
        let Some(pod) = pod.filter(|_| !owned) else { return };
        let Some(clue) = shared(own, &clues(&pod)) else { return };
        let (name, uid) = (metadata.name.clone().unwrap_or_default(), metadata.uid.clone().unwrap_or_default());
        users.push(User { kind, name, uid, replicas, stopped, pod, clue });
    };
    for it in all::<Deployment>(cluster, Named::Deployment).await? {
        let spec = it.spec.unwrap_or_default();
        take(Named::Deployment, &it.metadata, spec.replicas.unwrap_or(1), false, spec.template.spec);
    }
    for it in all::<StatefulSet>(cluster, Named::StatefulSet).await? {
        let spec = it.spec.unwrap_or_default();
        take(Named::StatefulSet, &it.metadata, spec.replicas.unwrap_or(1), false, spec.template.spec);
    }
    for it in all::<ReplicaSet>(cluster, Named::ReplicaSet).await? {
        let spec = it.spec.unwrap_or_default();
        take(Named::ReplicaSet, &it.metadata, spec.replicas.unwrap_or(1), false, spec.template.unwrap_or_default().spec);
    }
    for it in all::<DaemonSet>(cluster, Named::DaemonSet).await? {
        take(Named::DaemonSet, &it.metadata, 1, false, it.spec.unwrap_or_default().template.spec);
    }
    for it in cronjobs(cluster).await? {
        let pod = it.data.pointer("/spec/jobTemplate/spec/template/spec").cloned().unwrap_or_default();
        let suspended = it.data.pointer("/spec/suspend").and_then(serde_json::Value::as_bool).unwrap_or(false);
        take(Named::CronJob, &it.metadata, 0, suspended, serde_json::from_value(pod).ok());
    }
    let alone = |pod: &Pod| !is_finished(pod) && !is_helper(pod) && pod.metadata.deletion_timestamp.is_none();
    for mut pod in all::<Pod>(cluster, Named::Pod).await?.into_iter().filter(alone) {
        // Those of a Job run to their end, and can't be stopped for a while.
        let references = pod.metadata.owner_references.get_or_insert_default();
        references.retain(|owner| owner.kind != "Job");
        let (metadata, spec) = (pod.metadata.clone(), pod.spec.take());
        take(Named::Pod, &metadata, 1, false, spec);
    }
    Ok(users)
}

async fn all<K>(cluster: &Cluster, kind: Named) -> Result<Vec<K>>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    Ok(api.list(&ListParams::default()).await.doing(format!("list the {}", kind.plural()))?.items)
}

/// CronJobs as this server serves them.
pub(super) async fn api_of_cronjobs(cluster: &Cluster) -> Result<Api<DynamicObject>> {
    let resource = names::resource(cluster, Named::CronJob).await;
    let resource = resource.ok_or_else(|| Failure::failed("the API server does not say how it serves cronjobs"))?;
    Ok(Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource))
}

async fn cronjobs(cluster: &Cluster) -> Result<Vec<DynamicObject>> {
    let list = api_of_cronjobs(cluster).await?.list(&ListParams::default()).await;
    Ok(list.doing("list the cronjobs")?.items)
}

/// Pods that use the database now and belong to what is stopped.
///
/// # Errors
/// Pods can't be listed.
pub(super) async fn running(cluster: &Cluster, own: &BTreeSet<Clue>, but: impl Fn(&Pod) -> bool) -> Result<Vec<Pod>> {
    let pods = all::<Pod>(cluster, Named::Pod).await?;
    let uses = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| shared(own, &clues(spec)).is_some());
    Ok(pods.into_iter().filter(|pod| !has_ended(pod) && !is_helper(pod) && !but(pod) && uses(pod)).collect())
}

/// Name of a pod, for messages.
pub(super) fn shown(pod: &Pod) -> String {
    format!("pod/{}", pod.name_any())
}
