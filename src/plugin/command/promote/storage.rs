//! Whether the storage of a claim can copy it. Reads only; what may not be read is not known.

use k8s_openapi::api::storage::v1::{CSIDriver, StorageClass};
use kube::api::Api;

use super::spec::Copy;
use crate::cli::promote::CopyWish;
use crate::cluster::rebind::Bound;
use crate::cluster::{Cluster, snapshot};
use crate::failure::{Failure, Result};

/// The other way, for whoever can't have a copy.
const TAKE_IT: &str = "let the replica go, and take its own volume: --copy none";

/// How the new claim gets its data.
///
/// # Errors
/// `Refused` when the storage can't do what was asked for.
pub(super) async fn copy(cluster: &Cluster, bound: &Bound, wish: CopyWish, class: Option<&str>) -> Result<Copy> {
    let of_snapshot = async || snapshot::class_for(cluster, &cluster.namespace, &bound.claim, class).await;
    match wish {
        CopyWish::None => Ok(Copy::None),
        // A snapshot class of any kind is no promise that its driver is there.
        CopyWish::Auto if driver(cluster, bound).await.is_none() => Ok(Copy::None),
        CopyWish::Auto => Ok(of_snapshot().await.map_or(Copy::None, Copy::Snapshot)),
        CopyWish::VolumeSnapshot => {
            let refused = |failure: Failure| Failure { next: vec![TAKE_IT.to_owned()], ..failure };
            of_snapshot().await.map(Copy::Snapshot).map_err(refused)
        }
        CopyWish::Clone if driver(cluster, bound).await.is_some() => Ok(Copy::Clone),
        CopyWish::Clone => Err(Failure::refused(format!("persistentvolumeclaim/{} can't be cloned", bound.claim))
            .fact(format!(
                "its storage class {:?} belongs to no CSI driver of this cluster",
                bound.class.as_deref().unwrap_or_default()
            ))
            .state("nothing was changed")
            .next(TAKE_IT)),
    }
}

/// The CSI driver that makes volumes of the claim's class.
async fn driver(cluster: &Cluster, bound: &Bound) -> Option<String> {
    let classes: Api<StorageClass> = Api::all(cluster.client.clone());
    let provisioner = classes.get_opt(bound.class.as_deref()?).await.ok()??.provisioner;
    let drivers: Api<CSIDriver> = Api::all(cluster.client.clone());
    drivers.get_opt(&provisioner).await.ok()?.map(|_| provisioner)
}
