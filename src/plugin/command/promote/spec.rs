//! What was decided before a promotion begins; part of its record. No secret goes in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cluster::helm::Chart;
use crate::cluster::helper::Helper;
use crate::cluster::kind::TargetRef;
use crate::cluster::rebind::Bound;
use crate::cluster::workload::Workload;
use crate::replication::Standing;

/// What the steps are built from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Spec {
    /// StatefulSet of the replicas.
    pub(super) set: Workload,
    /// Replicas that it has.
    pub(super) replicas: i32,
    /// The replica that is let go, or whose volume is copied: the one with the highest number.
    pub(super) pod: String,
    /// Its container with PostgreSQL.
    pub(super) container: String,
    /// What the primary is, and its container.
    pub(in crate::command) primary: Server,
    /// The old release, where it is one.
    pub(in crate::command) current: Option<String>,
    /// The replica's claim and its volume.
    pub(super) bound: Bound,
    /// How the new claim gets its data.
    pub(super) copy: Copy,
    /// The claim that the new release mounts.
    pub(in crate::command) claim: String,
    /// A pod that mounts it while nobody else does.
    pub(super) helper: Helper,
    /// The data directory within the volume.
    pub(super) data: String,
    /// The new release.
    pub(in crate::command) release: String,
    /// Its chart, as it was named.
    pub(super) chart: Chart,
    /// Helm on the computer where this began.
    pub(super) helm: String,
    /// The value that says which claim is mounted.
    pub(super) claim_value: String,
    /// What of the new release mounts the claim.
    pub(in crate::command) server: Server,
    /// All that runs in the new release.
    pub(in crate::command) workloads: Vec<TargetRef>,
    /// What the replica was.
    pub(in crate::command) replica: Standing,
    /// Replication slot that keeps log for the replica on the primary.
    pub(super) slot: Option<String>,
    /// Seconds for the release to become ready, and for each other step.
    pub(super) timeout: u64,
    /// SQL that takes the writers' rights; empty where nobody is stopped.
    pub(super) script: String,
    /// Where it comes from, in words.
    pub(super) script_from: String,
}

/// A workload with a PostgreSQL server in each of its pods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Server {
    /// The workload, or a pod of its own.
    pub(in crate::command) target: TargetRef,
    /// The container; the pod's default one when `None`.
    pub(in crate::command) container: Option<String>,
}

/// How the new claim gets its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Copy {
    /// It takes the replica's own volume over.
    None,
    /// The CSI driver clones the replica's claim.
    Clone,
    /// From a VolumeSnapshot of the replica's claim, of this class.
    Snapshot(String),
}

impl Copy {
    /// The replica stays as it is.
    pub(super) fn leaves_replica(&self) -> bool {
        *self != Self::None
    }
}

impl Spec {
    /// How long a step may take.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// Writers are kept out until traffic is led to the new release.
    pub(super) fn freezes(&self) -> bool {
        !self.script.is_empty()
    }
}
