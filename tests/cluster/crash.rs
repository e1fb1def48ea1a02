//! The plugin is killed at every step of a vacuum; `resume` goes on from there, `undo` goes back, and the data is whole either way.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rusqlite::Connection;
use sha2::{Digest, Sha256};

use crate::support::{Namespace, Run};

/// A workload that only holds the volume: whatever changes in the file is our doing.
const WORKLOAD: &str = r#"{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "box"}, "spec": {
    "serviceName": "box", "replicas": 1, "selector": {"matchLabels": {"app": "box"}}, "template": {
      "metadata": {"labels": {"app": "box"}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
        "name": "main", "image": "busybox:1", "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 60 & wait $!; done"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}},
    "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
      "storageClassName": "sized", "resources": {"requests": {"storage": "32Mi"}}}}]}}"#;
pub(crate) const KEEP: &str = "rows: id % 4 = 0";
pub(crate) const STEPS: usize = 14;
/// Steps that this vacuum passes over: nothing needs a scratch volume, holes, or a copy of the old file.
const PASSED_OVER: [usize; 3] = [5, 6, 9];

/// A cluster's corner with that workload and its database.
pub(crate) struct Place {
    pub(crate) space: Namespace,
    pub(crate) file: PathBuf,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let space = Namespace::new("crash").await;
        space.volume("data-box-0", "32Mi");
        let file = space.folder("data-box-0").join("app.sqlite");
        fill(&file);
        space.apply(WORKLOAD);
        let place = Self { space, file };
        place.ready();
        place
    }

    pub(crate) fn ready(&self) {
        let status = "jsonpath={.status.conditions[?(@.type=='Ready')].status}{.metadata.deletionTimestamp}";
        self.space.wait_for("box-0 is Ready", || self.space.try_kubectl(&["get", "pod", "box-0", "-o", status]).stdout == "True");
    }

    /// Starts a vacuum and kills it as soon as it announces a step.
    fn kill_at(&self, step: usize) {
        let mut command = self.space.dbmig_command(&["vacuum", "box-0", "--keep", KEEP, "--yes"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let announced = format!("[{step}/{STEPS}]");
        let mut said = Vec::new();
        for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
            said.push(line);
            if said.last().is_some_and(|line| line.starts_with(&announced)) {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let last = said.last().cloned().unwrap_or_default();
        assert!(last.starts_with(&announced), "step {step} was never announced:\n{}", said.join("\n"));
    }

    pub(crate) fn id(&self) -> String {
        let history: serde_json::Value = serde_json::from_str(&self.space.dbmig(&["history", "-o", "json"]).stdout).unwrap();
        let newest = history["items"].as_array().unwrap().last().unwrap();
        newest["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn is_tidy(&self) {
        self.ready();
        self.space.wait_for("the helper pod is gone", || !self.space.kubectl(&["get", "pods", "-o", "name"]).contains("dbmig-"));
        assert_eq!(self.space.kubectl(&["get", "leases", "-o", "name"]).trim(), "");
        let names: Vec<String> = std::fs::read_dir(self.file.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.contains("dbmig") || name.contains("sqlite-"))
            .collect();
        assert!(names.is_empty(), "left on the volume: {names:?}");
    }
}

pub(crate) fn fill(path: &Path) {
    let _ = std::fs::remove_file(path);
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE rows (id INTEGER, text TEXT); CREATE INDEX by_text ON rows (text);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
             INSERT INTO rows SELECT i, hex(i * 7919) || ' of the ' || i % 13 FROM n;
             DELETE FROM rows WHERE id % 10 = 0;",
        )
        .unwrap();
}

/// Every row with its rowid, as one digest.
pub(crate) fn content(path: &Path, condition: &str) -> String {
    let connection = Connection::open(path).unwrap();
    assert_eq!(connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
    let sql = format!("SELECT rowid || '|' || typeof(id) || '|' || id || '|' || text FROM rows WHERE {condition} ORDER BY rowid");
    let mut digest = Sha256::new();
    let mut statement = connection.prepare(&sql).unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        digest.update(row.get::<_, String>(0).unwrap());
    }
    format!("{:x?}", digest.finalize())
}

fn done(run: &Run, step: usize) {
    assert_eq!(run.code, 0, "killed at step {step}: {}", run.stderr);
}

async fn resume_after_kills_at(steps: &[usize]) {
    let place = Place::new().await;
    for &step in steps {
        fill(&place.file);
        let expected = content(&place.file, "id % 4 = 0");
        place.kill_at(step);
        done(&place.space.dbmig(&["resume", &place.id(), "--yes"]), step);
        place.is_tidy();
        assert_eq!(content(&place.file, "true"), expected, "killed at step {step}, then resumed");
    }
}

async fn undo_after_kills_at(steps: &[usize]) {
    let place = Place::new().await;
    for &step in steps {
        fill(&place.file);
        let before = Sha256::digest(std::fs::read(&place.file).unwrap());
        place.kill_at(step);
        done(&place.space.dbmig(&["undo", &place.id(), "--yes"]), step);
        place.is_tidy();
        assert_eq!(Sha256::digest(std::fs::read(&place.file).unwrap()), before, "killed at step {step}, then taken back");
    }
}

fn announced(from: usize, to: usize) -> Vec<usize> {
    (from..=to).filter(|step| !PASSED_OVER.contains(step)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_killed_before_its_swap_is_resumed() {
    resume_after_kills_at(&announced(1, 7)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_killed_from_its_proof_on_is_resumed() {
    resume_after_kills_at(&announced(8, STEPS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_killed_before_its_swap_is_taken_back() {
    undo_after_kills_at(&announced(1, 7)).await;
}

/// Up to the step before the old file is dropped: from then on there is nothing to go back to.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_killed_from_its_proof_on_is_taken_back() {
    undo_after_kills_at(&announced(8, 12)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_that_dropped_the_old_file_says_that_it_cannot_go_back_and_changes_nothing() {
    let place = Place::new().await;
    done(&place.space.dbmig(&["vacuum", "box-0", "--keep", KEEP, "--yes"]), 0);
    let after = content(&place.file, "true");
    let run = place.space.dbmig(&["undo", &place.id(), "--yes"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    place.is_tidy();
    assert_eq!(content(&place.file, "true"), after);
}
