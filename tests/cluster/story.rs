//! The seed's story with the real application: stuck on a full disk, dirty, crash-looping; then one command.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use rusqlite::Connection;

use crate::support::{Namespace, Shape, Upmeter};

/// More than half of a 64 Mi volume, and more than migration 4 has room for.
const LARGE: &str = "--days 27 --summed-days 40 --retired 1";

const DATABASE: &str = "downtime.db.sqlite";

/// Rows that upmeter's profile keeps, as plain SQL: younger than a day, or without their own sum.
fn kept(connection: &Connection) -> BTreeSet<(i64, String, String)> {
    let sql = "SELECT timeslot, group_name, probe_name FROM downtime30s AS f WHERE timeslot >= (SELECT max(timeslot) FROM downtime30s) - 86400 \
               OR NOT EXISTS (SELECT 1 FROM downtime5m AS c WHERE c.timeslot = f.timeslot - f.timeslot % 300 \
               AND c.group_name = f.group_name AND c.probe_name = f.probe_name)";
    rows(connection, sql)
}

fn rows(connection: &Connection, sql: &str) -> BTreeSet<(i64, String, String)> {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

async fn one_command_gets_it_going(shape: Shape) {
    let space = Namespace::new("story").await;
    let upmeter = Upmeter::new(&space, shape, "64Mi");
    upmeter.seed(LARGE);
    let path = space.folder("data-upmeter-0").join(DATABASE);
    let before = Connection::open(&path).unwrap();
    let expected = kept(&before);
    let sums = rows(&before, "SELECT timeslot, group_name, probe_name FROM downtime5m");
    drop(before);
    assert!(!expected.is_empty() && !sums.is_empty());
    upmeter.deploy().stuck("Dirty database version 4");
    upmeter.seeded();
    let owner = std::fs::metadata(&path).unwrap();

    let run = space.dbmig(&["vacuum", "upmeter-0", "--repair", "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("set to version 3, clean"), "{}", run.stderr);
    upmeter.ready();

    let after = Connection::open(&path).unwrap();
    let state: (i64, bool) =
        after.query_row("SELECT version, dirty FROM schema_migrations", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(state, (9, false));
    // The application writes on, and its own migrations rename a group and probes: that is not ours to judge.
    let renamed = |set: &BTreeSet<(i64, String, String)>| -> BTreeSet<(i64, String)> {
        set.iter().map(|(slot, _, probe)| (*slot, probe.replace("access", "apiserver"))).collect()
    };
    let (fine, coarse) =
        ("SELECT timeslot, group_name, probe_name FROM episodes_30s", "SELECT timeslot, group_name, probe_name FROM episodes_5m");
    let lost: Vec<_> = renamed(&expected).difference(&renamed(&rows(&after, fine))).take(3).cloned().collect();
    assert!(lost.is_empty(), "rows that had to stay are gone: {lost:?}");
    let lost: Vec<_> = renamed(&sums).difference(&renamed(&rows(&after, coarse))).take(3).cloned().collect();
    assert!(lost.is_empty(), "sums are gone: {lost:?}");
    let now = std::fs::metadata(&path).unwrap();
    assert_eq!((now.uid(), now.gid(), now.mode()), (owner.uid(), owner.gid(), owner.mode()));
    leaves_nothing_behind(&space);
}

/// No helper pod, no lease, no file of ours; the record stays for `history`.
fn leaves_nothing_behind(space: &Namespace) {
    space.wait_for("the helper pod is gone", || !space.kubectl(&["get", "pods", "-o", "name"]).contains("dbmig-"));
    assert_eq!(space.kubectl(&["get", "leases", "-o", "name"]).trim(), "");
    let files = space.kubectl(&["exec", "upmeter-0", "-c", "upmeter", "--", "ls", "-a", "/db"]);
    assert!(!files.contains("dbmig"), "{files}");
    assert!(space.dbmig(&["history"]).stdout.contains("done"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_as_root_is_got_going_by_one_command() {
    one_command_gets_it_going(Shape::Root).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_as_nobody_is_got_going_by_one_command() {
    one_command_gets_it_going(Shape::Nobody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migrator_container_is_got_going_by_one_command() {
    one_command_gets_it_going(Shape::Migrator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_and_without_yes_nothing_is_begun() {
    let space = Namespace::new("terminal").await;
    let run = space.dbmig(&["vacuum", "upmeter-0"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("--yes"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_would_go_with_its_pod_is_refused() {
    let space = Namespace::new("emptydir").await;
    space.pod(
        "box",
        &serde_json::json!({"containers": [{"name": "main", "image": "busybox:1", "command": ["sleep", "3600"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}], "volumes": [{"name": "data", "emptyDir": {}}]}),
    );
    let run = space.dbmig(&["vacuum", "box", "--yes"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("goes with pod/box"), "{}", run.stderr);
    assert_eq!(space.kubectl(&["get", "pods", "-o", "name"]).trim(), "pod/box");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_documented_role_succeeds_and_with_one_rule_less_is_told_which() {
    const ROLE: &str = include_str!("../../plugin-manifest/vacuum.yaml");
    let space = Namespace::new("least").await;
    let upmeter = Upmeter::new(&space, Shape::Root, "64Mi");
    upmeter.seed("--days 2 --probes 2").seeded().deploy().ready();
    let dir = tempfile::tempdir().unwrap();
    let less = ROLE.replace("resources: [statefulsets/scale, deployments/scale, replicasets/scale]", "resources: [nothing]");
    let without = space.user("without", &less.replace("kubectl-dbmig-vacuum", "less"), "less", dir.path());
    let run = space.dbmig_as(&without, &["vacuum", "upmeter-0", "--yes"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("statefulsets/scale") && run.stderr.contains("kind: Role"), "{}", run.stderr);
    assert!(!space.kubectl(&["get", "pods", "-o", "name"]).contains("dbmig-"), "something was made before the rights were there");

    let user = space.user("operator", ROLE, "kubectl-dbmig-vacuum", dir.path());
    let run = space.dbmig_as(&user, &["vacuum", "upmeter-0", "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
}
