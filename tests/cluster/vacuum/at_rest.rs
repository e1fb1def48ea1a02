//! Workloads at 0 replicas, and dry runs.

use std::fs;

use serde_json::json;

use super::ours;
use crate::place::{KEEP, Place, content};
use crate::support::Namespace;

fn replicas(space: &Namespace, workload: &str) -> String {
    space.kubectl(&["get", workload, "-o", "jsonpath={.spec.replicas}"])
}

fn no_pod_is_left(space: &Namespace) {
    space.wait_for("no pod is left", || space.kubectl(&["get", "pods", "-o", "name"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statefulset_at_rest_is_vacuumed_and_stays_at_rest() {
    let place = Place::small().await;
    let space = &place.space;
    space.kubectl(&["scale", "statefulset/box", "--replicas=0"]);
    no_pod_is_left(space);
    let expected = content(&place.file, "id % 4 = 0");
    let run = space.dbmig(&["vacuum", "sts/box", "--keep", KEEP, "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(content(&place.file, "true"), expected);
    assert_eq!(replicas(space, "statefulset/box"), "0");
    no_pod_is_left(space);
    assert_eq!(ours(place.file.parent().unwrap()), Vec::<String>::new());

    // With the volumes of two pods one has to be named.
    space.volume("data-box-1", "8Mi");
    for (target, code, text) in [
        ("sts/box", 4, "box-0 or box-1"),
        ("box-7", 4, "persistentvolumeclaim/data-box-7"),
        ("box-1", 4, "no SQLite database"),
        ("box-0", 0, "statefulset/box, 0 replicas"),
    ] {
        let run = space.dbmig(&["vacuum", target, "--dry-run"]);
        assert_eq!(run.code, code, "{target}: {}", run.stderr);
        assert!(run.stderr.contains(text), "{target} does not say {text:?}: {}", run.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_at_rest_is_vacuumed_and_its_image_read_although_it_runs_nowhere() {
    let space = Namespace::new("rest").await;
    space.volume("shelf", "16Mi");
    let path = space.folder("shelf").join("app.sqlite");
    crate::place::fill(&path);
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shelf"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "shelf"}}, "template": {
            "metadata": {"labels": {"app": "shelf"}}, "spec": {
                "containers": [
                    {"name": "proxy", "image": "busybox:1", "command": ["sleep", "3600"]},
                    {"name": "main", "image": "busybox:1", "command": ["sleep", "3600"],
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "shelf"}}]}}}});
    space.apply(&deployment.to_string());
    let expected = content(&path, "id % 4 = 0");
    let run = space.dbmig(&["vacuum", "deploy", "shelf", "--keep", KEEP, "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("(deployment/shelf, container main)"), "{}", run.stderr);
    assert_eq!(content(&path, "true"), expected);
    assert_eq!(replicas(&space, "deployment/shelf"), "0");
    no_pod_is_left(&space);
}

/// Every object of the namespace but events, with its version.
fn versions(space: &Namespace) -> String {
    let types = space.kubectl(&["api-resources", "--namespaced", "--verbs=list", "-o", "name"]);
    let types: Vec<&str> = types.lines().filter(|name| !name.starts_with("events") && !name.contains("metrics")).collect();
    let columns = "custom-columns=KIND:.kind,NAME:.metadata.name,VERSION:.metadata.resourceVersion";
    space.kubectl(&["get", &types.join(","), "--ignore-not-found", "-o", columns])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_no_object_and_no_byte() {
    let place = Place::small().await;
    let space = &place.space;
    let folder = place.file.parent().unwrap();
    let (before, bytes) = (versions(space), fs::read(&place.file).unwrap());
    assert!(before.contains("data-box-0") && before.contains("box-0"), "{before}");
    let full =
        ["vacuum", "box-0", "--dry-run", "--keep", KEEP, "--repair", "--scratch", "pvc", "--keep-old", "pvc", "-o", "json"];
    for words in [&full[..], &["vacuum", "box-0", "--dry-run", "--punch"]] {
        let run = space.dbmig(words);
        assert_eq!(run.code, 0, "{words:?}: {}", run.stderr);
        if words == full {
            let plan: serde_json::Value = serde_json::from_str(&run.stdout).expect("one JSON object");
            assert_eq!(plan["kind"], "VacuumPlan");
        }
        space.wait_for("the helper pod is gone", || !space.kubectl(&["get", "pods", "-o", "name"]).contains("dbmig-"));
        assert_eq!(versions(space), before, "{words:?}");
        assert!(fs::read(&place.file).unwrap() == bytes, "{words:?} changed the database");
        assert_eq!(ours(folder), Vec::<String>::new(), "{words:?}");
    }
}
