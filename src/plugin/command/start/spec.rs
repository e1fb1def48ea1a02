//! What was decided before a move begins; part of its record. No secret goes in.

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};
use crate::replication::Decoding;

/// What the steps are built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    /// Name of the Job, its volume and its ConfigMap.
    pub(super) name: String,
    /// Where the source's URI is.
    pub(super) source: String,
    /// Where the target's URI is.
    pub(super) target: String,
    /// Image with pgcopydb.
    pub(super) image: String,
    /// Size of the volume.
    pub(super) volume_size: String,
    /// Its storage class; `None`: the cluster's default.
    pub(super) storage_class: Option<String>,
    /// Tables and indexes at the same time.
    pub(super) jobs: u16,
    /// How changes are decoded on the source.
    pub(super) decoding: Decoding,
    /// Source and target, without their passwords.
    pub(super) shown: (String, String),
}

impl Spec {
    /// From a record.
    ///
    /// # Errors
    /// The record comes from another version.
    pub(super) fn read(value: &serde_json::Value) -> Result<Self> {
        serde_json::from_value(value.clone()).map_err(|error| {
            Failure::failed(format!("the operation's record can't be read by this version of kubectl-dbmig: {error}"))
        })
    }
}
