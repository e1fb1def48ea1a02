//! What a vacuum was asked to do and what was seen before it began: all that its steps are built from, on any machine.

use serde::{Deserialize, Serialize};

use super::evidence::Migrator;
use super::space::{KeepOld, Place};
use crate::cluster::claim::Growth;
use crate::cluster::helper::Helper;
use crate::cluster::volume::{Mount, Source};
use crate::cluster::workload::Workload;

/// What the user asked for, beyond the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wishes {
    /// Rules of the user's own.
    pub keep: Vec<Keep>,
    /// Keeping no row of a table is meant.
    pub allow_empty: bool,
    /// A profile by name, `none`, or whatever is recognised.
    pub profile: Option<String>,
    /// Clear a framework's dirty flag where that is proven right.
    pub repair: bool,
    /// Build the new file there instead of beside the old one.
    pub scratch: Option<Place>,
    /// Where the old file goes.
    pub keep_old: Option<KeepOld>,
    /// `integrity_check` of the whole old file.
    pub full_check: bool,
    /// Seconds to wait for the application to get Ready.
    pub timeout_seconds: u64,
}

/// `--keep 'TABLE: SQL condition'`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Keep {
    /// Table.
    pub table: String,
    /// SQL expression over its columns.
    pub condition: String,
}

/// A vacuum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    /// What the user asked for.
    pub wishes: Wishes,
    /// Pod that was named or found.
    pub pod: String,
    /// Its container that mounts the database's volume.
    pub container: String,
    /// What is stopped and started.
    pub workload: Workload,
    /// Replicas it had.
    pub replicas: i32,
    /// The volume, as the container mounts it.
    pub mount: Mount,
    /// Path of the database within the volume.
    pub inside: String,
    /// Path of the database as the application sees it.
    pub shown: String,
    /// The helper pod.
    pub helper: Helper,
    /// Architecture of its node.
    pub arch: String,
    /// Whether the volume can be made larger, as far as that is known.
    pub growth: Option<Growth>,
    /// Whose image has the migration files.
    pub migrator: Option<Migrator>,
}

impl Spec {
    /// Path of the database where the agent is.
    #[must_use]
    pub(super) fn database(&self) -> String {
        Helper::path(&self.mount.volume, &self.inside)
    }

    /// The volume as kubectl names it: `persistentvolumeclaim/data-upmeter-0`.
    #[must_use]
    pub(super) fn volume_name(&self) -> String {
        match &self.mount.source {
            Source::Claim(name) => format!("persistentvolumeclaim/{name}"),
            Source::HostPath(path) => format!("hostPath {path}"),
            Source::WithPod(kind) => kind.clone(),
        }
    }

    /// Path, where the agent is, of a file of this operation beside the database.
    #[must_use]
    pub(super) fn beside(&self, what: &str) -> String {
        let database = self.database();
        let (folder, name) = database.rsplit_once('/').unwrap_or(("", &database));
        format!("{folder}/.{name}.dbmig-{}.{what}", self.helper.operation)
    }
}
