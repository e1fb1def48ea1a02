//! VolumeSnapshots: what the cluster has for a claim, and how one is made and waited for. Knows no database.

use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::claim::BACKUP_OF;
use super::error::{Context as _, found, is_forbidden, translate};
use super::helper::LABEL_OPERATION;
use super::{Cluster, MANAGED_BY};
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;

/// The group of the API.
pub const GROUP: &str = "snapshot.storage.k8s.io";
/// The annotation of the class that counts when none is named.
const DEFAULT: &str = "snapshot.storage.kubernetes.io/is-default-class";
/// What a claim's volume was made by, as its controller writes it down.
const PROVISIONER: [&str; 2] = ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
/// Between two tries to watch.
const PAUSE: Duration = Duration::from_secs(1);

/// A snapshot that is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// The content behind it.
    pub content: String,
    /// What a claim made of it must have at least: `10Gi`.
    pub size: Option<String>,
}

/// The class by which a claim's volume can be snapshotted: the named one, else the default one or the only one of its driver.
///
/// # Errors
/// `Refused`, by name: no such API, no class for the driver, several, the claim's driver is not known; nothing was changed.
pub async fn class_for(cluster: &Cluster, namespace: &str, claim: &str, named: Option<&str>) -> Result<String> {
    let refused = |why: String| {
        Failure::refused(format!("persistentvolumeclaim/{claim} can't be snapshotted: {why}"))
            .state("nothing was changed")
            .next("take another backup: --backup dump")
    };
    let served = found(cluster.client.list_api_group_resources(&format!("{GROUP}/v1")).await);
    let served = served.map_err(|error| translate(&error, "find out whether the API server knows volume snapshots"))?;
    if !served.is_some_and(|list| list.resources.iter().any(|one| one.kind == "VolumeSnapshot")) {
        return Err(refused(format!("the cluster has no VolumeSnapshots (its API server does not serve {GROUP}/v1)")));
    }
    let driver = driver_of(cluster, namespace, claim).await?;
    let driver =
        driver.ok_or_else(|| refused("neither it nor its storage class says which driver has made its volume".to_owned()))?;
    let classes: Api<DynamicObject> =
        Api::all_with(cluster.client.clone(), &resource("VolumeSnapshotClass", "volumesnapshotclasses"));
    let all = match classes.list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(error) if is_forbidden(&error) => {
            // Who may not look is believed.
            return named.map(str::to_owned).ok_or_else(|| {
                refused("you may not list volumesnapshotclasses".to_owned()).next("name the class: --backup-class NAME")
            });
        }
        Err(error) => return Err(translate(&error, "list the volumesnapshotclasses")),
    };
    let fitting: Vec<&DynamicObject> = all.iter().filter(|class| class.data["driver"] == *driver).collect();
    chosen(&fitting, named).map_err(|names| match (names.as_slice(), named) {
        ([], None) => refused(format!("there is no VolumeSnapshotClass for its driver {driver}")),
        (_, Some(named)) => refused(format!("VolumeSnapshotClass {named} is none of its driver {driver}")),
        (several, None) => refused(format!("its driver {driver} has several VolumeSnapshotClasses: {}", several.join(", ")))
            .next("name one: --backup-class NAME"),
    })
}

/// The one that is meant; else the names of all.
fn chosen(fitting: &[&DynamicObject], named: Option<&str>) -> Result<String, Vec<String>> {
    let names = || fitting.iter().map(|class| class.name_any()).collect::<Vec<_>>();
    let default = || fitting.iter().find(|class| class.annotations().get(DEFAULT).is_some_and(|value| value == "true"));
    match (named, fitting) {
        (Some(named), _) => {
            fitting.iter().find(|class| class.name_any() == named).map(|class| class.name_any()).ok_or_else(names)
        }
        (None, [only]) => Ok(only.name_any()),
        (None, _) => default().map(|class| class.name_any()).ok_or_else(names),
    }
}

async fn driver_of(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<String>> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), namespace);
    let claim = claims.get(name).await.map_err(|error| translate(&error, &format!("read persistentvolumeclaim/{name}")))?;
    if let Some(driver) = PROVISIONER.iter().find_map(|annotation| claim.annotations().get(*annotation)) {
        return Ok(Some(driver.clone()));
    }
    let Some(class) = claim.spec.and_then(|spec| spec.storage_class_name).filter(|class| !class.is_empty()) else {
        return Ok(None);
    };
    let classes: Api<StorageClass> = Api::all(cluster.client.clone());
    // Who may not read it does not know.
    Ok(classes.get_opt(&class).await.ok().flatten().map(|class| class.provisioner))
}

/// A snapshot of ours.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its name.
    pub name: &'a str,
    /// The operation that it belongs to.
    pub operation: &'a str,
    /// What it is of.
    pub claim: &'a str,
    /// Its class.
    pub class: &'a str,
    /// The database that it is a backup of.
    pub backup_of: &'a str,
    /// How long its driver may take.
    pub patience: Duration,
}

/// Makes a snapshot of a claim, if there is none of its name, and waits until it can be used.
///
/// # Errors
/// When the API server refuses, when its driver says what is wrong, or when it takes too long.
pub async fn take(cluster: &Cluster, stop: &Stop, namespace: &str, wanted: &Wanted<'_>) -> Result<Ready> {
    let Wanted { name, patience, .. } = wanted;
    let api = api(&cluster.client, namespace);
    let found = api.get_opt(name).await.map_err(|error| translate(&error, &format!("read volumesnapshot/{name}")))?;
    if found.is_none() {
        let created = api.create(&PostParams::default(), &manifest(wanted)?).await;
        created.map_err(|error| translate(&error, &format!("create volumesnapshot/{name}")))?;
    }
    let ended = async {
        let has_ended = |seen: Option<&DynamicObject>| seen.is_none_or(|seen| state(seen).is_some());
        loop {
            match await_condition(api.clone(), name, has_ended).await {
                Ok(seen) => return seen,
                Err(_) => sleep(PAUSE).await, // A server that is away for a moment.
            }
        }
    };
    let late = |_| {
        Failure::failed(format!("volumesnapshot/{name} did not get ready within {} s", patience.as_secs()))
            .fact("neither its controller nor its driver says why")
    };
    let seen = stop.interruptible(timeout(*patience, ended)).await?.map_err(late)?;
    match seen.as_ref().and_then(state) {
        Some(Ok(ready)) => Ok(ready),
        Some(Err(why)) => Err(Failure::failed(format!("volumesnapshot/{name} could not be made")).fact(why)),
        None => Err(Failure::failed(format!("volumesnapshot/{name} was deleted while it was waited for"))),
    }
}

fn manifest(wanted: &Wanted<'_>) -> Result<DynamicObject> {
    let Wanted { name, operation, claim, class, backup_of, .. } = wanted;
    serde_json::from_value(json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "VolumeSnapshot",
        "metadata": {"name": name, "annotations": {BACKUP_OF: backup_of},
            "labels": {"app.kubernetes.io/managed-by": MANAGED_BY, LABEL_OPERATION: operation}},
        "spec": {"volumeSnapshotClassName": class, "source": {"persistentVolumeClaimName": claim}},
    }))
    .map_err(|error| Failure::failed(format!("cannot describe volumesnapshot/{name}: {error}")))
}

/// Ready, or why it will not be; `None` while neither is known.
fn state(snapshot: &DynamicObject) -> Option<Result<Ready, String>> {
    let status = &snapshot.data["status"];
    let text = |of: &Value| of.as_str().map(str::to_owned);
    if let Some(why) = text(&status["error"]["message"]) {
        return Some(Err(why));
    }
    let content = text(&status["boundVolumeSnapshotContentName"]).filter(|_| status["readyToUse"] == true)?;
    Some(Ok(Ready { content, size: text(&status["restoreSize"]) }))
}

/// Removes a snapshot; whether it was there.
///
/// # Errors
/// When the API server refuses.
pub async fn remove(cluster: &Cluster, namespace: &str, name: &str) -> Result<bool> {
    let deleted = found(api(&cluster.client, namespace).delete(name, &DeleteParams::default()).await);
    deleted.doing(format!("delete volumesnapshot/{name}")).map(|deleted| deleted.is_some())
}

/// The snapshots of a namespace.
#[must_use]
pub fn api(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource("VolumeSnapshot", "volumesnapshots"))
}

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", kind), plural)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, default: bool) -> DynamicObject {
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "VolumeSnapshotClass",
            "metadata": {"name": name, "annotations": {DEFAULT: default.to_string()}}, "driver": "d"}))
        .unwrap()
    }

    #[test]
    fn the_class_is_the_named_one_or_the_default_one_or_the_only_one() {
        let (one, two) = (class("one", false), class("two", true));
        assert_eq!(chosen(&[&one], None), Ok("one".to_owned()));
        assert_eq!(chosen(&[&one, &two], None), Ok("two".to_owned()));
        assert_eq!(chosen(&[&one, &two], Some("one")), Ok("one".to_owned()));
        assert_eq!(chosen(&[&one], Some("two")), Err(vec!["one".to_owned()]));
        assert_eq!(chosen(&[&one, &one], None).unwrap_err().len(), 2);
        assert_eq!(chosen(&[], None), Err(Vec::new()));
    }

    #[test]
    fn a_snapshot_is_ready_when_it_says_so_and_names_its_content() {
        let of = |status: Value| {
            let object = json!({"apiVersion": "v1", "kind": "VolumeSnapshot", "metadata": {"name": "s"}, "status": status});
            state(&serde_json::from_value(object).unwrap())
        };
        assert_eq!(of(json!({})), None);
        assert_eq!(of(json!({"readyToUse": false, "boundVolumeSnapshotContentName": "c"})), None);
        assert_eq!(of(json!({"readyToUse": true})), None);
        let ready = Ready { content: "c".to_owned(), size: Some("1Gi".to_owned()) };
        assert_eq!(of(json!({"readyToUse": true, "boundVolumeSnapshotContentName": "c", "restoreSize": "1Gi"})), Some(Ok(ready)));
        assert_eq!(of(json!({"error": {"message": "no"}, "readyToUse": false})), Some(Err("no".to_owned())));
    }
}
