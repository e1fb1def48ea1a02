//! Which volumes a pod mounts, where, and who else mounts them.

use k8s_openapi::api::core::v1::{Container, Pod, Volume as ApiVolume};
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};

use super::Cluster;
use super::error::translate;
use crate::failure::Result;

/// A volume, by what becomes of its data when the pod goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A PersistentVolumeClaim of this name: outlives the pod.
    Claim(String),
    /// A folder of the node: outlives the pod, on that node.
    HostPath(String),
    /// Goes with the pod; the text says what it is: `emptyDir`.
    WithPod(String),
}

/// Where a container sees a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Name of the volume in the pod.
    pub volume: String,
    /// What it is.
    pub source: Source,
    /// Folder in the container.
    pub path: String,
    /// Folder of the volume that is mounted there; empty for all of it.
    pub sub_path: String,
}

impl Mount {
    /// The path within the volume of a path in the container, if it lies below this mount.
    #[must_use]
    pub fn to_volume(&self, path: &str) -> Option<String> {
        let rest = below(path, &self.path)?;
        Some(join(&self.sub_path, rest))
    }

    /// The path in the container of a path within the volume, if the container sees it.
    #[must_use]
    pub fn to_container(&self, path: &str) -> Option<String> {
        let rest = below(path, &self.sub_path)?;
        Some(format!("{}/{rest}", self.path.trim_end_matches('/')))
    }
}

fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let rest = path.trim_start_matches('/').strip_prefix(folder.trim_matches('/'))?;
    if rest.is_empty() || rest.starts_with('/') || folder.trim_matches('/').is_empty() {
        Some(rest.trim_start_matches('/'))
    } else {
        None
    }
}

fn join(folder: &str, rest: &str) -> String {
    match (folder.trim_matches('/'), rest) {
        ("", rest) => rest.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, rest) => format!("{folder}/{rest}"),
    }
}

/// The data volumes that a container of a pod mounts; of all its containers when none is named. Read-only mounts,
/// configuration, secrets and the like hold no database that could be written and are left out.
#[must_use]
pub fn mounts(pod: &Pod, container: Option<&str>) -> Vec<Mount> {
    let Some(spec) = pod.spec.as_ref() else { return Vec::new() };
    let volumes = spec.volumes.as_deref().unwrap_or_default();
    let all = spec.containers.iter().chain(spec.init_containers.as_deref().unwrap_or_default());
    let mut found: Vec<Mount> = Vec::new();
    for mount in all.filter(|c| container.is_none_or(|name| c.name == name)).flat_map(data_mounts) {
        let Some(source) = volumes.iter().find(|v| v.name == mount.name).and_then(|volume| source(pod, volume)) else { continue };
        let mount = Mount {
            volume: mount.name.clone(),
            source,
            path: mount.mount_path.clone(),
            sub_path: mount.sub_path.clone().unwrap_or_default(),
        };
        if !found.contains(&mount) {
            found.push(mount);
        }
    }
    found
}

/// The container that a person means when none is named: `first` if it has one of these mounts, else the first that has.
#[must_use]
pub fn container_with<'a>(pod: &'a Pod, mounts: &[Mount], first: &'a str) -> &'a str {
    let has = |name: &str| self::mounts(pod, Some(name)).iter().any(|mount| mounts.contains(mount));
    let all = pod.spec.iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    std::iter::once(first).chain(all.map(|container| container.name.as_str())).find(|name| has(name)).unwrap_or(first)
}

fn data_mounts(container: &Container) -> impl Iterator<Item = &k8s_openapi::api::core::v1::VolumeMount> {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    mounts.iter().filter(|mount| mount.read_only != Some(true) && mount.sub_path_expr.is_none())
}

fn source(pod: &Pod, volume: &ApiVolume) -> Option<Source> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return (claim.read_only != Some(true)).then(|| Source::Claim(claim.claim_name.clone()));
    }
    if let Some(folder) = &volume.host_path {
        return Some(Source::HostPath(folder.path.clone()));
    }
    if volume.empty_dir.is_some() {
        return Some(Source::WithPod("emptyDir".to_owned()));
    }
    if volume.ephemeral.is_some() {
        let pod = pod.metadata.name.as_deref().unwrap_or_default();
        return Some(Source::WithPod(format!("generic ephemeral volume (claim {pod}-{})", volume.name)));
    }
    None
}

/// Pods that mount a claim and may still write to it: all that are not finished.
///
/// # Errors
/// When pods can't be listed.
pub async fn users(cluster: &Cluster, namespace: &str, source: &Source) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let pods = api
        .list(&ListParams::default())
        .await
        .map_err(|error| translate(&error, &format!("list the pods of namespace {namespace}")))?;
    Ok(pods.into_iter().filter(|pod| uses(pod, source)).collect())
}

/// Whether a pod mounts a volume and may still write to it.
#[must_use]
pub fn uses(pod: &Pod, source: &Source) -> bool {
    !has_ended(pod) && mounts_source(pod, source)
}

/// Whether a pod mounts a volume, in any container, read-only or not.
#[must_use]
pub fn mounts_source(pod: &Pod, wanted: &Source) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    volumes.iter().any(|volume| match wanted {
        Source::Claim(name) => volume.persistent_volume_claim.as_ref().is_some_and(|claim| &claim.claim_name == name),
        Source::HostPath(path) => volume.host_path.as_ref().is_some_and(|folder| &folder.path == path),
        Source::WithPod(_) => false,
    })
}

/// Whether a pod's containers have all ended for good.
#[must_use]
pub fn is_finished(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|status| status.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// Whether a pod has no process left, nor will have one.
#[must_use]
pub fn has_ended(pod: &Pod) -> bool {
    is_finished(pod) || super::pods::has_stopped(pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(path: &str, sub_path: &str) -> Mount {
        Mount { volume: "v".into(), source: Source::Claim("c".into()), path: path.into(), sub_path: sub_path.into() }
    }

    #[test]
    fn paths_go_from_container_to_volume_and_back() {
        for (mount, path, inside) in [
            (mount("/db", ""), "/db/a.sqlite", "a.sqlite"),
            (mount("/db/", "x/y"), "/db/z/a.sqlite", "x/y/z/a.sqlite"),
            (mount("/", ""), "/a.sqlite", "a.sqlite"),
        ] {
            assert_eq!(mount.to_volume(path).as_deref(), Some(inside));
            assert_eq!(mount.to_container(inside).as_deref(), Some(path));
        }
    }

    #[test]
    fn the_container_that_has_the_volume_counts_and_not_the_first() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}],
            "containers": [{"name": "proxy"}, {"name": "app", "volumeMounts": [{"name": "v", "mountPath": "/db"}]},
                {"name": "backup", "volumeMounts": [{"name": "v", "mountPath": "/db"}]}]}}))
        .unwrap();
        let all = mounts(&pod, None);
        assert_eq!(container_with(&pod, &all, "proxy"), "app");
        assert_eq!(container_with(&pod, &all, "backup"), "backup");
        assert_eq!(container_with(&pod, &[], "proxy"), "proxy");
    }

    #[test]
    fn a_folder_that_only_starts_alike_is_another_one() {
        assert_eq!(mount("/db", "").to_volume("/dbx/a"), None);
        assert_eq!(mount("/db", "sub").to_container("subway/a"), None);
    }
}
