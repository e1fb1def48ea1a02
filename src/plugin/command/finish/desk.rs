//! What the steps of a cut-over share: both servers, reached again where the way to them is gone, pgcopydb, and the clock.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::Mutex;

use super::spec::Spec;
use crate::cluster::Cluster;
use crate::cluster::helper::WORK;
use crate::cluster::kind::TargetRef;
use crate::cluster::pods::statuses;
use crate::cluster::seat::Seat;
use crate::cluster::target::Target;
use crate::cluster::twin::Twin;
use crate::database::find::{self, Found};
use crate::database::postgres::Postgres;
use crate::database::url::{Engine, Location};
use crate::database::{Database as _, Limits};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::Run;
use crate::replication::Copier;
use crate::shutdown::Stop;

/// Name in the memory of the moment from which on writes are refused.
pub(super) const FROZEN: &str = "frozen";
/// Longest time that one comparison of a table may take.
const COMPARISON: Duration = Duration::from_secs(3600);

/// The pod that runs pgcopydb, a twin of it, and both servers as seen from there.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) source: Arc<Postgres>,
    pub(super) target: Arc<Postgres>,
    seat: Arc<Seat>,
    twin: Twin,
    locations: (Found, Found),
}

impl Open {
    /// Reaches both servers from a twin of the pod, since the pod itself ends before everything is proven.
    pub(super) async fn new(cluster: &Cluster, stop: &Stop, target: &Target, id: &str) -> Result<Self> {
        let twin = Twin::of(&target.pod, &target.container, id);
        let pod = twin.ensure(cluster, stop).await?;
        let opened = Self::within(cluster, twin.clone(), &pod).await;
        if opened.is_err() {
            twin.delete(cluster).await?;
        }
        opened
    }

    async fn within(cluster: &Cluster, twin: Twin, pod: &Pod) -> Result<Self> {
        let seat = Seat::within(cluster, pod, twin.container(), WORK).await?;
        let source = find::variable(&seat, "PGCOPYDB_SOURCE_PGURI").await?;
        let target = find::variable(&seat, "PGCOPYDB_TARGET_PGURI").await?;
        let (from, to) =
            futures::try_join!(connect(&seat, &source, Limits::default()), connect(&seat, &target, Limits::default()))?;
        let locations = (source, target);
        Ok(Self { source: Arc::new(from), target: Arc::new(to), seat: Arc::new(seat), twin, locations })
    }

    /// Two more connections, which may take their time for each answer.
    pub(super) async fn patient(&self) -> Result<(Postgres, Postgres)> {
        let limits = Limits { statement: COMPARISON, ..Limits::default() };
        futures::try_join!(connect(&self.seat, &self.locations.0, limits), connect(&self.seat, &self.locations.1, limits))
    }

    /// Both servers, without their passwords.
    pub(super) fn shown(&self) -> (String, String) {
        (self.locations.0.location.to_string(), self.locations.1.location.to_string())
    }

    /// Where our binary is.
    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Removes the twin.
    pub(super) async fn leave(&self, cluster: &Cluster) -> Result<()> {
        self.twin.delete(cluster).await
    }

    async fn answers(&self) -> bool {
        let (source, target) = tokio::join!(self.source.query("SELECT 1"), self.target.query("SELECT 1"));
        source.is_ok() && target.is_ok()
    }
}

async fn connect(seat: &Seat, found: &Found, limits: Limits) -> Result<Postgres> {
    match &found.location {
        Location::Server(server) if server.engine == Engine::Postgres => {
            Postgres::connect(&seat.agent, server, limits).await.map_err(Failure::from)
        }
        other => Err(Failure::refused(format!("{} is no PostgreSQL server: {other}", found.from)).state("nothing was changed")),
    }
}

/// What the steps share.
pub(in crate::command) struct Desk {
    pub(super) spec: Spec,
    /// What may be given up when the operation is taken back.
    pub(super) accept_data_loss: bool,
    open: Mutex<Option<Open>>,
}

impl Desk {
    /// For a spec; `open` is what the look has opened.
    pub(super) fn new(spec: Spec, accept_data_loss: bool, open: Option<Open>) -> Self {
        Self { spec, accept_data_loss, open: Mutex::new(open) }
    }

    /// Both servers as they were opened before, if they still answer; else opened again.
    pub(super) async fn open(&self, run: &Run) -> Result<Open> {
        let mut open = self.open.lock().await;
        if let Some(open) = open.as_ref()
            && open.answers().await
        {
            return Ok(open.clone());
        }
        let new = Open::new(&run.cluster, &run.stop, &self.target(&run.cluster).await?, &run.id).await?;
        let (source, target) = new.shown();
        if (source.as_str(), target.as_str()) != (self.spec.source.as_str(), self.spec.to.as_str()) {
            return Err(Failure::failed("the Job's source or target is not what it was when this operation began")
                .fact(format!("then: {} and {}", self.spec.source, self.spec.to))
                .fact(format!("now: {source} and {target}")));
        }
        Ok(open.insert(new).clone())
    }

    /// The pod that runs pgcopydb, or ran it.
    pub(super) async fn target(&self, cluster: &Cluster) -> Result<Target> {
        Target::resolve(cluster, &TargetRef::parse(&[&self.spec.target])?, Some(&self.spec.container)).await
    }

    /// How the container that runs pgcopydb ended; `None` while it runs.
    pub(super) async fn ended(&self, cluster: &Cluster) -> Result<Option<i32>> {
        Ok(exit_code(&self.target(cluster).await?))
    }

    /// The pgcopydb of the Job.
    pub(super) async fn copier(&self, cluster: &Cluster) -> Result<Copier> {
        Ok(copier(&self.target(cluster).await?, self.spec.dir.clone()))
    }

    /// Time left until writes have been refused for too long.
    ///
    /// # Errors
    /// There is none: everything is taken back.
    pub(super) fn left(&self, run: &Run) -> Result<Duration> {
        let Some(since) = run.memory.recall::<Timestamp>(FROZEN)? else { return Ok(self.spec.max_downtime()) };
        let gone = Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default();
        self.spec.max_downtime().checked_sub(gone).filter(|left| !left.is_zero()).ok_or_else(|| {
            let limit = self.spec.max_downtime;
            Failure::new(Exit::TimedOut, format!("writes have been refused for more than {limit} s (--max-downtime)")).take_back()
        })
    }

    /// Removes the twin, if there is one.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(in crate::command) async fn leave(&self, cluster: &Cluster) -> Result<()> {
        match self.open.lock().await.take() {
            Some(open) => open.leave(cluster).await,
            None => Ok(()),
        }
    }
}

/// The pgcopydb of a pod.
pub(super) fn copier(target: &Target, dir: Option<String>) -> Copier {
    let (namespace, pod, container) = (target.namespace.clone(), target.pod_name(), target.container.clone());
    Copier { namespace, pod, container, dir }
}

/// The exit code of the container that counts, once it has ended.
pub(super) fn exit_code(target: &Target) -> Option<i32> {
    let status = statuses(&target.pod).find(|status| status.name == target.container)?;
    status.state.as_ref()?.terminated.as_ref().map(|ended| ended.exit_code)
}
