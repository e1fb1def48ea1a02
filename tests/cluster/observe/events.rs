//! Why there are no pods, or none that run: told by events first.

use serde_json::json;

use super::{container, create_job, create_pod, object, spec};
use crate::support::Namespace;

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_cannot_create_its_pods_is_explained() {
    let space = Namespace::new("quota").await;
    space.has_account();
    space.kubectl(&["create", "quota", "none", "--hard=pods=0"]);
    let pod = spec(&[container("main", "sleep 600")]);
    create_job(&space, "db-upgrade", json!({}), &pod);
    let mut pod = pod;
    pod["restartPolicy"] = "Always".into();
    let labels = json!({"app": "x"});
    let template = json!({"metadata": {"labels": labels}, "spec": pod});
    for (kind, extra) in [("Deployment", json!({})), ("StatefulSet", json!({"serviceName": "x"}))] {
        let mut spec = json!({"replicas": 1, "selector": {"matchLabels": labels}, "template": template});
        spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let workload = json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
        space.apply(&workload.to_string());
    }
    for target in ["job/db-upgrade", "statefulset/x", "deployment/x"] {
        space.wait_for(&format!("the events say why {target} has no pods"), || {
            let list = object(&space.dbmig(&["events", target, "-o", "json"]));
            list["items"][0]["reason"] == "FailedCreate"
        });
        let list = object(&space.dbmig(&["events", target, "-o", "json"]));
        let first = &list["items"][0];
        assert!(first["explains"] == true && first["message"].as_str().unwrap().contains("exceeded quota"), "{list}");
        let shown = space.dbmig(&["events", target]).stdout;
        assert!(shown.lines().nth(1).is_some_and(|row| row.contains("FailedCreate")), "{shown}");
        let run = space.dbmig(&["status", target, "-o", "json"]);
        assert_eq!(run.code, 3, "{target}: {}{}", run.stdout, run.stderr);
        let verdict = &object(&run)["verdict"];
        assert!(verdict["text"].as_str().unwrap().contains("exceeded quota"), "{target}: {verdict}");
    }
    let run = space.dbmig(&["logs", "statefulset/x"]);
    assert!(run.code == 1 && run.stderr.contains("has no pods"), "{}: {}", run.code, run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_fits_nowhere_is_explained() {
    let space = Namespace::new("nowhere").await;
    let mut pod = spec(&[container("main", "sleep 600")]);
    pod["nodeSelector"] = json!({"dbmig-test/nowhere": "true"});
    create_pod(&space, "nowhere", &pod);
    space.wait_for("the scheduler gives up", || {
        object(&space.dbmig(&["events", "nowhere", "-o", "json"]))["items"][0]["reason"] == "FailedScheduling"
    });
    let run = space.dbmig(&["status", "nowhere"]);
    assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
    let first = run.stdout.lines().next().unwrap();
    assert!(first.starts_with("wrong: pod/nowhere is Pending") && first.contains("0/1 nodes are available"), "{first}");
    assert_eq!(first.matches("0/1 nodes are available").count(), 1, "said once: {first}");
    let run = space.dbmig(&["logs", "nowhere"]);
    assert_eq!(run.code, 1, "a log that cannot be there is no success: {}", run.stderr);
}
