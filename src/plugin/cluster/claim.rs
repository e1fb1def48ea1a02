//! PersistentVolumeClaims: what one allows (to grow, to be mounted by a second pod), and those of our own. What may not be read is
//! not known.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::{Context as _, found, translate};
use super::helper::{Helper, Identity, LABEL_OPERATION, is_helper};
use super::volume::{Source, users};
use super::{Cluster, MANAGED_BY};
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;

/// Annotation of a claim or snapshot that is a backup: which database it is of.
pub const BACKUP_OF: &str = "dbmig.dev/backup-of";

/// A claim of ours.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its name.
    pub name: &'a str,
    /// The operation that it belongs to.
    pub operation: &'a str,
    /// Its storage class; `None` for the default one.
    pub class: Option<&'a str>,
    /// How large: `5Gi`.
    pub size: &'a str,
    /// The database that it is a backup of.
    pub backup_of: Option<&'a str>,
}

/// What so many bytes take on a volume: with an eighth on top, since file systems keep some for themselves.
#[must_use]
pub fn size_for(bytes: u64) -> String {
    format!("{}Mi", (bytes * 9 / 8 + (16 << 20)).div_ceil(1 << 20))
}

/// Makes a claim, if there is none of its name; whether there was none.
///
/// # Errors
/// When the API server refuses.
pub async fn ensure(cluster: &Cluster, namespace: &str, wanted: &Wanted<'_>) -> Result<bool> {
    let Wanted { name, operation, class, size, backup_of } = wanted;
    if is_there(cluster, namespace, name).await? {
        return Ok(false);
    }
    let mut claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": MANAGED_BY, LABEL_OPERATION: operation}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": size}}},
    }))
    .map_err(|error| Failure::failed(format!("cannot describe persistentvolumeclaim/{name}: {error}")))?;
    claim.metadata.annotations = backup_of.map(|of| [(BACKUP_OF.to_owned(), of.to_owned())].into());
    let created = claims(cluster, namespace).create(&PostParams::default(), &claim).await;
    created.map(|_| true).map_err(|error| translate(&error, &format!("create persistentvolumeclaim/{name}")))
}

/// Whether there is a claim of this name that is not on its way out.
///
/// # Errors
/// When the API server refuses.
pub async fn is_there(cluster: &Cluster, namespace: &str, name: &str) -> Result<bool> {
    let claim = claims(cluster, namespace).get_opt(name).await;
    let claim = claim.map_err(|error| translate(&error, &format!("read persistentvolumeclaim/{name}")))?;
    Ok(claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_none()))
}

/// Removes a claim, and its data with it; whether it was there.
///
/// # Errors
/// When the API server refuses.
pub async fn remove(cluster: &Cluster, namespace: &str, name: &str) -> Result<bool> {
    let deleted = found(claims(cluster, namespace).delete(name, &DeleteParams::default()).await);
    deleted.doing(format!("delete persistentvolumeclaim/{name}")).map(|deleted| deleted.is_some())
}

/// Gives new volumes, which belong to root, to the group of a helper that is somebody else. As fsGroup of the helper
/// pod itself, that group would be given to all files of the database's volume too.
///
/// # Errors
/// The volumes can't be mounted.
pub async fn hand_over(cluster: &Cluster, stop: &Stop, helper: &Helper, volumes: BTreeMap<String, Source>) -> Result<()> {
    let Some(group) = helper.identity.group_of_new_volumes().filter(|_| !volumes.is_empty()) else { return Ok(()) };
    let identity = Identity { fs_group: Some(group), ..helper.identity.clone() };
    let usher = Helper { volumes, identity, ..usher(helper) };
    usher.ensure(cluster, stop).await?;
    usher.delete(cluster).await
}

/// The pod that [`hand_over`] lets the volumes be mounted by once.
#[must_use]
pub fn usher(helper: &Helper) -> Helper {
    Helper { name: format!("{}-volume", helper.name), volumes: BTreeMap::new(), ..helper.clone() }
}

fn claims(cluster: &Cluster, namespace: &str) -> Api<PersistentVolumeClaim> {
    Api::namespaced(cluster.client.clone(), namespace)
}

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
