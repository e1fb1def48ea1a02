//! What was decided before a move begins; part of its record. No secret goes in.

use serde::{Deserialize, Serialize};

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
