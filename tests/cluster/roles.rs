//! The Roles in plugin-manifest: a real API server takes them, and they give what their comments say and no more.

use crate::support::{Namespace, Run};

const ROLE: &str = include_str!("../../plugin-manifest/vacuum.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn the_role_for_vacuum_lets_its_holder_exec_but_not_read_other_secrets() {
    let space = Namespace::new("role").await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let user = space.user("operator", ROLE, "kubectl-dbmig-vacuum", dir.path());
    let can = |verb: &str, what: &str| {
        let (resource, part) = what.split_once(':').unwrap_or((what, ""));
        let mut kubectl = std::process::Command::new("kubectl");
        kubectl.env("KUBECONFIG", &user).args(["auth", "can-i", verb, resource]).arg(format!("--subresource={part}"));
        Run::of(&mut kubectl).stdout.trim() == "yes"
    };
    assert!(can("create", "pods:exec"));
    assert!(can("patch", "statefulsets.apps:scale"));
    assert!(can("get", "secret/kubectl-dbmig"));
    assert!(!can("get", "secret/another"));
    assert!(!can("list", "secrets"));
    assert!(!can("delete", "statefulsets.apps"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_optional_cluster_role_is_accepted_by_the_server() {
    let space = Namespace::new("role").await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin-manifest/optional-cluster.yaml");
    space.kubectl(&["apply", "--dry-run=server", "-f", file]);
}
