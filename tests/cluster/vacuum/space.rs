//! Full and too small volumes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::Namespace;

/// Starts only while there is a mebibyte of room, as an application that migrates on start does.
const NEEDS_ROOM: &str = "dd if=/dev/zero of=/data/work bs=64k count=16 2>&1 || { echo cannot migrate; exit 1; }; rm /data/work; \
                          trap 'exit 0' TERM; while :; do sleep 1; done";
const IDLE: &str = "trap 'exit 0' TERM; while :; do sleep 1; done";

/// A StatefulSet `box` on the claim `data-box-0`, which is there already.
fn deploy(space: &Namespace, command: &str) {
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "box"}, "spec": {
        "serviceName": "box", "replicas": 1, "selector": {"matchLabels": {"app": "box"}}, "template": {
            "metadata": {"labels": {"app": "box"}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
                "name": "main", "image": "busybox:1", "command": ["sh", "-c", command],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "storageClassName": "sized", "resources": {"requests": {"storage": "16Mi"}}}}]}});
    space.apply(&set.to_string());
}

/// A database of about 5 MB; the first so many thousandths of its rows are deleted again.
fn make(path: &Path, deleted: u32) {
    let sql = format!(
        "CREATE TABLE rows (id INTEGER PRIMARY KEY, data BLOB);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO rows SELECT i, zeroblob(900) || i FROM n;
         DELETE FROM rows WHERE id <= {deleted} * 5;"
    );
    Connection::open(path).unwrap().execute_batch(&sql).unwrap();
}

fn rows(path: &Path) -> (i64, i64, String) {
    let sql = "SELECT count(*), sum(id), hex(group_concat(data)) FROM rows";
    Connection::open(path).unwrap().query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
}

/// Writes until not a byte fits any more.
fn fill_up(folder: &Path) {
    let mut ballast = fs::File::create(folder.join("ballast")).unwrap();
    for size in [1 << 20, 4096, 512, 1] {
        while ballast.write_all(&vec![7; size]).is_ok() {}
    }
    ballast.sync_all().unwrap_or_default();
    assert_eq!(free(folder), 0);
}

fn free(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).unwrap().f_bavail
}

fn wait_for_crash_loop(space: &Namespace) {
    let waiting = "jsonpath={.status.containerStatuses[0].state.waiting.reason}";
    space.wait_for("box-0 crash-loops", || {
        space.try_kubectl(&["get", "pod", "box-0", "-o", waiting]).stdout == "CrashLoopBackOff"
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_looping_application_gets_going_on_a_volume_with_no_byte_free() {
    let space = Namespace::new("full").await;
    space.volume("data-box-0", "16Mi");
    let folder = space.folder("data-box-0");
    let path = folder.join("app.sqlite");
    make(&path, 800);
    let before = rows(&path);
    fill_up(&folder);
    deploy(&space, NEEDS_ROOM);
    wait_for_crash_loop(&space);
    let run = space.dbmig(&["vacuum", "box-0", "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("in the room that its unused pages give back"), "{}", run.stderr);
    assert_eq!(rows(&path), before);
    assert!(fs::metadata(&path).unwrap().len() < 2 << 20, "{}", run.stderr);
    assert_eq!(super::ours(&folder), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_application_gets_room_on_a_volume_with_no_byte_free() {
    let space = Namespace::new("punch").await;
    space.volume("data-box-0", "16Mi");
    let folder = space.folder("data-box-0");
    let path = folder.join("app.sqlite");
    make(&path, 500);
    let before = rows(&path);
    fill_up(&folder);
    deploy(&space, IDLE);
    space.kubectl(&["rollout", "status", "statefulset/box", "--timeout=180s"]);
    let life = || space.kubectl(&["get", "pod", "box-0", "-o", "jsonpath={.metadata.uid}{..restartCount}"]);
    let (pod, length) = (life(), fs::metadata(&path).unwrap().size());
    // The running container is the seat, so an image that nobody has does no harm.
    let run = space.dbmig(&["vacuum", "box-0", "--punch", "--helper-image", "nowhere:1", "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(free(&folder) > 0, "no byte came back: {}", run.stderr);
    assert_eq!((rows(&path), fs::metadata(&path).unwrap().size()), (before, length));
    assert_eq!(pod, life(), "the application was stopped");
    assert_eq!(super::ours(&folder), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_the_missing_bytes_and_the_claim_are_named_and_nothing_is_changed() {
    let space = Namespace::new("noroom").await;
    space.volume("data-box-0", "16Mi");
    let folder = space.folder("data-box-0");
    let path = folder.join("app.sqlite");
    make(&path, 0);
    let before = fs::read(&path).unwrap();
    deploy(&space, IDLE);
    space.kubectl(&["rollout", "status", "statefulset/box", "--timeout=180s"]);
    let pod = || space.kubectl(&["get", "pod", "box-0", "-o", "jsonpath={.metadata.uid}{..restartCount}"]);
    let seen = pod();
    let refused = |words: &[&str], texts: &[&str]| {
        let run = space.dbmig(&[&["vacuum", "box-0"], words].concat());
        assert_eq!(run.code, 4, "{words:?}: {}", run.stderr);
        for text in texts {
            assert!(run.stderr.contains(text), "{words:?} does not say {text:?}: {}", run.stderr);
        }
        space.wait_for("the helper pod is gone", || !space.kubectl(&["get", "pods", "-o", "name"]).contains("dbmig-"));
        let objects = space.kubectl(&["get", "configmaps,leases,pvc", "-o", "name"]);
        assert!(!objects.contains("dbmig-vacuum"), "{objects}");
    };
    // Both fit, but then the application's own migration would not: somebody has to say.
    refused(&["--yes"], &["twice the new file", "--keep-old pvc", "--keep-old local", "--keep-old none"]);
    refused(&[], &["there is no terminal to ask on", "--yes"]);
    fill_up(&folder);
    // A margin of 1 MiB is part of what must fit.
    let expected = space.dbmig(&["vacuum", "box-0", "--dry-run", "--scratch", "node", "--keep-old", "none", "-o", "json"]);
    let plan: Value = serde_json::from_str(&expected.stdout).unwrap_or_else(|e| panic!("{e}: {}", expected.stderr));
    let missing = (plan["examined"]["expectedBytes"].as_f64().unwrap() / 1_048_576.0) + 1.0;
    let missing = format!("{missing:.1} MiB are missing");
    refused(
        &["--yes"],
        &[&missing, "--scratch pvc", "persistentvolumeclaim/data-box-0 can't be expanded: its storage class sized"],
    );
    assert!(fs::read(&path).unwrap() == before, "the database was changed");
    assert_eq!((pod(), super::ours(&folder)), (seen, Vec::new()));
}
