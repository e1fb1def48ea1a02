//! The rights that a vacuum uses; `plugin-manifest/` grants the same ones.

use super::spec::Wishes;
use crate::cluster::access::Need;
use crate::cluster::workload::Kind;

const ALWAYS: &[(&str, &str, &[&str])] = &[
    ("", "pods", &["get", "list", "watch", "create", "delete"]),
    ("", "pods/exec", &["get", "create"]),
    ("", "configmaps", &["get", "list", "create", "update"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update", "delete"]),
];

/// The rights that punching holes beside a running application uses.
pub(super) fn of_punch(namespace: &str) -> Vec<Need> {
    let rules = [("pods", ["get", "list"]), ("pods/exec", ["get", "create"])];
    rules.iter().flat_map(|(resource, verbs)| Need::all(namespace, "", resource, verbs)).collect()
}

/// Every right that the steps use for a kind of workload and what the user asked for.
pub(super) fn of(namespace: &str, kind: Kind, wishes: &Wishes) -> Vec<Need> {
    let mut rules = ALWAYS.to_vec();
    match kind {
        Kind::StatefulSet => {
            rules.extend([("apps", "statefulsets", &["get"] as &[&str]), ("apps", "statefulsets/scale", &["patch"])]);
        }
        Kind::Deployment => rules.extend([
            ("apps", "replicasets", &["get"] as &[&str]),
            ("apps", "deployments", &["get"]),
            ("apps", "deployments/scale", &["patch"]),
        ]),
        Kind::ReplicaSet => {
            rules.extend([("apps", "replicasets", &["get"] as &[&str]), ("apps", "replicasets/scale", &["patch"])]);
        }
        Kind::Pod => rules.push(("", "secrets", &["create"])),
    }
    if wishes.scratch.is_some() || wishes.keep_old.is_some() {
        rules.push(("", "persistentvolumeclaims", &["get", "create", "delete"]));
    }
    let mut needs: Vec<Need> =
        rules.iter().flat_map(|(group, resource, verbs)| Need::all(namespace, group, resource, verbs)).collect();
    if kind == Kind::Pod {
        // The one Secret of ours, by name: nothing else may be read.
        needs.extend(
            ["get", "patch", "delete"]
                .map(|verb| Need::new(namespace, "", "secrets", verb).named(crate::cluster::bare_pod::SECRET)),
        );
    }
    needs
}
