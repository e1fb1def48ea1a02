//! The rights that a promotion uses; `plugin-manifest/promote.yaml` grants the same ones. What helm needs, the chart says.

use super::Args;
use crate::cli::promote::CopyWish;
use crate::cluster::access::Need;
use crate::command::vacuum::needs::Rule;

/// Name of the Role that is proposed when rights are missing.
pub(super) const ROLE: &str = "dbmig-promote";

const LOOK: &[Rule] = &[
    ("", "pods", &["get", "list", "watch", "create", "delete"]),
    ("", "pods/exec", &["get", "create"]),
    ("", "services", &["get"]),
    ("", "persistentvolumeclaims", &["get", "list"]),
    ("", "secrets", &["get", "list"]),
    ("apps", "statefulsets", &["get"]),
];
const CHANGE: &[Rule] = &[
    ("", "configmaps", &["get", "list", "create", "update"]),
    ("", "persistentvolumeclaims", &["get", "list", "create", "delete"]),
    ("", "secrets", &["get", "list", "create", "delete"]),
    ("apps", "statefulsets", &["get", "list", "watch"]),
    ("apps", "statefulsets/scale", &["patch"]),
    ("apps", "deployments", &["get", "list", "watch"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update", "delete"]),
];

/// Those of the look, and those of the work unless it is only to be shown.
pub(super) fn of(namespace: &str, args: &Args) -> Vec<Need> {
    let mut needs = Need::each(namespace, LOOK.iter().copied());
    needs.push(Need::cluster_wide("", "persistentvolumes", "get"));
    if !args.dry_run {
        needs.extend(Need::each(namespace, CHANGE.iter().copied()));
        if args.copy != CopyWish::Clone {
            needs.push(Need::cluster_wide("", "persistentvolumes", "patch"));
        }
    }
    if args.copy == CopyWish::VolumeSnapshot {
        needs.extend(Need::all(namespace, "snapshot.storage.k8s.io", "volumesnapshots", &["get", "create", "delete"]));
    }
    needs
}
