//! The rights that a cut-over uses; `plugin-manifest/move.yaml` and `move-secret.yaml` grant the same ones.

use super::Args;
use crate::cluster::access::Need;
use crate::cluster::setting::Setting;
use crate::cluster::vault::SECRET;
use crate::command::vacuum::needs::Rule;

/// Name of the Role that is proposed when rights are missing.
pub(super) const ROLE: &str = "dbmig-move";

const LOOK: &[Rule] = &[
    ("", "pods", &["get", "list", "watch", "create", "delete"]),
    ("", "pods/exec", &["get", "create"]),
    ("batch", "jobs", &["get"]),
];
const CHANGE: &[Rule] = &[
    ("", "configmaps", &["get", "list", "create", "update"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update", "delete"]),
];

/// Those of the look, and those of what was asked for unless it is only to be shown.
pub(super) fn of(namespace: &str, args: &Args) -> Vec<Need> {
    let mut rules: Vec<Rule> = LOOK.to_vec();
    if !args.dry_run {
        rules.extend(CHANGE);
    }
    let workloads = |typed: &[String]| typed.iter().any(|name| name.starts_with("deploy"));
    if !args.restart.is_empty() {
        let resource = |deployments| if deployments { "deployments" } else { "statefulsets" };
        rules.push(("apps", resource(workloads(&args.restart)), &["get", "list", "watch", "patch"]));
    }
    if !args.scale_down.is_empty() {
        let resource = |deployments| if deployments { "deployments/scale" } else { "statefulsets/scale" };
        rules.push(("apps", resource(workloads(&args.scale_down)), &["patch"]));
    }
    if args.switch_service.is_some() {
        rules.push(("", "services", &["get", "patch"]));
    }
    let mut needs = Need::each(namespace, rules);
    let secret = |name: &str, verb| Need::new(namespace, "", "secrets", verb).named(name);
    for Setting { at, from } in &args.set_secret {
        needs.extend([secret(&at.name, "get"), secret(&at.name, "patch"), secret(&from.name, "get")]);
    }
    if !args.set_secret.is_empty() && !args.dry_run {
        needs.push(Need::new(namespace, "", "secrets", "create"));
        needs.extend(["get", "patch", "delete"].map(|verb| secret(SECRET, verb)));
    }
    needs
}
