//! Where our binary sits beside a pod that keeps running: in its container, in an ephemeral one, or in a helper pod.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::Cluster;
use super::agent::Agent;
use super::helper::{CONTAINER, Found, Helper, VOLUMES};
use super::pods::{is_running, statuses, stays};
use super::volume::{Mount, Source, mounts};
use super::{claim, ephemeral, node};
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;

/// A place for the agent, and how it sees the volumes.
pub struct Seat {
    /// The agent.
    pub agent: Agent,
    /// The helper pod, when it is one: whoever sat down removes it.
    pub helper: Option<Helper>,
    /// The agent is in the application's own container, and so has its environment.
    pub in_container: bool,
    /// Where each mount is seen.
    roots: Vec<(Mount, String)>,
}

/// What a seat may leave in a pod when it is not needed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    /// Nothing that the API server shows.
    Nothing,
    /// An ephemeral container: those can't be removed from a pod.
    EphemeralContainer,
}

impl Seat {
    /// Folders to look for databases in.
    #[must_use]
    pub fn folders(&self) -> Vec<String> {
        self.roots.iter().map(|(_, root)| root.clone()).collect()
    }

    /// The volumes, and the folders in which the agent sees them.
    pub fn volumes(&self) -> impl Iterator<Item = (&Mount, &str)> {
        self.roots.iter().map(|(mount, root)| (mount, root.as_str()))
    }

    /// The mount and the path within its volume of a path that the agent sees.
    #[must_use]
    pub fn locate(&self, path: &str) -> Option<(&Mount, String)> {
        self.roots.iter().find_map(|(mount, root)| {
            let inside = path.strip_prefix(root.as_str())?.trim_start_matches('/');
            let inside = if self.helper.is_some() {
                inside.to_owned()
            } else {
                mount.to_volume(&format!("{}/{inside}", mount.path.trim_end_matches('/')))?
            };
            Some((mount, inside))
        })
    }

    /// The path that the agent sees of a path in the volume of a mount.
    #[must_use]
    pub fn path(&self, mount: &Mount, inside: &str) -> String {
        if self.helper.is_some() {
            Helper::path(&mount.volume, inside)
        } else {
            mount.to_container(inside).unwrap_or_else(|| inside.to_owned())
        }
    }

    /// The path that the agent sees of a path that the application's container sees, if both see it.
    #[must_use]
    pub fn path_of(&self, path: &str) -> Option<String> {
        let on = self.roots.iter().filter_map(|(mount, _)| Some((mount, mount.to_volume(path)?)));
        let (mount, inside) = on.max_by_key(|(mount, _)| mount.path.len())?;
        Some(self.path(mount, &inside))
    }

    /// In a helper pod beside the pod's durable volumes.
    ///
    /// # Errors
    /// Says why the helper does not run; nothing is left behind.
    pub async fn in_helper_pod(cluster: &Cluster, stop: &Stop, helper: Helper, mounts: &[Mount]) -> Result<Self> {
        claim::refuse_exclusive(cluster, &helper.namespace, helper.volumes.values()).await?;
        let arch = node::arch(cluster, helper.node.as_deref()).await;
        match agent_in(cluster, stop, &helper, &arch).await {
            Ok(agent) => {
                let roots = mounts.iter().map(|mount| (mount.clone(), format!("{VOLUMES}/{}", mount.volume))).collect();
                Ok(Self { agent, helper: Some(helper), in_container: false, roots })
            }
            Err(failure) => {
                helper.delete(cluster).await?;
                Err(failure)
            }
        }
    }

    /// In a pod of our own that has a place for our binary.
    ///
    /// # Errors
    /// Our binary can't be put there, or does not run there.
    pub async fn within(cluster: &Cluster, pod: &Pod, container: &str, place: &str) -> Result<Self> {
        Self::installed(cluster, pod, container, &[place.to_owned()]).await
    }

    /// In a running container, and nowhere else.
    ///
    /// # Errors
    /// It has no place for our binary, with each that was tried, or nobody may run commands there.
    pub async fn inside(cluster: &Cluster, pod: &Pod, container: &str) -> Result<Self> {
        Self::installed(cluster, pod, container, &places(pod, container)).await
    }

    async fn installed(cluster: &Cluster, pod: &Pod, container: &str, places: &[String]) -> Result<Self> {
        let metadata = &pod.metadata;
        let (namespace, name) = (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
        let arch = node::arch(cluster, pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref())).await;
        let agent = Agent::install(cluster, namespace, name, container, places, &arch).await?;
        Ok(Self { agent, helper: None, in_container: true, roots: same_paths(&mounts(pod, Some(container))) })
    }

    /// In the network of a pod, where its sidecars listen: in the named container, else in another one that runs, else only on
    /// its node, in a helper pod without any of its volumes.
    ///
    /// # Errors
    /// Names each place that was tried, and why it would not do.
    pub async fn in_network(cluster: &Cluster, stop: &Stop, pod: &Pod, container: &str, helper: Helper) -> Result<Self> {
        let mut names: Vec<&str> = statuses(pod).filter(|status| stays(status)).map(|status| status.name.as_str()).collect();
        names.sort_by_key(|name| *name != container);
        let mut tried = Vec::new();
        for name in &names {
            match in_container(cluster, pod, name, &helper, &mounts(pod, Some(name))).await {
                Ok(seat) => return Ok(Self { in_container: *name == container, ..seat }),
                Err(failure) => tried.push(format!("in container {name}: {}", failure.in_a_line())),
            }
        }
        Self::in_helper_pod(cluster, stop, helper, &[]).await.map_err(|failure| failure.facts(tried))
    }

    /// Beside a running container: in it where it has a place for our binary, else in an ephemeral container if that may stay, else
    /// in a helper pod.
    ///
    /// # Errors
    /// Names each place that was tried, and why it would not do.
    pub async fn beside(
        cluster: &Cluster,
        stop: &Stop,
        pod: &Pod,
        container: &str,
        helper: Helper,
        mounts: &[Mount],
        leaves: Leaves,
    ) -> Result<Self> {
        let mut tried = Vec::new();
        // Whoever only looks would lose its way with a container that crashes again, and can look from elsewhere.
        let may_leave = leaves == Leaves::Nothing && !mounts.iter().any(|mount| matches!(mount.source, Source::WithPod(_)));
        let stays = |status: &ContainerStatus| if may_leave { stays(status) } else { is_running(status) };
        if statuses(pod).any(|status| status.name == container && stays(status)) {
            match in_container(cluster, pod, container, &helper, mounts).await {
                Ok(seat) => return Ok(seat),
                Err(failure) => tried.push(format!("in container {container}: {}", failure.in_a_line())),
            }
            if leaves == Leaves::EphemeralContainer {
                match in_ephemeral(cluster, stop, pod, container, &helper, mounts).await {
                    Ok(seat) => return Ok(seat),
                    Err(failure) => tried.push(format!("in an ephemeral container: {}", failure.in_a_line())),
                }
            }
        }
        if mounts.iter().any(|mount| matches!(mount.source, Source::WithPod(_))) {
            return Err(Failure::refused("there is no place for the helper binary beside this database")
                .facts(tried)
                .state("nothing was changed"));
        }
        Self::in_helper_pod(cluster, stop, helper, mounts).await.map_err(|failure| failure.facts(tried))
    }
}

/// Our binary in a helper pod, which is made if it is not there.
///
/// # Errors
/// Says why the helper does not run, in which case it is not left behind, or why our binary does not get there.
pub async fn agent_in(cluster: &Cluster, stop: &Stop, helper: &Helper, arch: &str) -> Result<Agent> {
    let Found { is_new, work } = helper.ensure(cluster, stop).await?;
    match is_new {
        true => Agent::install_anew(cluster, helper, work, arch).await,
        false => Agent::install(cluster, &helper.namespace, &helper.name, CONTAINER, &[work.to_owned()], arch).await,
    }
}

async fn in_container(cluster: &Cluster, pod: &Pod, container: &str, helper: &Helper, mounts: &[Mount]) -> Result<Seat> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let arch = node::arch(cluster, helper.node.as_deref()).await;
    let agent = Agent::install(cluster, &helper.namespace, name, container, &places(pod, container), &arch).await?;
    Ok(Seat { agent, helper: None, in_container: true, roots: same_paths(mounts) })
}

async fn in_ephemeral(
    cluster: &Cluster,
    stop: &Stop,
    pod: &Pod,
    container: &str,
    helper: &Helper,
    mounts: &[Mount],
) -> Result<Seat> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if let Some(mount) = mounts.iter().find(|mount| !mount.sub_path.is_empty()) {
        return Err(Failure::refused(format!("it can't mount {}, which is a folder of volume {}", mount.path, mount.volume)));
    }
    let arch = node::arch(cluster, helper.node.as_deref()).await;
    ephemeral::add(cluster, stop, pod, container, &helper.name, &helper.image).await?;
    let agent = Agent::install(cluster, &helper.namespace, name, &helper.name, &[ephemeral::WORK.to_owned()], &arch).await?;
    Ok(Seat { agent, helper: None, in_container: false, roots: same_paths(mounts) })
}

fn same_paths(mounts: &[Mount]) -> Vec<(Mount, String)> {
    mounts.iter().map(|mount| (mount.clone(), mount.path.trim_end_matches('/').to_owned())).collect()
}

/// Folders worth trying: volumes that go with the pod first, because the root file system may be read-only; never the
/// database's own volume, which may be full.
fn places(pod: &Pod, container: &str) -> Vec<String> {
    let with_pod = mounts(pod, Some(container)).into_iter().filter(|mount| matches!(mount.source, Source::WithPod(_)));
    with_pod.map(|mount| mount.path).chain(["/tmp", "/var/tmp", "/dev/shm", "/run"].map(str::to_owned)).collect()
}
