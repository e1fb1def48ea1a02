//! The rights that a repair uses; `plugin-manifest/repair.yaml` grants the same ones.

use crate::cluster::access::Need;
use crate::cluster::kind::Kind;
use crate::command::vacuum::needs::{Rule, reading};

/// Name of the Role that is proposed when rights are missing.
pub(super) const ROLE: &str = "dbmig-repair";

const LOOK: &[Rule] = &[("", "pods", &["get", "list"]), ("", "pods/exec", &["get", "create"])];
const CHANGE: &[Rule] = &[
    ("", "configmaps", &["get", "list", "create", "update"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update", "delete"]),
];

/// Those of a look, and those of the repair itself unless it is only to be shown. A helper pod needs more, where there has to be one.
pub(super) fn of(namespace: &str, asked: Kind, dry_run: bool) -> Vec<Need> {
    let rules = LOOK.iter().chain(if dry_run { &[] } else { CHANGE }).copied().chain(reading(asked));
    Need::each(namespace, rules)
}
