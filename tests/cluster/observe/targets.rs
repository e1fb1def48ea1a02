//! What an observer looks at: a selector, all namespaces, or whatever migrates when nobody names anything.

use serde_json::{Value, json};

use super::{container, follow, object, spec};
use crate::support::Namespace;

/// A pod with labels that says some lines and stays.
fn create_talker(space: &Namespace, name: &str, labels: &Value) {
    let spec = spec(&[container("main", "for i in $(seq 12); do echo \"$HOSTNAME says $i\"; done; sleep 600")]);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec});
    space.has_account();
    space.apply(&pod.to_string());
    space.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", "pod", name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selector_finds_pods_here_or_in_all_namespaces() {
    let (here, there) = (Namespace::new("here").await, Namespace::new("there").await);
    // No other test has such pods.
    let labels = json!({"dbmig-test": here.name()});
    let selector = format!("dbmig-test={}", here.name());
    create_talker(&here, "one", &labels);
    create_talker(&here, "two", &labels);
    create_talker(&here, "other", &json!({}));
    create_talker(&there, "far", &labels);

    let run = here.dbmig(&["logs", "-l", &selector]);
    // As kubectl: the last ten of each.
    let expected: String =
        ["one", "two"].iter().flat_map(|pod| (3..=12).map(move |n| format!("{pod} › main {pod} says {n}\n"))).collect();
    assert_eq!((run.code, run.stdout.as_str()), (0, expected.as_str()), "{}", run.stderr);
    let run = here.dbmig(&["logs", "-l", &selector, "--tail=-1"]);
    assert_eq!((run.code, run.stdout.lines().count()), (0, 24), "{}", run.stdout);

    let run = here.dbmig(&["logs", "-A", "-l", &selector, "--tail", "1"]);
    let mut lines: Vec<&str> = run.stdout.lines().collect();
    lines.sort_unstable();
    let (here_, there_) = (here.name(), there.name());
    let mut expected = [
        format!("{here_}/one › main one says 12"),
        format!("{here_}/two › main two says 12"),
        format!("{there_}/far › main far says 12"),
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected, "{}", run.stderr);
    let status = object(&here.dbmig(&["status", "-A", "-l", &selector, "-o", "json"]));
    let mut namespaces: Vec<&str> =
        status["pods"].as_array().unwrap().iter().map(|pod| pod["namespace"].as_str().unwrap()).collect();
    namespaces.sort_unstable();
    let mut expected = [here_, here_, there_];
    expected.sort_unstable();
    assert_eq!(namespaces, expected, "{status}");

    let mut watch = follow(&here, &["watch", "-A", "-l", &selector, "--plain"]);
    watch.prints(&format!("{there_}/far › main far says 12\n"));
    watch.interrupt();
    assert_eq!(watch.ends().code, 0);

    let run = here.dbmig(&["logs", "-l", "dbmig-test=nothing-has-this"]);
    assert!(run.code == 1 && run.stderr.contains("has no pods"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_name_it_is_what_migrates() {
    let space = Namespace::new("unnamed").await;
    let run = space.dbmig(&["status"]);
    assert!(run.code == 2 && run.stderr.contains("nothing to look at"), "{run:?}");
    let job = |name: &str, mut metadata: Value, container_name: &str| {
        metadata["name"] = name.into();
        let pod = spec(&[container(container_name, "echo \"$HOSTNAME has migrated\"")]);
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
            "spec": {"backoffLimit": 0, "template": {"spec": pod}}});
        space.has_account();
        space.apply(&job.to_string());
        space.kubectl(&["wait", "--for=condition=Complete", "--timeout=180s", "job", name]);
    };
    job("labelled", json!({"labels": {"app.kubernetes.io/component": "migration"}}), "main");
    let run = space.dbmig(&["logs"]);
    assert!(run.code == 0 && run.stderr.contains("looking at job/labelled"), "{run:?}");
    assert!(run.stdout.starts_with("labelled-") && run.stdout.ends_with(" has migrated\n"), "{run:?}");
    assert_eq!(space.dbmig(&["status"]).code, 0);

    // Several, and nobody to ask: they are named.
    job("release-hook", json!({"annotations": {"helm.sh/hook": "pre-upgrade"}}), "db-upgrade");
    job("smoke", json!({"annotations": {"helm.sh/hook": "test"}}), "migrate");
    let run = space.dbmig(&["status"]);
    assert!(run.code == 4 && run.stderr.contains("job/labelled") && run.stderr.contains("job/release-hook"), "{run:?}");
    assert!(!run.stderr.contains("job/smoke"), "{run:?}");
    let all = object(&space.dbmig(&["status", "-A", "-o", "json"]));
    let jobs = all["jobs"].as_array().unwrap();
    let ours: Vec<&str> =
        jobs.iter().filter(|job| job["namespace"] == space.name()).map(|job| job["name"].as_str().unwrap()).collect();
    assert_eq!(ours.len(), 2, "{all}");
}
