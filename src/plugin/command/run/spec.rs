//! What a run was decided to do: all that its steps are built from, on any machine. The Job itself is not in it: its variables may
//! hold what is secret.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backup::Backup;
use super::offline::Offline;
use crate::cluster::job::{Origin, Variable};
use crate::command::repair::Which;

/// A migration to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    /// What the Job is made from.
    pub(super) origin: Origin,
    /// Name of the Job.
    pub(super) job: String,
    /// The container that migrates.
    pub(super) container: String,
    /// Another image for it.
    pub(super) image: Option<String>,
    /// Another command for it; empty for its own.
    pub(super) command: Vec<String>,
    /// How limits on locks and statements are told to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) limits: Option<Variable>,
    /// The backup that is made first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) backup: Option<Backup>,
    /// How often it is tried again after a try that failed.
    #[serde(default)]
    pub(super) tries_again: i32,
    /// Which way it goes.
    #[serde(default)]
    pub(super) way: Way,
    /// Of the migrations that are taken back those that have no way back, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) stuck: Vec<String>,
    /// Where the books are that tell what came of it; `None` when the look did not get at them.
    pub(super) books: Option<Books>,
    /// Image of the helper pod, where one is needed.
    pub(super) helper_image: String,
    /// What is stopped around it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) offline: Option<Offline>,
    /// The user insisted.
    pub(super) force: bool,
    /// Seconds that a pod may take to start or to stop.
    pub(super) patience_seconds: u64,
}

/// Which way a migration goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Way {
    /// Migrations are applied.
    #[default]
    Up,
    /// These are taken back, the newest first; `None` where the books did not tell which.
    Down(Option<Vec<String>>),
}

/// A database, found again on any machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Books {
    /// How it is found again.
    pub(super) which: Which,
    /// The database, as the application knows it, without its password.
    pub(super) location: String,
}

impl Spec {
    /// How long a pod may take to start or to stop.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience_seconds)
    }
}
