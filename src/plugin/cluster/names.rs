//! Names of things in the cluster: for completion, and for "did you mean". Never waits long, never complains.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::{GroupVersionKind, PartialObjectMeta};

use super::Cluster;
use super::kind::Kind;

/// Nobody who presses Tab waits longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// More names than this help nobody.
const MOST: u32 = 500;

/// An object's name and where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Names of the objects of a kind in a namespace, for completion; empty if that takes over a second or fails.
pub async fn objects(cluster: &Cluster, kind: Kind, namespace: &str) -> Vec<String> {
    let listed = quickly(list(cluster, kind, Some(namespace))).await;
    listed.into_iter().map(|name| name.name).collect()
}

/// Names of the namespaces, for completion.
pub async fn namespaces(cluster: &Cluster) -> Vec<String> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let list = async {
        let list = api.list_metadata(&ListParams::default().limit(MOST)).await.ok()?;
        Some(list.items.into_iter().filter_map(|item| item.metadata.name).collect())
    };
    quickly(list).await
}

/// Names of a pod's containers, init containers last, for completion.
pub async fn containers(cluster: &Cluster, namespace: &str, pod: &str) -> Vec<String> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let list = async {
        let spec = api.get_opt(pod).await.ok()??.spec?;
        let init = spec.init_containers.into_iter().flatten();
        Some(spec.containers.into_iter().chain(init).map(|container| container.name).collect())
    };
    quickly(list).await
}

async fn quickly<T>(list: impl Future<Output = Option<Vec<T>>>) -> Vec<T> {
    tokio::time::timeout(PATIENCE, list).await.ok().flatten().unwrap_or_default()
}

/// The objects of a kind in one or in all namespaces; `None` if they cannot be listed.
pub(super) async fn list(cluster: &Cluster, kind: Kind, namespace: Option<&str>) -> Option<Vec<Name>> {
    let resource = resource(cluster, kind).await?;
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
        None => Api::all_with(cluster.client.clone(), &resource),
    };
    let listed = api.list_metadata(&ListParams::default().limit(MOST)).await.ok()?;
    let name = |item: PartialObjectMeta<DynamicObject>| {
        Some(Name { namespace: item.metadata.namespace.unwrap_or_default(), name: item.metadata.name? })
    };
    Some(listed.items.into_iter().filter_map(name).collect())
}

/// How this server serves a kind; `None` if it does not say.
pub async fn resource(cluster: &Cluster, kind: Kind) -> Option<ApiResource> {
    let version = if kind == Kind::CronJob && !cluster.features().await.ok()?.cronjob_v1 { "v1beta1" } else { "v1" };
    let gvk = GroupVersionKind::gvk(kind.group(), version, kind.camel());
    Some(ApiResource::from_gvk_with_plural(&gvk, kind.plural()))
}
