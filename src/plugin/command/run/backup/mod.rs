//! The backup before a migration: which one it is, made and proven before anything is migrated, and kept.

mod decide;
mod place;
mod restore;
mod step;

use serde::{Deserialize, Serialize};

pub(super) use self::decide::decide;
pub(super) use self::step::{BackUp, Prepare};
use crate::cluster::helper::Helper;
use crate::cluster::volume::Mount;

/// Name in the memory of the backup that was made.
const MADE: &str = "backup";

/// A backup, as it was decided on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Backup {
    /// Name of the claim or snapshot; and of the pod or Job that fills a claim.
    name: String,
    /// Class of the claim or snapshot.
    class: Option<String>,
    /// The database, without its password.
    of: String,
    how: How,
}

/// How it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum How {
    /// By the server's own tool, in a pod like the one that migrates, with this image.
    Dump { image: String, size: String },
    /// By SQLite, from the path that this helper sees.
    Copy { helper: Box<Helper>, mount: Mount, inside: String, size: String },
    /// By the driver of this claim's volume.
    Snapshot { claim: String },
}

impl Backup {
    /// What is made: `persistentvolumeclaim/NAME`.
    fn object(&self) -> String {
        match self.how {
            How::Snapshot { .. } => format!("volumesnapshot/{}", self.name),
            How::Dump { .. } | How::Copy { .. } => format!("persistentvolumeclaim/{}", self.name),
        }
    }

    /// A pod or Job of ours fills a claim of ours.
    pub(super) fn fills_a_claim(&self) -> bool {
        !matches!(self.how, How::Snapshot { .. })
    }

    /// In words, for the plan.
    pub(super) fn in_words(&self) -> String {
        let object = self.object();
        match &self.how {
            How::Dump { image, size } => format!("the server's own tool of image {image}, to {object} ({size})"),
            How::Copy { size, .. } => format!("a copy by SQLite, to {object} ({size})"),
            How::Snapshot { claim } => {
                format!("{object} of persistentvolumeclaim/{claim}, of class {}", self.class.as_deref().unwrap_or_default())
            }
        }
    }
}

/// A backup that is proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    /// Where it is: `persistentvolumeclaim/dbmig-run-x7k2pq-backup`.
    object: String,
    /// The file on the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<dbmig_wire::Proof>,
    /// Its name there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The database.
    of: String,
    /// How to get it back, a command a line.
    restore: Vec<String>,
}

impl Made {
    /// What it is and where, in a line.
    fn in_words(&self) -> String {
        let Self { object, of, .. } = self;
        match (&self.file, &self.name) {
            (Some(proof), Some(name)) => {
                format!("{object} has {name}, of {of}: {} bytes, SHA-256 {}", proof.bytes, proof.sha256)
            }
            _ => format!("{object} is ready, of {of}"),
        }
    }

    /// Everything, for whoever reads how the operation ended.
    fn lines(&self) -> Vec<String> {
        let head = [format!("backup: {}", self.in_words()), "to get it back:".to_owned()];
        head.into_iter().chain(self.restore.iter().map(|line| format!("  {line}"))).collect()
    }
}
