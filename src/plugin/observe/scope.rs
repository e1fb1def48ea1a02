//! What is watched: the pods, Jobs and the workload that a target stands for, now and as they come. Reads only.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{DynamicObject, ListParams};
use kube::core::Selector;
use kube::{Api, ResourceExt as _};

use crate::cluster::error::{Context as _, found};
use crate::cluster::kind::{Kind, TargetRef};
use crate::cluster::owner::{Owner, owner_of};
use crate::cluster::{Cluster, names, target};
use crate::failure::{Failure, Result};

/// Label by which charts mark what migrates.
pub const MIGRATION: &str = "app.kubernetes.io/component=migration";
/// Annotation of Helm's hook Jobs.
const HOOK: &str = "helm.sh/hook";

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// As a person would name it: `statefulset/upmeter`, `pods with app=upmeter`.
    pub title: String,
    /// Namespace; `None` for all.
    pub namespace: Option<String>,
    /// Which pods.
    pub pods: Pods,
    /// The workload above them, if there is one.
    pub workload: Option<TargetRef>,
}

/// Which pods belong to a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pods {
    /// The one of this name, whichever it is at the time.
    Named(String),
    /// Those that a selector finds, of one controller if its uid is given.
    Of {
        /// Label selector.
        selector: String,
        /// Uid of the controller.
        controller: Option<String>,
    },
    /// Those of the Jobs of the CronJob with this uid.
    OfCronJob(String),
    /// Those that a label selector finds, and Jobs and workloads that it finds.
    Matching(String),
    /// Those that mount this claim.
    Mounting(String),
    /// Whatever migrates: by label, or as a Helm hook.
    Migrations,
}

impl Scope {
    /// Looks up what a target stands for. A workload without pods is none the worse.
    ///
    /// # Errors
    /// Nothing of that name (similar names are shown), or not allowed to read.
    pub async fn of_target(cluster: &Cluster, asked: &TargetRef) -> Result<Self> {
        let namespace = Some(cluster.namespace.clone());
        let title = asked.to_string();
        if asked.kind == Kind::Pod {
            let workload = owner_of_pod(cluster, asked).await?;
            return Ok(Self { title, namespace, pods: Pods::Named(asked.name.clone()), workload });
        }
        let object = read(cluster, asked).await?;
        let uid = object.uid().unwrap_or_default();
        let pods = match asked.kind {
            Kind::CronJob => Pods::OfCronJob(uid),
            Kind::PersistentVolumeClaim => Pods::Mounting(asked.name.clone()),
            // Its pods are its ReplicaSets', which the selector finds too.
            Kind::Deployment => Pods::Of { selector: selector(&object, asked)?, controller: None },
            _ => Pods::Of { selector: selector(&object, asked)?, controller: Some(uid) },
        };
        let workload = (asked.kind != Kind::PersistentVolumeClaim).then(|| asked.clone());
        Ok(Self { title, namespace, pods, workload })
    }

    /// What a label selector finds; in all namespaces without one.
    #[must_use]
    pub fn matching(selector: &str, namespace: Option<String>) -> Self {
        Self { title: format!("what has {selector}"), namespace, pods: Pods::Matching(selector.to_owned()), workload: None }
    }

    /// Whatever migrates.
    #[must_use]
    pub fn migrations(namespace: Option<String>) -> Self {
        Self { title: "all migrations".to_owned(), namespace, pods: Pods::Migrations, workload: None }
    }

    /// Of the pods that the server's selector finds one that this scope is about, given which Jobs are.
    #[must_use]
    pub fn has_pod(&self, pod: &Pod, is_job: impl Fn(&str) -> bool) -> bool {
        let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
        match &self.pods {
            Pods::Named(name) => pod.name_any() == *name,
            Pods::Of { controller: Some(uid), .. } => controller.is_some_and(|owner| owner.uid == *uid),
            Pods::Of { controller: None, .. } | Pods::Matching(_) => true,
            Pods::OfCronJob(_) => controller.is_some_and(|owner| is_job(&owner.uid)),
            Pods::Mounting(claim) => claims(pod).any(|mounted| mounted == claim),
            Pods::Migrations => is_labelled_migration(pod) || controller.is_some_and(|owner| is_job(&owner.uid)),
        }
    }

    /// Of the Jobs that the server's selector finds one that this scope is about.
    #[must_use]
    pub fn has_job(&self, job: &Job) -> bool {
        match &self.pods {
            Pods::OfCronJob(uid) => job.owner_references().iter().any(|owner| owner.uid == *uid),
            Pods::Matching(_) => true,
            Pods::Migrations => is_labelled_migration(job) || is_migration_hook(job),
            _ => self.workload.as_ref().is_some_and(|asked| asked.kind == Kind::Job && asked.name == job.name_any()),
        }
    }

    /// Label selector of the Jobs to look at, if any are.
    pub(super) fn job_selector(&self) -> Option<Option<String>> {
        match &self.pods {
            Pods::Matching(selector) => Some(Some(selector.clone())),
            Pods::OfCronJob(_) | Pods::Migrations => Some(None),
            _ => self.workload.as_ref().is_some_and(|asked| asked.kind == Kind::Job).then_some(None),
        }
    }

    /// What the server is asked for: label and field selector of all pods that may belong to this scope.
    pub(super) fn pod_selector(&self) -> (Option<String>, Option<String>) {
        match &self.pods {
            Pods::Named(name) => (None, Some(format!("metadata.name={name}"))),
            Pods::Of { selector, .. } | Pods::Matching(selector) => (Some(selector.clone()), None),
            Pods::OfCronJob(_) | Pods::Migrations => (Some("job-name".to_owned()), None),
            Pods::Mounting(_) => (None, None),
        }
    }
}

/// Names of the claims that a pod mounts.
pub(super) fn claims(pod: &Pod) -> impl Iterator<Item = &String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref()).map(|claim| &claim.claim_name)
}

fn is_labelled_migration(object: &impl kube::ResourceExt) -> bool {
    MIGRATION.split_once('=').is_some_and(|(key, value)| object.labels().get(key).is_some_and(|found| found == value))
}

/// Charts name these Jobs in all ways; what they have in common is the hook and the word.
fn is_migration_hook(job: &Job) -> bool {
    let hook = job
        .annotations()
        .get(HOOK)
        .is_some_and(|hook| hook.contains("install") || hook.contains("upgrade") || hook.contains("rollback"));
    let words = |text: &str| ["migrat", "db-upgrade", "schema"].iter().any(|word| text.to_lowercase().contains(word));
    let containers = job.spec.iter().flat_map(|spec| spec.template.spec.iter().flat_map(|pod| pod.containers.iter()));
    hook && (words(&job.name_any()) || containers.into_iter().any(|container| words(&container.name)))
}

async fn owner_of_pod(cluster: &Cluster, asked: &TargetRef) -> Result<Option<TargetRef>> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let pod = found(pods.get_metadata(&asked.name).await).doing(format!("read {asked} in namespace {}", cluster.namespace))?;
    let Some(pod) = pod else { return missing_pod(cluster, asked).await };
    // Somebody who may see the pod alone still gets to see the pod.
    let owner = owner_of(cluster, &cluster.namespace, &pod.metadata).await.unwrap_or(Owner::None);
    Ok(target_of(&owner))
}

fn target_of(owner: &Owner) -> Option<TargetRef> {
    let (kind, object) = owner.object()?;
    let kind = Kind::of_camel(kind).filter(|_| !matches!(owner, Owner::Other { .. }))?;
    Some(TargetRef { kind, name: object.name.clone() })
}

/// A pod of a StatefulSet that is scaled down for now is still worth watching: it will come back under its name.
async fn missing_pod(cluster: &Cluster, asked: &TargetRef) -> Result<Option<TargetRef>> {
    let above = asked.name.rsplit_once('-').filter(|(_, ordinal)| ordinal.parse::<u32>().is_ok());
    if let Some((name, _)) = above {
        let workload = TargetRef { kind: Kind::StatefulSet, name: name.to_owned() };
        if read(cluster, &workload).await.is_ok() {
            return Ok(Some(workload));
        }
    }
    Err(target::not_found(cluster, asked).await)
}

async fn read(cluster: &Cluster, asked: &TargetRef) -> Result<DynamicObject> {
    let api = workload_api(cluster, asked.kind).await?;
    match found(api.get(&asked.name).await).doing(format!("read {asked} in namespace {}", cluster.namespace))? {
        Some(object) => Ok(object),
        None => Err(target::not_found(cluster, asked).await),
    }
}

/// Objects of a kind as this server serves them, in the cluster's namespace.
pub(super) async fn workload_api(cluster: &Cluster, kind: Kind) -> Result<Api<DynamicObject>> {
    let resource = names::resource(cluster, kind).await;
    let resource =
        resource.ok_or_else(|| Failure::failed(format!("the API server does not say how it serves {}", kind.plural())))?;
    Ok(Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource))
}

fn selector(object: &DynamicObject, asked: &TargetRef) -> Result<String> {
    let cannot = || Failure::failed(format!("{asked} has no selector that can be understood"));
    let selector: LabelSelector =
        serde_json::from_value(object.data.pointer("/spec/selector").cloned().unwrap_or_default()).map_err(|_| cannot())?;
    let selector: Selector = selector.try_into().map_err(|_| cannot())?;
    Ok(selector.to_string())
}

/// Names of what migrates in a namespace (or in all), for the question which one is meant.
///
/// # Errors
/// Jobs cannot be listed.
pub async fn migrations(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<(String, TargetRef)>> {
    let api: Api<Job> = match namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    };
    let scope = Scope::migrations(namespace.map(str::to_owned));
    let jobs = api.list(&ListParams::default()).await.doing("list the jobs")?;
    let named = |job: &Job| (job.namespace().unwrap_or_default(), TargetRef { kind: Kind::Job, name: job.name_any() });
    Ok(jobs.items.iter().filter(|job| scope.has_job(job)).map(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_pod_belongs_by_selector_and_controller() {
        let owned = |uid: &str| {
            let owner =
                serde_json::json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "x", "uid": uid, "controller": true});
            pod(serde_json::json!({"metadata": {"name": "x-0", "labels": {"app": "x"}, "ownerReferences": [owner]}}))
        };
        let of = |controller: Option<&str>| Scope {
            title: String::new(),
            namespace: None,
            pods: Pods::Of { selector: "app=x".to_owned(), controller: controller.map(str::to_owned) },
            workload: None,
        };
        let no_job = |_: &str| false;
        assert!(of(Some("u")).has_pod(&owned("u"), no_job));
        assert!(!of(Some("u")).has_pod(&owned("other"), no_job));
        assert!(of(None).has_pod(&owned("other"), no_job));
        assert!(!Scope::migrations(None).has_pod(&owned("u"), no_job));
        assert!(Scope::migrations(None).has_pod(&owned("job"), |uid| uid == "job"));
    }

    #[test]
    fn a_hook_job_is_a_migration_when_it_says_so() {
        let job = |name: &str, hook: &str| -> Job {
            serde_json::from_value(serde_json::json!({"metadata": {"name": name, "annotations": {HOOK: hook}}})).unwrap()
        };
        assert!(is_migration_hook(&job("app-migrate", "pre-upgrade,pre-install")));
        assert!(!is_migration_hook(&job("app-migrate", "test")));
        assert!(!is_migration_hook(&job("smoke", "post-install")));
    }
}
