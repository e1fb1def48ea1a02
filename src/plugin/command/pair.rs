//! The two servers that a database is moved between, reached with the network and the credentials of the pod that copies.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::cluster::Cluster;
use crate::cluster::helper::WORK;
use crate::cluster::seat::Seat;
use crate::cluster::twin::Twin;
use crate::database::find::{self, Found};
use crate::database::postgres::Postgres;
use crate::database::{Database as _, Limits};
use crate::failure::Result;
use crate::replication::{SOURCE, TARGET, connect};
use crate::shutdown::Stop;

/// Longest time that one comparison of a table may take.
const COMPARISON: Duration = Duration::from_secs(3600);

/// A pod like the one that runs pgcopydb, and both servers as seen from there.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) source: Arc<Postgres>,
    pub(super) target: Arc<Postgres>,
    seat: Arc<Seat>,
    twin: Twin,
    locations: (Found, Found),
}

impl Pair {
    /// Reaches both servers from a twin of the pod, since the pod itself ends before everything is proven.
    pub(super) async fn reach(cluster: &Cluster, stop: &Stop, pod: &Pod, container: &str, id: &str) -> Result<Self> {
        let twin = Twin::of(pod, container, id);
        let pod = twin.ensure(cluster, stop).await?;
        let opened = Self::within(cluster, twin.clone(), &pod).await;
        if opened.is_err() {
            twin.delete(cluster).await?;
        }
        opened
    }

    async fn within(cluster: &Cluster, twin: Twin, pod: &Pod) -> Result<Self> {
        let seat = Seat::within(cluster, pod, twin.container(), WORK).await?;
        let source = find::variable(&seat, SOURCE).await?;
        let target = find::variable(&seat, TARGET).await?;
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

    /// Where the source's data is, whoever logs in.
    pub(super) fn source_place(&self) -> String {
        self.locations.0.location.place()
    }

    /// Where our binary is.
    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Removes the twin.
    pub(super) async fn leave(&self, cluster: &Cluster) -> Result<()> {
        self.twin.delete(cluster).await
    }

    /// Both still answer.
    pub(super) async fn answers(&self) -> bool {
        let (source, target) = tokio::join!(self.source.query("SELECT 1"), self.target.query("SELECT 1"));
        source.is_ok() && target.is_ok()
    }
}
