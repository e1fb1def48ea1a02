//! What a Job is made from: a CronJob, a Job, a workload, a file of a Job, or a hook of a Helm release. Reads only.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume};
use kube::Api;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde::de::DeserializeOwned;

use crate::cluster::error::{Context as _, found};
use crate::cluster::kind::{Kind, TargetRef};
use crate::cluster::{Cluster, helm, names, target};
use crate::failure::{Failure, Result};

/// What a Job is made from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// An object of the cluster.
    Object(TargetRef),
    /// A file on the machine where the operation was started, with a Job of this name in it.
    #[serde(rename_all = "camelCase")]
    File {
        /// The file; `-` for standard input.
        path: PathBuf,
        /// The Job's own name.
        job: String,
    },
    /// A Job that helm creates around an upgrade, and may have deleted again.
    Hook(Hook),
}

/// A hook of a Helm release.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// The release.
    pub release: String,
    /// The name of its Job, if it was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// What serves in that release: what other commands can be aimed at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
}

/// How a person names a hook.
const HOOK: &str = "helm-hook";

impl Hook {
    /// Understands `helm-hook/RELEASE`, `helm-hook RELEASE` and `helm-hook/RELEASE:JOB`; `None` where no hook is named.
    #[must_use]
    pub fn parse(words: &[String]) -> Option<Self> {
        let named = match words {
            [one] => one.strip_prefix(HOOK)?.strip_prefix('/')?,
            [kind, named] if kind == HOOK => named,
            _ => return None,
        };
        let (release, job) = named.split_once(':').map_or((named, None), |(release, job)| (release, Some(job.to_owned())));
        Some(Self { release: release.to_owned(), job, workload: None })
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HOOK}/{}", self.release)?;
        self.job.as_ref().map_or(Ok(()), |job| write!(f, ":{job}"))
    }
}

/// The pods that something runs.
#[derive(Debug, Clone)]
pub struct Template {
    /// What it was read from.
    pub origin: Origin,
    /// As the pods are made.
    pub pod: PodTemplateSpec,
}

impl Origin {
    /// As a person names it: `cronjob/manual-migrate`.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Object(object) => object.to_string(),
            Self::File { job, .. } => format!("job/{job}"),
            Self::Hook(hook) => hook.to_string(),
        }
    }

    /// What other commands can be aimed at, to ask the same database.
    #[must_use]
    pub fn target(&self) -> String {
        match self {
            Self::Hook(hook) => hook.workload.clone().unwrap_or_else(|| "TARGET".to_owned()),
            Self::Object(_) | Self::File { .. } => self.shown(),
        }
    }

    /// It runs for good, so its pods get requests and keep apart from each other.
    #[must_use]
    pub fn serves(&self) -> bool {
        matches!(self, Self::Object(object) if !matches!(object.kind, Kind::Job | Kind::CronJob))
    }

    /// Reads it again.
    ///
    /// # Errors
    /// It is gone; or it was a file, which only the machine has on which the operation was started.
    pub async fn read(&self, cluster: &Cluster) -> Result<Template> {
        match self {
            Self::Object(object) => of_object(cluster, object).await,
            Self::Hook(hook) => of_hook(cluster, hook).await,
            Self::File { path, .. } if path != Path::new("-") => of_file(path),
            Self::File { job, .. } => {
                Err(Failure::failed(format!("job/{job} came through standard input, and was never created"))
                    .next("take this operation back, and run the Job again"))
            }
        }
    }
}

/// The template of an object of the cluster.
///
/// # Errors
/// `Usage` for a kind that has none; nothing of that name.
pub async fn of_object(cluster: &Cluster, asked: &TargetRef) -> Result<Template> {
    if matches!(asked.kind, Kind::Pod | Kind::PersistentVolumeClaim) {
        return Err(Failure::usage(format!("a Job can't be made from {asked}"))
            .next("name what it belongs to: a deployment, statefulset, daemonset, replicaset, job or cronjob"));
    }
    let resource = names::resource(cluster, asked.kind).await;
    let resource =
        resource.ok_or_else(|| Failure::failed(format!("the API server does not say how it serves {}", asked.kind.plural())))?;
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    let read = found(api.get(&asked.name).await).doing(format!("read {asked} in namespace {}", cluster.namespace))?;
    let Some(object) = read else { return Err(target::not_found(cluster, asked).await) };
    let mut pod: PodTemplateSpec = match asked.kind {
        Kind::CronJob => part(asked, &object, "/spec/jobTemplate/spec/template")?,
        _ => part(asked, &object, "/spec/template")?,
    };
    if asked.kind == Kind::StatefulSet && object.data.pointer("/spec/volumeClaimTemplates").is_some() {
        claim_volumes(asked, &part::<Vec<PersistentVolumeClaim>>(asked, &object, "/spec/volumeClaimTemplates")?, &mut pod);
    }
    Ok(Template { origin: Origin::Object(asked.clone()), pod })
}

fn part<T: DeserializeOwned>(asked: &TargetRef, object: &DynamicObject, path: &str) -> Result<T> {
    let value = object.data.pointer(path).cloned().unwrap_or_default();
    serde_json::from_value(value)
        .map_err(|error| Failure::failed(format!("cannot understand {asked}")).fact(format!("{path}: {error}")))
}

/// Its first pod's volumes: a claim takes the place of a volume of that name, as its controller does it.
fn claim_volumes(asked: &TargetRef, claims: &[PersistentVolumeClaim], pod: &mut PodTemplateSpec) {
    let volumes = pod.spec.get_or_insert_default().volumes.get_or_insert_default();
    for claim in claims.iter().map(ResourceExt::name_any) {
        volumes.retain(|volume| volume.name != claim);
        let source = PersistentVolumeClaimVolumeSource { claim_name: format!("{claim}-{}-0", asked.name), read_only: None };
        volumes.push(Volume { name: claim, persistent_volume_claim: Some(source), ..Volume::default() });
    }
}

/// The Job that a release of the cluster's namespace has as its hook, as its newest revision has it.
///
/// # Errors
/// `Usage` where there is no such release, or no such hook; its Secret can't be read.
pub async fn of_hook(cluster: &Cluster, hook: &Hook) -> Result<Template> {
    let release = helm::newest(cluster, &hook.release).await?;
    let job = release.hook(hook.job.as_deref())?;
    let pod = job.spec.map(|spec| spec.template).unwrap_or_default();
    Ok(Template { origin: Origin::Hook(Hook { workload: release.workload(), ..hook.clone() }), pod })
}

/// The Job in a file; `-` is standard input.
///
/// # Errors
/// `Usage` when there is no such file, or no single Job in it.
pub fn of_file(path: &Path) -> Result<Template> {
    let wrong =
        |why: String| Failure::usage(format!("cannot read a Job from {}", path.display())).fact(why).state("nothing was changed");
    let mut text = String::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().read_to_string(&mut text).map(|_| ()),
        false => std::fs::read_to_string(path).map(|whole| text = whole),
    };
    read.map_err(|error| wrong(error.to_string()))?;
    let objects: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).map_err(|error| wrong(error.to_string()))?;
    let jobs: Vec<&serde_json::Value> = objects.iter().filter(|object| object["kind"] == "Job").collect();
    let [job] = jobs.as_slice() else {
        return Err(wrong(format!("it has {} Jobs, and one is wanted", jobs.len())));
    };
    let job: Job = serde_json::from_value((*job).clone()).map_err(|error| wrong(error.to_string()))?;
    let name = job.name_any();
    let pod = job.spec.map(|spec| spec.template).ok_or_else(|| wrong(format!("job/{name} has no spec")))?;
    Ok(Template { origin: Origin::File { path: path.to_owned(), job: name }, pod })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn a_hook_is_named_by_its_release_and_its_job_where_there_are_more() {
        let parsed = |words: &[&str]| Hook::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(parsed(&["helm-hook/shop"]), parsed(&["helm-hook", "shop"]));
        let hook = parsed(&["helm-hook/shop:up"]).unwrap();
        assert_eq!(
            (hook.release.as_str(), hook.job.as_deref(), hook.to_string().as_str()),
            ("shop", Some("up"), "helm-hook/shop:up")
        );
        assert!(parsed(&["job/helm-hook"]).is_none() && parsed(&["helm-hook"]).is_none() && parsed(&[]).is_none());
    }

    #[test]
    fn the_one_job_of_a_file_is_taken_whatever_else_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = |text: &str| {
            let path = dir.path().join("job.yaml");
            std::fs::write(&path, text).unwrap();
            of_file(&path)
        };
        let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: m}\nspec: {template: {spec: {containers: [{name: a}]}}}\n";
        let template = file(&format!("kind: Secret\n---\n{job}")).unwrap();
        assert_eq!(template.origin.shown(), "job/m");
        assert!(!template.origin.serves());
        assert_eq!(template.pod.spec.unwrap().containers[0].name, "a");
        for wrong in ["kind: Secret\n", &format!("{job}---\n{job}"), "a: [", "kind: Job\nmetadata: {name: m}\n"] {
            assert_eq!(file(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
        assert_eq!(of_file(Path::new("/no/such/file")).unwrap_err().exit, Exit::Usage);
    }
}
