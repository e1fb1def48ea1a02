//! The rights that a vacuum uses; `plugin-manifest/` grants the same ones.

use super::spec::Wishes;
use crate::cluster::access::Need;
use crate::cluster::kind::Kind as TargetKind;
use crate::cluster::workload::Kind;

/// API group, resource, verbs.
pub(in crate::command) type Rule = (&'static str, &'static str, &'static [&'static str]);

const ALWAYS: &[Rule] = &[
    ("", "pods", &["get", "list", "watch", "create", "delete"]),
    ("", "pods/exec", &["get", "create"]),
    ("", "configmaps", &["get", "list", "create", "update"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update", "delete"]),
];

/// The rights that every vacuum uses, and those to find what was named.
pub(super) fn to_find(namespace: &str, asked: TargetKind) -> Vec<Need> {
    let mut rules = ALWAYS.to_vec();
    rules.extend(reading(asked));
    Need::each(namespace, rules)
}

/// The rights that punching holes beside a running application uses, and those to find what was named.
pub(super) fn of_punch(namespace: &str, asked: TargetKind) -> Vec<Need> {
    let mut rules: Vec<Rule> = vec![("", "pods", &["get", "list"]), ("", "pods/exec", &["get", "create"])];
    rules.extend(reading(asked));
    Need::each(namespace, rules)
}

/// The rights to find what was named.
pub(in crate::command) fn reading(asked: TargetKind) -> Vec<Rule> {
    match asked {
        TargetKind::StatefulSet => vec![("apps", "statefulsets", &["get"])],
        TargetKind::Deployment => vec![("apps", "deployments", &["get"]), ("apps", "replicasets", &["get", "list"])],
        TargetKind::ReplicaSet => vec![("apps", "replicasets", &["get"])],
        _ => Vec::new(),
    }
}

/// Every further right that the steps use for a kind of workload and what the user asked for.
pub(super) fn of(namespace: &str, kind: Kind, wishes: &Wishes) -> Vec<Need> {
    let of_kind: &[Rule] = match kind {
        Kind::StatefulSet => &[("apps", "statefulsets", &["get"]), ("apps", "statefulsets/scale", &["patch"])],
        Kind::Deployment => {
            &[("apps", "replicasets", &["get"]), ("apps", "deployments", &["get"]), ("apps", "deployments/scale", &["patch"])]
        }
        Kind::ReplicaSet => &[("apps", "replicasets", &["get"]), ("apps", "replicasets/scale", &["patch"])],
        Kind::Pod => &[("", "secrets", &["create"])],
    };
    let mut rules = of_kind.to_vec();
    if wishes.scratch.is_some() || wishes.keep_old.is_some() {
        rules.push(("", "persistentvolumeclaims", &["get", "create", "delete"]));
    }
    let mut needs: Vec<Need> = Need::each(namespace, rules);
    if kind == Kind::Pod {
        // The one Secret of ours, by name: nothing else may be read.
        needs.extend(
            ["get", "patch", "delete"].map(|verb| Need::new(namespace, "", "secrets", verb).named(crate::cluster::vault::SECRET)),
        );
    }
    needs
}
