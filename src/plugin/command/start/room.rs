//! The disk of a server whose pod is in reach, as our binary beside its data sees it. Reads only.

use dbmig_wire::{Stat, Volume};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};

use crate::cluster::Cluster;
use crate::cluster::seat::Seat;
use crate::cluster::volume::{Mount, mounts};
use crate::command::pair::Pair;
use crate::database::Database;
use crate::replication::Rooms;

/// What both disks have.
pub(super) async fn rooms(cluster: &Cluster, pair: &Pair) -> Rooms {
    let (source, target) = tokio::join!(of(cluster, &*pair.source, "/pg_wal"), of(cluster, &*pair.target, ""));
    Rooms { source, target }
}

/// The file system of what is so far below a server's data directory; `None` where it can't be known, which whoever reads is told.
async fn of(cluster: &Cluster, server: &dyn Database, below: &str) -> Option<Volume> {
    let address = word(server, "SELECT host(inet_server_addr())").await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let behind = ListParams::default().fields(&format!("status.podIP={address}"));
    let pod = pods.list(&behind).await.ok()?.items.into_iter().next()?;
    // Only a superuser, or who may read all settings, is told; else the only volume will be it.
    let known = word(server, "SELECT current_setting('data_directory', true)").await;
    let (container, path) = place(&pod, known.as_deref(), below)?;
    let seat = Seat::inside(cluster, &pod, &container).await.ok()?;
    Some(seat.agent.ask(Stat { paths: vec![path], hash: false }, None).await.ok()?.volume)
}

async fn word(server: &dyn Database, sql: &str) -> Option<String> {
    server.query(sql).await.ok()?.first()?.first()?.as_str().map(str::to_owned)
}

/// The container that has the data directory, and the path to look at.
fn place(pod: &Pod, known: Option<&str>, below: &str) -> Option<(String, String)> {
    let containers = &pod.spec.as_ref()?.containers;
    let having = |has: &dyn Fn(&Mount) -> bool| {
        let all = containers.iter().find(|container| mounts(pod, Some(&container.name)).iter().any(has));
        all.map(|container| container.name.clone())
    };
    match (known, mounts(pod, None).as_slice()) {
        (Some(folder), _) => {
            let container =
                having(&|mount| mount.to_volume(folder).is_some()).or_else(|| Some(containers.first()?.name.clone()))?;
            Some((container, format!("{folder}{below}")))
        }
        (None, [only]) => Some((having(&|mount| mount == only)?, only.path.clone())),
        (None, _) => None,
    }
}
