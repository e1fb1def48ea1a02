//! What was decided before traffic is led elsewhere; part of its record. No secret goes in.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::helm::Chart;
use crate::cluster::service::Probe;

/// What the steps are built from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    /// The release that traffic is led to.
    pub(super) to: String,
    /// The release that serves before, where it is known.
    pub(super) from: Option<String>,
    /// What is switched.
    pub(super) what: What,
    /// Namespace of what is switched.
    pub(super) namespace: String,
    /// Services of the new release that must have ready addresses: those whose namesakes in the old one have some.
    pub(super) services: Vec<String>,
    /// What must answer before the switch.
    pub(super) before: Vec<Probe>,
    /// What must answer after it.
    pub(super) after: Vec<Probe>,
    /// How often in a row.
    pub(super) count: u32,
    /// Seconds until everything must answer after the switch.
    pub(super) timeout: u64,
    /// The operation that made the new release, where it was one of ours.
    pub(super) promotion: Option<String>,
    /// What the old primary has written may be out of use.
    pub(super) accept_divergence: bool,
}

/// What is switched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum What {
    /// A value of the release that routes.
    Release {
        /// Its name.
        name: String,
        /// Its chart.
        chart: Chart,
        /// Helm on the computer where this began.
        helm: String,
        /// The value.
        path: String,
        /// Its revision before.
        revision: u64,
    },
    /// The selector of a Service.
    Service {
        /// Its name.
        name: String,
        /// The Service whose pods it gets.
        like: String,
        /// Where it points before.
        before: Value,
        /// Where it points after.
        after: Value,
    },
    /// The backends of an Ingress.
    Ingress {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
        /// `rules` and `defaultBackend` before.
        before: Value,
        /// The same after.
        after: Value,
    },
}

impl Spec {
    /// How long the switch may take.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

impl What {
    /// As kubectl would name it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Release { name, .. } => format!("release/{name}"),
            Self::Service { name, .. } => format!("service/{name}"),
            Self::Ingress { name, .. } => format!("ingress/{name}"),
        }
    }

    /// What is done to it.
    pub(super) fn in_words(&self, to: &str) -> String {
        match self {
            Self::Release { name, path, revision, .. } => {
                format!("upgrade release {name} (revision {revision}) with {path}={to}")
            }
            Self::Service { name, like, .. } => format!("point service/{name} to the pods of service/{like}"),
            Self::Ingress { name, .. } => format!("point the backends of ingress/{name} to the Services of release {to}"),
        }
    }
}
