//! What a PersistentVolumeClaim allows: to grow, and to be mounted by a second pod. Reads only; what may not be read is not known.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use serde::{Deserialize, Serialize};

use super::Cluster;
use super::helper::is_helper;
use super::volume::{Source, users};
use crate::failure::{Failure, Result};

/// Whether a claim can be made larger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Growth {
    /// The claim.
    claim: String,
    /// Its storage class.
    class: String,
    /// Whether that allows it; `None` when the class is not there or may not be read.
    allowed: Option<bool>,
}

impl Growth {
    /// What is known of the claim behind a volume; `None` for other volumes, and where it may not be read.
    pub async fn of(cluster: &Cluster, namespace: &str, source: &Source) -> Option<Self> {
        let Source::Claim(name) = source else { return None };
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), namespace);
        let class = claims.get(name).await.ok()?.spec?.storage_class_name.filter(|class| !class.is_empty())?;
        let classes: Api<StorageClass> = Api::all(cluster.client.clone());
        let allowed = match classes.get_opt(&class).await {
            Ok(Some(found)) => Some(found.allow_volume_expansion.unwrap_or_default()),
            // Without an object behind it a class is only a name that claim and volume have in common.
            Ok(None) => Some(false),
            Err(_) => None,
        };
        Some(Self { claim: name.clone(), class, allowed })
    }

    /// What to tell somebody who lacks room on the claim's volume.
    #[must_use]
    pub fn advice(&self) -> String {
        let Self { claim, class, allowed } = self;
        match allowed {
            Some(true) => format!("or expand persistentvolumeclaim/{claim}: its storage class {class} allows it"),
            Some(false) => {
                format!("persistentvolumeclaim/{claim} can't be expanded: its storage class {class} does not allow it")
            }
            None => format!("or expand persistentvolumeclaim/{claim}, if its storage class {class} allows it"),
        }
    }
}

/// Refuses when a claim lets only one pod in, and one is in: a helper pod beside it would never start.
///
/// # Errors
/// `Refused`, with what to do; and when pods can't be listed.
pub async fn refuse_exclusive(cluster: &Cluster, namespace: &str, volumes: impl Iterator<Item = &Source>) -> Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), namespace);
    for source in volumes {
        let Source::Claim(name) = source else { continue };
        let modes = claims.get(name).await.ok().and_then(|claim| claim.spec).and_then(|spec| spec.access_modes);
        if modes.is_none_or(|modes| modes != ["ReadWriteOncePod"]) {
            continue;
        }
        let inside = users(cluster, namespace, source).await?;
        let Some(pod) = inside.iter().find(|pod| !is_helper(pod)).and_then(|pod| pod.metadata.name.clone()) else { continue };
        return Err(Failure::refused(format!(
            "persistentvolumeclaim/{name} is ReadWriteOncePod and pod/{pod} has it, so no helper pod can look at it"
        ))
        .state("nothing was changed")
        .next(
            "scale the StatefulSet or Deployment to 0 replicas, then run this on it (TYPE/NAME) again: it is worked on at rest",
        ));
    }
    Ok(())
}
