//! What was decided before a cut-over begins; part of its record. No secret goes in.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

use crate::cluster::setting::Setting;
use crate::cluster::workload::Workload;
use crate::replication::Verify;

/// What the steps are built from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    /// What the user named.
    pub(super) target: String,
    /// Container that runs pgcopydb.
    pub(super) container: String,
    /// Its pod, as far as a pod like it can be made of that when it is gone; nothing where a secret would be in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pod: Option<Pod>,
    /// Working directory of pgcopydb, where it was named.
    pub(super) dir: Option<String>,
    /// Replication slot on the source.
    pub(super) slot: String,
    /// Replication origin on the target.
    pub(super) origin: String,
    /// The source, without its password.
    pub(super) source: String,
    /// The target, without its password.
    pub(super) to: String,
    /// SQL that takes the writers' rights; empty where only scaling stops them.
    pub(super) script: String,
    /// Where the SQL comes from, in words.
    pub(super) script_from: String,
    /// Scaled down meanwhile.
    pub(super) scaled: Vec<Scaled>,
    /// How much is compared.
    pub(super) verify: Verify,
    /// Seconds that writes may be refused before the switch.
    pub(super) max_downtime: u64,
    /// Seconds that a restart may take.
    pub(super) timeout: u64,
    /// Restarted at the end.
    pub(super) restart: Vec<Workload>,
    /// A Service that is pointed elsewhere.
    pub(super) service: Option<Service>,
    /// Settings that get the value of others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) settings: Vec<Setting>,
}

/// A workload that is scaled down while the cut-over lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Scaled {
    /// The workload.
    pub(super) workload: Workload,
    /// Replicas that it had.
    pub(super) replicas: i32,
}

/// A Service that is pointed elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    /// Its name.
    pub(super) name: String,
    /// The Service whose pods it gets, in words.
    pub(super) to: String,
    /// Where it points before.
    pub(super) before: serde_json::Value,
    /// Where it points after.
    pub(super) after: serde_json::Value,
}

impl Spec {
    /// How long writes may be refused before the switch.
    pub(super) fn max_downtime(&self) -> Duration {
        Duration::from_secs(self.max_downtime)
    }

    /// How long a restart may take.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The application is switched by this operation, and not by somebody afterwards.
    pub(super) fn switches(&self) -> bool {
        !self.restart.is_empty() || self.service.is_some() || !self.settings.is_empty()
    }
}
