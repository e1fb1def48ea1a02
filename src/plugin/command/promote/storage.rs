//! Whether the storage of a claim can copy it. Reads only; what may not be read is not known.

use k8s_openapi::api::storage::v1::{CSIDriver, StorageClass};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};

use super::spec::Copy;
use crate::cli::promote::CopyWish;
use crate::cluster::Cluster;
use crate::cluster::rebind::Bound;
use crate::failure::{Failure, Result};

/// How the new claim gets its data.
///
/// # Errors
/// `Refused` when the storage can't do what was asked for.
pub(super) async fn copy(cluster: &Cluster, bound: &Bound, wish: CopyWish, class: Option<&str>) -> Result<Copy> {
    if wish == CopyWish::None {
        return Ok(Copy::None);
    }
    let refused = |what: &str, why: String| {
        Err(Failure::refused(format!("persistentvolumeclaim/{} can't be {what}", bound.claim))
            .fact(why)
            .state("nothing was changed")
            .next("let the replica go, and take its own volume: --copy none"))
    };
    let Some(driver) = driver(cluster, bound).await else {
        if wish == CopyWish::Auto {
            return Ok(Copy::None);
        }
        let class = bound.class.clone().unwrap_or_default();
        return refused("copied", format!("its storage class {class:?} belongs to no CSI driver of this cluster"));
    };
    match (wish, snapshot_class(cluster, &driver, class).await) {
        (CopyWish::Clone, _) => Ok(Copy::Clone),
        (CopyWish::Auto | CopyWish::VolumeSnapshot, Some(class)) => Ok(Copy::Snapshot(Some(class))),
        (CopyWish::Auto, None) => Ok(Copy::None),
        (_, None) => refused("copied from a snapshot", format!("there is no VolumeSnapshotClass for driver {driver}")),
        (CopyWish::None, _) => Ok(Copy::None),
    }
}

/// The CSI driver that makes volumes of the claim's class.
async fn driver(cluster: &Cluster, bound: &Bound) -> Option<String> {
    let classes: Api<StorageClass> = Api::all(cluster.client.clone());
    let provisioner = classes.get_opt(bound.class.as_deref()?).await.ok()??.provisioner;
    let drivers: Api<CSIDriver> = Api::all(cluster.client.clone());
    drivers.get_opt(&provisioner).await.ok()?.map(|_| provisioner)
}

async fn snapshot_class(cluster: &Cluster, driver: &str, named: Option<&str>) -> Option<String> {
    let kind = GroupVersionKind::gvk("snapshot.storage.k8s.io", "v1", "VolumeSnapshotClass");
    let resource = ApiResource::from_gvk_with_plural(&kind, "volumesnapshotclasses");
    let classes: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
    let all = classes.list(&ListParams::default()).await.ok()?.items;
    let fits = |class: &DynamicObject| {
        class.data.get("driver").and_then(|text| text.as_str()) == Some(driver)
            && named.is_none_or(|name| class.metadata.name.as_deref() == Some(name))
    };
    all.into_iter().find(fits).and_then(|class| class.metadata.name)
}
