//! `cleanup`: fifty failed migrations and what operations have left go; what runs, what is young and what is not over stays.

use serde_json::{Value, json};

use super::{ends, newest, records};
use crate::support::{Namespace, Running};

const ROLES: &str =
    concat!(include_str!("../../../plugin-manifest/cleanup.yaml"), "\n---\n", include_str!("../../../plugin-manifest/run.yaml"));

/// A Job with the label of migrations; one that can't be scheduled is over after a second.
fn job(name: &str, command: &str, runs: bool) -> Value {
    let labels = json!({"app.kubernetes.io/component": "migration"});
    let mut spec = json!({"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "migrate", "image": "busybox:1", "command": ["sh", "-c", command]}]}}});
    if !runs {
        spec["activeDeadlineSeconds"] = 1.into();
        spec["template"]["spec"]["nodeSelector"] = json!({"no-node": "has-this"});
    }
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_goes_and_what_runs_stays() {
    let space = Namespace::new("cleanup").await;
    space.has_account();
    let failed: Vec<Value> = (0..50).map(|at| job(&format!("failed-{at}"), "true", false)).collect();
    space.apply(&json!({"apiVersion": "v1", "kind": "List", "items": failed}).to_string());
    space.apply(&job("runs", "sleep 3600", true).to_string());
    let dir = tempfile::tempdir().unwrap();
    let user = space.user("oncall", ROLES, "kubectl-dbmig-cleanup", dir.path());
    let account = format!("--serviceaccount={}:oncall", space.name());
    space.kubectl(&["create", "rolebinding", "run", "--role=kubectl-dbmig-run", &account]);
    let path = |name: &str, command: &str| {
        let path = dir.path().join(format!("{name}.yaml"));
        std::fs::write(&path, job(name, command, true).to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // One that failed, and one that nobody has judged yet. Neither has a database.
    let run = space.dbmig_as(&user, &["run", "-f", &path("wrong", "echo no; exit 1"), "--yes"]);
    ends(&run, 1, &["the migration failed", "migrate: no", "what it did is not known"]);
    let over = newest(&space);
    let mut running = Running::start(space.dbmig_command_as(&user, &["run", "-f", &path("left", "sleep 3600"), "--yes"]));
    running.reaches(3, 5);
    running.kill();
    let left = newest(&space);
    let count =
        || space.kubectl(&["get", "jobs", "-o", "jsonpath={range .items[?(@.status.conditions[0].type=='Failed')]}x{end}"]).len();
    space.wait_for("all have failed", || count() == 51);

    let listed = space.dbmig_as(&user, &["cleanup", "--dry-run", "-o", "name"]);
    let lines: Vec<&str> = listed.stdout.lines().collect();
    assert!(
        listed.code == 0 && lines.len() == 1 && lines[0].starts_with("job/wrong-dbmig-"),
        "{}{}",
        listed.stdout,
        listed.stderr
    );
    ends(&space.dbmig_as(&user, &["cleanup"]), 4, &["there is no terminal to ask on", "nothing was changed"]);
    assert_eq!(count(), 51);

    let run = space.dbmig_as(&user, &["cleanup", "--keep", "1ms", "--yes"]);
    ends(&run, 0, &["52 of 52 removed"]);
    assert_eq!(run.stdout.matches("a migration that failed").count(), 50, "{}", run.stdout);
    space.wait_for("two Jobs are left", || space.kubectl(&["get", "jobs", "-o", "name"]).lines().count() == 2);
    let ids: Vec<Value> = records(&space).into_iter().map(|record| record["id"].clone()).collect();
    assert_eq!(ids, [left.as_str()], "{over} is over, {left} is not");
    let log = space.dbmig_as(&user, &["logs", &over]);
    assert_ne!(log.code, 0, "its log went with its record");

    ends(&space.dbmig_as(&user, &["undo", &left, "--yes"]), 0, &["taken back"]);
    assert_eq!(space.kubectl(&["get", "jobs", "-o", "name"]).trim(), "job.batch/runs");
}
