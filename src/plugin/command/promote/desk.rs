//! What the steps of a promotion share: the old primary and the new one, reached in their own pods whenever they are needed.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::package::Package;
use super::spec::{Server, Spec};
use crate::cluster::Cluster;
use crate::cluster::error::{Context as _, found};
use crate::cluster::helper::{Helper, is_helper};
use crate::cluster::pods::{Verdict, Wait};
use crate::cluster::seat::Seat;
use crate::cluster::target::Target;
use crate::cluster::volume::{Mount, Source, is_finished, mounts_source, users, uses};
use crate::database::find::own_server;
use crate::database::postgres::Postgres;
use crate::database::{Database as _, Limits};
use crate::failure::{Failure, Result};
use crate::plan::Run;
use crate::replication::{connect, receiver};

/// Longest time that counting the rows of one table may take.
const COUNTING: Duration = Duration::from_secs(600);

/// What the steps share.
pub(in crate::command) struct Desk {
    pub(super) spec: Spec,
    /// What may be given up when the operation is taken back.
    pub(super) accept_data_loss: bool,
    /// The chart and its values, in the process that looked.
    pub(super) package: Option<Package>,
    primary: Mutex<Option<Arc<Postgres>>>,
}

impl Desk {
    /// For a spec; `primary` is the connection that the look has opened.
    pub(super) fn new(spec: Spec, accept_data_loss: bool, package: Option<Package>, primary: Option<Arc<Postgres>>) -> Self {
        Self { spec, accept_data_loss, package, primary: Mutex::new(primary) }
    }

    /// The old primary, as it was opened before if it still answers; else opened again.
    pub(in crate::command) async fn primary(&self, cluster: &Cluster) -> Result<Arc<Postgres>> {
        let mut open = self.primary.lock().await;
        if let Some(open) = open.as_ref()
            && open.query("SELECT 1").await.is_ok()
        {
            return Ok(open.clone());
        }
        let new = Arc::new(reach(cluster, &self.spec.primary).await?);
        Ok(open.insert(new).clone())
    }

    /// The server of the replica, while its pod is there.
    pub(super) async fn replica(&self, cluster: &Cluster) -> Result<Postgres> {
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let pod = pods.get(&self.spec.pod).await.doing(format!("read pod/{}", self.spec.pod))?;
        within(cluster, &pod, &self.spec.container).await
    }

    /// The server of the new release.
    pub(in crate::command) async fn new_primary(&self, cluster: &Cluster) -> Result<Postgres> {
        reach(cluster, &self.spec.server).await
    }

    /// The pod of the replica is there.
    pub(super) async fn has_replica(&self, run: &Run) -> Result<bool> {
        let pods: Api<Pod> = Api::namespaced(run.cluster.client.clone(), &run.namespace);
        Ok(found(pods.get_metadata(&self.spec.pod).await).doing(format!("read pod/{}", self.spec.pod))?.is_some())
    }

    /// The replica was let go.
    pub(super) async fn is_detached(&self, run: &Run) -> Result<bool> {
        let replicas = self.spec.set.replicas(&run.cluster, &run.namespace).await?;
        Ok(replicas < self.spec.replicas && !self.has_replica(run).await?)
    }

    /// Waits until no pod mounts a claim.
    pub(super) async fn unused(&self, run: &Run, claim: &str) -> Result<()> {
        let what = format!("every pod that mounts persistentvolumeclaim/{claim} to go");
        let wait = Wait { namespace: &run.namespace, fields: "", limit: self.spec.timeout(), what: &what };
        let source = Source::Claim(claim.to_owned());
        let mounts = |pod: &&Pod| mounts_source(pod, &source) && !is_finished(pod);
        let gone = wait.until(&run.cluster, &run.stop, |pods| {
            let left: Vec<String> = pods.iter().filter(mounts).filter_map(|pod| pod.metadata.name.clone()).collect();
            if left.is_empty() { Verdict::Met(()) } else { Verdict::Waiting(format!("still there: {}", left.join(", "))) }
        });
        gone.await
    }

    /// Refuses to go on while any pod but our own mounts a claim: two servers on one data directory destroy it.
    ///
    /// # Errors
    /// There is one; everything is taken back.
    pub(super) async fn refuse_used(&self, run: &Run, claim: &str) -> Result<()> {
        let source = Source::Claim(claim.to_owned());
        let all = users(&run.cluster, &run.namespace, &source).await?;
        let others = all.iter().filter(|pod| !is_helper(pod) && uses(pod, &source));
        let names: Vec<String> = others.filter_map(|pod| pod.metadata.name.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(Failure::failed(format!("pod/{} mounts persistentvolumeclaim/{claim}", names.join(", pod/")))
            .fact(format!("somebody has started it since {} was scaled down", self.spec.set))
            .take_back())
    }

    /// Our binary in a pod of its own that mounts the new claim.
    pub(super) async fn helper(&self, run: &Run) -> Result<Seat> {
        let mounts: Vec<Mount> = self.spec.helper.volumes.iter().map(|(volume, source)| mount(volume, source)).collect();
        Seat::in_helper_pod(&run.cluster, &run.stop, self.spec.helper.clone(), &mounts).await
    }

    /// Path of the data directory in that pod.
    pub(super) fn data(&self) -> String {
        let volume = self.spec.helper.volumes.keys().next().map(String::as_str).unwrap_or_default();
        Helper::path(volume, &self.spec.data)
    }

    /// Removes that pod and waits until it is gone.
    pub(super) async fn remove_helper(&self, run: &Run) -> Result<()> {
        self.spec.helper.remove(&run.cluster, &run.stop).await
    }

    /// Waits until the replica's pod receives what the primary writes.
    pub(super) async fn streams(&self, run: &Run) -> Result<()> {
        let until = Instant::now() + self.spec.timeout();
        loop {
            let seen = match self.replica(&run.cluster).await {
                Ok(replica) => receiver(&replica).await.map(|seen| seen.and_then(|seen| seen.status).unwrap_or_default()),
                Err(failure) => Err(failure),
            };
            let waiting = match seen {
                Ok(status) if status == "streaming" => return Ok(()),
                Ok(status) if status.is_empty() => "it receives nothing".to_owned(),
                Ok(status) => format!("its receiver is {status}"),
                Err(failure) => failure.message,
            };
            run.stop.pause(until, &format!("pod/{} does not stream from the primary: {waiting}", self.spec.pod)).await?;
        }
    }
}

/// A server in a pod of a workload.
pub(super) async fn reach(cluster: &Cluster, server: &Server) -> Result<Postgres> {
    log_in(&seat(cluster, server).await?).await
}

/// Our binary in the container of a server.
pub(super) async fn seat(cluster: &Cluster, server: &Server) -> Result<Seat> {
    let target = Target::resolve(cluster, &server.target, server.container.as_deref()).await?;
    Seat::inside(cluster, &target.pod, &target.container).await
}

/// The server in a container of a pod, with the login that the container itself has.
pub(super) async fn within(cluster: &Cluster, pod: &Pod, container: &str) -> Result<Postgres> {
    log_in(&Seat::inside(cluster, pod, container).await?).await
}

/// The server in the container where our binary is, with the login that the container itself has.
pub(super) async fn log_in(seat: &Seat) -> Result<Postgres> {
    let found = own_server(seat).await?;
    connect(seat, &found, Limits { statement: COUNTING, ..Limits::default() }).await
}

/// Path of a server's data directory, as its container sees it.
pub(super) async fn data_directory(server: &Postgres) -> Result<String> {
    let rows = server.query("SELECT current_setting('data_directory')").await?;
    let path = rows.first().and_then(|row| row.first()).and_then(|path| path.as_str());
    path.map(str::to_owned).ok_or_else(|| Failure::failed("the server does not say where its data directory is"))
}

fn mount(volume: &str, source: &Source) -> Mount {
    Mount { volume: volume.to_owned(), source: source.clone(), path: String::new(), sub_path: String::new() }
}
