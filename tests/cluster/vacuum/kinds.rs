//! Kinds of files and owners that `vacuum` gets through, each held against the rows that plain SQL saw before.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rusqlite::Connection;

use super::{database, rows, traces};
use crate::support::{Namespace, Shape, Upmeter};

const LOOP: &str = "trap 'exit 0' TERM; while :; do sleep 1; done";

/// A claim with a database of these options, and a pod spec that mounts it but leaves it alone.
fn idle(space: &Namespace, options: &str) -> serde_json::Value {
    Upmeter::new(space, Shape::Root, "64Mi").seed(options).seeded();
    serde_json::json!({"terminationGracePeriodSeconds": 2, "containers": [{"name": "main", "image": "upmeter:1",
        "command": ["sh", "-c", LOOP], "env": [{"name": "TOKEN", "value": "kept"}],
        "volumeMounts": [{"name": "data", "mountPath": "/db"}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-upmeter-0"}}]})
}

/// Files and objects of a finished operation are gone, save its record.
fn only_the_record_is_left(space: &Namespace) {
    space.wait_for("only the record is left", || traces(space).iter().all(|name| name.starts_with("configmap/")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_an_owner_comes_back_as_it_was() {
    let space = Namespace::new("bare").await;
    let spec = idle(&space, "--days 2 --probes 2 --free-pages 200");
    space.pod("alone", &spec);
    let look = || space.kubectl(&["get", "pod", "alone", "-o", "jsonpath={.metadata.labels}{.spec.containers[0].env}"]);
    let uid = || space.kubectl(&["get", "pod", "alone", "-o", "jsonpath={.metadata.uid}"]);
    space.kubectl(&["label", "pod", "alone", "color=blue"]);
    let (spec, first) = (look(), uid());
    let before = rows(&database(&space), "downtime30s");
    let run = space.dbmig(&["vacuum", "alone", "--profile", "none", "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(spec, look());
    assert_ne!(first, uid(), "the pod was never stopped");
    assert_eq!(before, rows(&database(&space), "downtime30s"));
    only_the_record_is_left(&space);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_keeps_its_rows_of_a_deployment_and_no_others() {
    let space = Namespace::new("deployment").await;
    let spec = idle(&space, "--days 2 --probes 2");
    let deployment = serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"},
        "spec": {"replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": "shop"}},
            "template": {"metadata": {"labels": {"app": "shop"}}, "spec": spec}}});
    space.apply(&deployment.to_string());
    space.kubectl(&["rollout", "status", "deployment/shop", "--timeout=180s"]);
    let (fine, coarse) = (rows(&database(&space), "downtime30s"), rows(&database(&space), "downtime5m"));
    let newest = fine.iter().map(|row| row.0).max().unwrap() - 3600;
    let rule = format!("downtime30s: timeslot > {newest}");
    let run = space.dbmig(&["vacuum", "deploy/shop", "--keep", &rule, "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let expected = fine.into_iter().filter(|row| row.0 > newest).collect();
    assert_eq!(rows(&database(&space), "downtime30s"), expected);
    assert_eq!(rows(&database(&space), "downtime5m"), coarse);
    assert_eq!(space.kubectl(&["get", "deployment", "shop", "-o", "jsonpath={.spec.replicas}"]), "1");
    only_the_record_is_left(&space);
}

/// What a killed writer left beside the file counts as SQLite itself would count it.
async fn a_killed_writers_file_is_taken_as_sqlite_would(options: &str, leftover: &str) {
    let space = Namespace::new("killed").await;
    let spec = idle(&space, &format!("--days 2 --probes 2 {options}"));
    let path = database(&space);
    let beside = path.with_file_name(format!("downtime.db.sqlite{leftover}"));
    assert!(fs::metadata(&beside).unwrap().len() > 0, "the writer left no {leftover}");
    // The reference is read from a copy, since reading would merge or roll back.
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    fs::copy(&beside, dir.path().join(format!("copy{leftover}"))).unwrap();
    let expected = rows(&copy, "downtime30s");
    assert_eq!(expected.iter().any(|row| row.2.ends_with("-w")), leftover == "-wal");
    assert!(!expected.iter().any(|row| row.2 == "never-committed"));
    space.pod("alone", &spec);
    let run = space.dbmig(&["vacuum", "alone", "--profile", "none", "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(rows(&path, "downtime30s"), expected);
    only_the_record_is_left(&space);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_only_in_the_wal_of_a_killed_writer_stay() {
    a_killed_writers_file_is_taken_as_sqlite_would("--wal 50", "-wal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_writer_never_committed_is_rolled_back() {
    a_killed_writers_file_is_taken_as_sqlite_would("--hot-journal 1", "-journal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn punching_gives_bytes_back_under_a_running_application() {
    let space = Namespace::new("punch").await;
    space.volume("data", "32Mi");
    let path = space.folder("data").join("app.sqlite");
    let connection = Connection::open(&path).unwrap();
    let grow =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) SELECT i, randomblob(1000) FROM n";
    connection.execute_batch(&format!("CREATE TABLE kept AS {grow}; CREATE TABLE gone AS {grow}; DROP TABLE gone;")).unwrap();
    let content = || {
        let sql = "SELECT count(*), sum(rowid), hex(group_concat(\"randomblob(1000)\", '')) FROM kept";
        Connection::open(&path)
            .unwrap()
            .query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?)))
            .unwrap()
    };
    drop(connection);
    space.pod(
        "box",
        &serde_json::json!({"containers": [{"name": "main", "image": "busybox:1", "command": ["sleep", "3600"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}),
    );
    let life = || space.kubectl(&["get", "pod", "box", "-o", "jsonpath={.metadata.uid}{..restartCount}"]);
    let (pod, before, blocks) = (life(), content(), fs::metadata(&path).unwrap().blocks());
    let run = space.dbmig(&["vacuum", "box", "--punch", "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(fs::metadata(&path).unwrap().blocks() < blocks * 3 / 4, "no byte came back: {}", run.stderr);
    assert_eq!(before, content());
    assert_eq!(pod, life(), "the application was stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_a_shell_is_served() {
    let space = Namespace::new("noshell").await;
    let upmeter = Upmeter::new(&space, Shape::Root, "64Mi").bare();
    upmeter.seed("--days 2 --probes 2").seeded().deploy().ready();
    let before = rows(&database(&space), "episodes_30s");
    let run = space.dbmig(&["vacuum", "upmeter-0", "--profile", "none", "--yes", "-o", "json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for line in run.stdout.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
    assert!(!run.stdout.is_empty());
    assert!(before.is_subset(&rows(&database(&space), "episodes_30s")), "rows are gone");
    upmeter.ready();
    only_the_record_is_left(&space);
}
