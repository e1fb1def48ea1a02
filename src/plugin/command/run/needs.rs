//! The rights that a run uses; `plugin-manifest/run.yaml` grants the same ones.

use super::asked::Asked;
use crate::cli::backup::Method;
use crate::cluster::access::Need;
use crate::cluster::job::Origin;
use crate::cluster::kind::Kind;
use crate::cluster::snapshot::GROUP;
use crate::command::vacuum::needs::Rule;

/// Name of the Role that a user is given.
pub(super) const ROLE: &str = "kubectl-dbmig-run";

const ALWAYS: &[Rule] = &[
    ("batch", "jobs", &["get", "list", "watch", "create", "patch", "delete"]),
    ("", "pods", &["get", "list", "watch"]),
    ("", "pods/log", &["get"]),
];
/// To write an operation down.
const RECORD: &[Rule] = &[
    ("", "configmaps", &["get", "list", "create", "update"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update", "delete"]),
];

/// To stop what uses the database, and to start it again with another image.
const OFFLINE: &[Rule] = &[
    ("apps", "deployments", &["get", "list", "patch"]),
    ("apps", "statefulsets", &["get", "list", "patch"]),
    ("apps", "replicasets", &["get", "list", "patch"]),
    ("apps", "daemonsets", &["list"]),
    ("apps", "deployments/scale", &["patch"]),
    ("apps", "statefulsets/scale", &["patch"]),
    ("apps", "replicasets/scale", &["patch"]),
    ("batch", "cronjobs", &["get", "list", "patch"]),
];

/// To fill a claim with a backup.
const TO_CLAIM: &[Rule] = &[
    ("", "persistentvolumeclaims", &["get", "create", "delete"]),
    ("", "pods", &["create", "delete"]),
    ("", "pods/exec", &["get", "create"]),
];
/// To have a claim snapshotted.
const SNAPSHOT: &[Rule] =
    &[(GROUP, "volumesnapshots", &["get", "list", "watch", "create", "delete"]), ("", "persistentvolumeclaims", &["get"])];

/// To read Helm's releases; `plugin-manifest/run-helm.yaml` grants it.
const RELEASES: Rule = ("", "secrets", &["get", "list"]);

/// The rights for a Job out of this. What only the way to the database needs is not asked for: without it, the exit code has to do.
pub(super) fn of(namespace: &str, origin: &Origin, asked: &Asked) -> Vec<Need> {
    let dry_run = asked.job.dry_run;
    let mut rules = ALWAYS.to_vec();
    if dry_run {
        rules.clear();
    } else {
        rules.extend(RECORD);
    }
    if asked.offline && !dry_run {
        rules.extend(OFFLINE);
    }
    rules.extend(match asked.job.backup.backup {
        _ if dry_run => &[],
        Method::None => &[][..],
        Method::Dump | Method::Pvc => TO_CLAIM,
        Method::VolumeSnapshot => SNAPSHOT,
    });
    rules.extend(match origin {
        Origin::File { .. } => None,
        Origin::Object(object) => Some(reading(object.kind)),
        Origin::Hook(_) => Some(RELEASES),
    });
    Need::each(namespace, rules)
}

fn reading(kind: Kind) -> Rule {
    (kind.group(), kind.plural(), &["get"])
}
