//! Finding the database: pod, owner, volume, file. Creates the helper pod and nothing else.

use dbmig_wire::{Find, Found};
use k8s_openapi::api::core::v1::Pod;

use super::evidence::Migrator;
use super::spec::Spec;
use super::{Options, needs};
use crate::cluster::Cluster;
use crate::cluster::access;
use crate::cluster::claim::Growth;
use crate::cluster::helper::{Helper, is_helper};
use crate::cluster::kind::TargetRef;
use crate::cluster::node;
use crate::cluster::owner::{Owner, owner_of};
use crate::cluster::seat::{Leaves, Seat};
use crate::cluster::target::Target;
use crate::cluster::volume::{Mount, Source, container_with, mounts, users};
use crate::cluster::workload::{Kind, Workload};
use crate::command::operation;
use crate::command::session::Session;
use crate::failure::{Failure, Result};
use crate::plan::{LockName, Store};
use crate::ui::human::{bytes as size, harmless};

/// Name of the Role that is proposed when rights are missing.
const ROLE: &str = "dbmig-vacuum";

/// Where the database lives, with our binary beside it.
pub(super) struct Place {
    pub(super) target: String,
    pub(super) namespace: String,
    pub(super) pod: Pod,
    pub(super) container: String,
    owner: Owner,
    pub(super) helper: Helper,
    pub(super) seat: Seat,
    mounts: Vec<Mount>,
}

impl Place {
    /// Removes the helper pod, if the look needed one. Also after Ctrl-C.
    pub(super) async fn leave(&self, cluster: &Cluster) -> Result<()> {
        match &self.seat.helper {
            Some(helper) => helper.delete(cluster).await,
            None => Ok(()),
        }
    }
}

/// Finds pod and volumes, and brings our binary beside them: in a helper pod, which outlives the application's, or
/// beside the running application when that is to go on.
///
/// # Errors
/// `Refused` when the database could only be where it goes with the pod, or rights are missing.
pub(super) async fn place(session: &Session, options: &Options, id: &str) -> Result<Place> {
    let (cluster, stop) = (&session.cluster, &session.stop);
    let asked = TargetRef::parse(&options.target)?;
    let needs = if options.punch { needs::of_punch } else { needs::to_find };
    access::require(cluster, &needs(&cluster.namespace, asked.kind), ROLE).await?;
    let target = Target::resolve(cluster, &asked, options.container.as_deref()).await?;
    for notice in &target.notices {
        session.ui.say(&harmless(notice));
    }
    let Target { asked, pod, at_rest, container, namespace, owner, .. } = target;
    let name = pod.metadata.name.clone().unwrap_or_default();
    let target = if at_rest { asked.to_string() } else { format!("pod/{name}") };
    let all = mounts(&pod, options.container.as_deref());
    let mounts = if options.punch {
        on_path(&all, options.database.as_deref(), &name)?
    } else {
        let mounts = durable(&all, options.database.as_deref(), &name)?;
        let workload = Workload::of(&pod, &owner)?;
        access::require(cluster, &needs::of(&namespace, workload.kind, &options.wishes), ROLE).await?;
        // Before the helper pod is there: it would only be in the way of whoever works on the volume.
        let store = Store::in_namespace(cluster, &namespace);
        for mount in &mounts {
            let lock = LockName::new(&operation::volume_lock(&mount.source, &name));
            operation::refuse_if_unfinished(&store, &lock, &namespace, super::NAME).await?;
        }
        mounts
    };
    let container = match options.container {
        Some(_) => container,
        None => container_with(&pod, &mounts, &container).to_owned(),
    };
    let helper = Helper::beside(&pod, &container, id, &options.helper_image, &outliving(&mounts));
    session.ui.say(&format!("looking at the volumes of {target}"));
    let seat = if options.punch {
        Seat::beside(cluster, stop, &pod, &container, helper.clone(), &mounts, Leaves::EphemeralContainer).await?
    } else {
        Seat::in_helper_pod(cluster, stop, helper.clone(), &mounts).await?
    };
    Ok(Place { target, namespace, pod, container, owner, helper, seat, mounts })
}

fn outliving(mounts: &[Mount]) -> Vec<Mount> {
    mounts.iter().filter(|mount| !matches!(mount.source, Source::WithPod(_))).cloned().collect()
}

/// The mount that a named path is on; all of them when none is named.
fn on_path(all: &[Mount], database: Option<&str>, pod: &str) -> Result<Vec<Mount>> {
    let Some(path) = database else {
        return if all.is_empty() { Err(no_volume(pod)) } else { Ok(all.to_vec()) };
    };
    let on = all.iter().filter(|mount| mount.to_volume(path).is_some()).max_by_key(|mount| mount.path.len());
    on.map(|mount| vec![mount.clone()]).ok_or_else(|| {
        Failure::refused(format!("{path} is on no data volume that pod/{pod} mounts"))
            .facts(all.iter().map(|mount| format!("mounted: {} (volume {})", mount.path, mount.volume)))
            .state("nothing was changed")
    })
}

/// The mounts that outlive the pod. A database elsewhere would go with it.
fn durable(all: &[Mount], database: Option<&str>, pod: &str) -> Result<Vec<Mount>> {
    let mounts = on_path(all, database, pod)?;
    let durable = outliving(&mounts);
    if !durable.is_empty() {
        return Ok(durable);
    }
    let gone = mounts.iter().find_map(|mount| if let Source::WithPod(kind) = &mount.source { Some((mount, kind)) } else { None });
    Err(gone.map_or_else(|| no_volume(pod), |(mount, kind)| goes_with_pod(database.unwrap_or(&mount.path), kind, pod)))
}

fn no_volume(pod: &str) -> Failure {
    Failure::refused(format!("pod/{pod} mounts no volume that could hold a database")).state("nothing was changed")
}

fn goes_with_pod(path: &str, kind: &str, pod: &str) -> Failure {
    Failure::refused(format!("{path} is on an {kind}, which goes with pod/{pod}: stopping the pod would delete the database"))
        .state("nothing was changed")
        .next("vacuum it with the application's own means, or move it to a PersistentVolumeClaim first")
}

/// A database file, found.
pub(super) struct File {
    pub(super) mount: Mount,
    /// Path within the volume.
    pub(super) inside: String,
    /// Path where the agent is.
    pub(super) path: String,
    /// Path as the application sees it.
    pub(super) shown: String,
}

/// Finds the file.
///
/// # Errors
/// `Refused` when there is none, or several are there and nobody can be asked.
pub(super) async fn file(session: &Session, options: &Options, place: &Place) -> Result<File> {
    let (mount, inside) = match &options.database {
        Some(path) => place
            .mounts
            .iter()
            .find_map(|mount| Some((mount.clone(), mount.to_volume(path)?)))
            .ok_or_else(|| Failure::refused(format!("{path} is on no data volume")))?,
        None => choose(session, place).await?,
    };
    let shown = mount.to_container(&inside).unwrap_or_else(|| inside.clone());
    let path = place.seat.path(&mount, &inside);
    Ok(File { mount, inside, path, shown })
}

/// Finds the file and writes down all that the steps need.
///
/// # Errors
/// As [`file()`], and `Refused` when others use the volume.
pub(super) async fn spec(session: &Session, options: &Options, place: &Place) -> Result<Spec> {
    let cluster = &session.cluster;
    let file = file(session, options, place).await?;
    let workload = Workload::of(&place.pod, &place.owner)?;
    let spec = Spec {
        wishes: options.wishes.clone(),
        pod: place.pod.metadata.name.clone().unwrap_or_default(),
        container: place.container.clone(),
        replicas: match workload.kind {
            Kind::Pod => 1,
            _ => workload.replicas(cluster, &place.namespace).await?,
        },
        workload,
        growth: Growth::of(cluster, &place.namespace, &file.mount.source).await,
        mount: file.mount,
        inside: file.inside,
        shown: file.shown,
        helper: place.helper.clone(),
        arch: node::arch(cluster, place.helper.node.as_deref()).await,
        migrator: options.wishes.repair.then(|| Migrator::of(&place.pod, &place.container)).flatten(),
    };
    refuse_strangers(cluster, place, &spec).await?;
    Ok(spec)
}

/// Looks for SQLite files on the volumes; asks when there are several.
async fn choose(session: &Session, place: &Place) -> Result<(Mount, String)> {
    let mut found: Vec<Found> = place
        .seat
        .agent
        .ask(Find { roots: place.seat.folders() }, None)
        .await
        .map_err(|error| error.into_failure("look for databases"))?;
    found.sort_by_key(|file| std::cmp::Reverse(file.bytes));
    let known: Vec<(Mount, String, u64)> = found.iter().filter_map(|file| locate(place, file)).collect();
    let listed: Vec<String> = known
        .iter()
        .map(|(mount, inside, bytes)| {
            format!("{} ({})", mount.to_container(inside).unwrap_or_else(|| inside.clone()), size(*bytes))
        })
        .collect();
    let index = match known.len() {
        0 => {
            let volumes = place.mounts.iter().map(|mount| format!("looked through volume {} ({})", mount.volume, mount.path));
            return Err(Failure::refused(format!("no SQLite database on the volumes of {}", place.target))
                .facts(volumes)
                .state("nothing was changed")
                .next("name it: --database PATH, as the container sees it"));
        }
        1 => 0,
        _ if session.ui.can_ask() && !session.ui.is_machine() => {
            session.ui.choose(&session.stop, "Which database?", &listed, "--database PATH").await?
        }
        _ => {
            return Err(Failure::refused(format!("{} has {} SQLite databases: say which one", place.target, known.len()))
                .facts(listed)
                .state("nothing was changed")
                .next("--database PATH"));
        }
    };
    let (mount, inside, _) =
        known.into_iter().nth(index).ok_or_else(|| Failure::failed("the chosen database is not in the list"))?;
    Ok((mount, inside))
}

fn locate(place: &Place, file: &Found) -> Option<(Mount, String, u64)> {
    let (seen, inside) = place.seat.locate(&file.path)?;
    // A container may mount only a folder of the volume: prefer the mount that shows the file.
    let shows = |mount: &&Mount| mount.volume == seen.volume && mount.to_container(&inside).is_some();
    let mount = place.mounts.iter().find(shows).unwrap_or(seen);
    Some((mount.clone(), inside, file.bytes))
}

/// Other pods that use the volume would go on writing while we work.
async fn refuse_strangers(cluster: &Cluster, place: &Place, spec: &Spec) -> Result<()> {
    let mut strangers = Vec::new();
    for pod in users(cluster, &place.namespace, &spec.mount.source).await? {
        let name = pod.metadata.name.clone().unwrap_or_default();
        if is_helper(&pod) {
            continue;
        }
        let owner = owner_of(cluster, &place.namespace, &pod.metadata).await?;
        if Workload::of(&pod, &owner).ok().as_ref() != Some(&spec.workload) {
            strangers.push(format!("pod/{name}"));
        }
    }
    if strangers.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "the database's volume is also mounted by {}, which {} does not stop",
        strangers.join(", "),
        spec.workload
    ))
    .state("nothing was changed")
    .next("stop it first, then run this again"))
}
