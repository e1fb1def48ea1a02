//! A workload that only holds a volume with a database: whatever changes in the file is our doing. What has to be true of it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{Namespace, Proxy, Run, Running};

/// A pod that does nothing with its volume.
const POD: &str = r#"{"metadata": {"labels": {"app": "box"}}, "spec": {"terminationGracePeriodSeconds": 1, "containers": [{
    "name": "main", "image": "busybox:1", "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 60 & wait $!; done"],
    "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}}"#;
/// The rows of a small database that stay.
pub(crate) const KEEP: &str = "rows: id % 4 = 0";
/// Steps of a vacuum.
pub(crate) const STEPS: usize = 14;
/// Steps that this vacuum passes over: nothing needs a scratch volume, holes, or a copy of the old file.
const PASSED_OVER: [usize; 3] = [5, 6, 9];

/// What the pod belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Its pod, box-0 with the claim data-box-0, comes back under the same name, once the one before is gone.
    StatefulSet,
    /// Its pod comes back at once, under another name.
    Deployment,
    /// A Deployment at 0 replicas: nothing has to be stopped or started, so that all the time goes to the data.
    AtRest,
}

/// How large the database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// 3 MB: the steps are what takes time.
    Small,
    /// 30 MB: there is time to do something while it is rebuilt.
    Large,
    /// 20 MB, half of it unused, on a volume where nothing is free: room comes from its unused pages only.
    Tight,
}

/// A cluster's corner with that workload and its database.
pub(crate) struct Place {
    pub(crate) space: Namespace,
    pub(crate) file: PathBuf,
    reference: TempDir,
    keep: &'static str,
    target: &'static str,
    owner: Owner,
}

/// Steps that are announced, of those from one to another.
pub(crate) fn announced(from: usize, to: usize) -> Vec<usize> {
    (from..=to).filter(|step| !PASSED_OVER.contains(step)).collect()
}

impl Place {
    /// A StatefulSet with a small database.
    pub(crate) async fn small() -> Self {
        Self::new("box", Owner::StatefulSet, Size::Small).await
    }

    /// The workload is Ready, the database as [`Place::renew`] leaves it.
    pub(crate) async fn new(purpose: &str, owner: Owner, size: Size) -> Self {
        let space = Namespace::new(purpose).await;
        let (volume, keep, bytes) = match size {
            Size::Small => ("32Mi", "id % 4 = 0", 1),
            Size::Large => ("160Mi", "id % 4 <> 0", 500),
            Size::Tight => ("32Mi", "id % 4 = 0", 500),
        };
        let (target, claim) = match owner {
            Owner::StatefulSet => ("statefulset/box", "data-box-0"),
            Owner::Deployment | Owner::AtRest => ("deployment/box", "data"),
        };
        space.volume(claim, volume);
        let file = space.folder(claim).join("app.sqlite");
        let reference = tempfile::tempdir().unwrap();
        write(&reference.path().join("old"), bytes);
        if size == Size::Tight {
            // Unused pages are all zeros, and so are holes.
            let old = Connection::open(reference.path().join("old")).unwrap();
            old.execute_batch("PRAGMA secure_delete = ON; DELETE FROM rows WHERE id <= 20000").unwrap();
        }
        let place = Self { space, file, reference, keep, target, owner };
        place.renew();
        place.space.apply(&workload(owner, volume).to_string());
        place.ready();
        place
    }

    /// Puts the old database in place again.
    pub(crate) fn renew(&self) {
        let _ = std::fs::remove_file(&self.file);
        std::fs::copy(self.old(), &self.file).unwrap();
    }

    fn old(&self) -> PathBuf {
        self.reference.path().join("old")
    }

    /// What the new file has at least, in bytes.
    pub(crate) fn kept_bytes(&self) -> u64 {
        let old = Connection::open(self.old()).unwrap();
        let sql = format!("SELECT sum(length(text) + length(pad)) FROM rows WHERE {}", self.keep);
        old.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap().unsigned_abs()
    }

    /// A vacuum of it, not started yet.
    pub(crate) fn vacuum(&self) -> Command {
        self.vacuum_with(&[])
    }

    /// The same with more words.
    pub(crate) fn vacuum_with(&self, words: &[&str]) -> Command {
        self.space.dbmig_command(&[&["vacuum", self.target, "--keep", &self.rule(), "--yes"], words].concat())
    }

    /// The same through a proxy.
    pub(crate) fn vacuum_through(&self, proxy: &Proxy) -> Command {
        self.space.dbmig_command_as(&proxy.kubeconfig(), &["vacuum", self.target, "--keep", &self.rule(), "--yes"])
    }

    fn rule(&self) -> String {
        format!("rows: {}", self.keep)
    }

    /// The volume, as this machine sees it.
    pub(crate) fn folder(&self) -> &Path {
        self.file.parent().unwrap()
    }

    /// `resume` or `undo` of the last operation, not started yet.
    pub(crate) fn take_up(&self, verb: &str) -> Command {
        self.space.dbmig_command(&[verb, &self.id(), "--yes"])
    }

    /// Id of the last operation.
    pub(crate) fn id(&self) -> String {
        let history: Value = serde_json::from_str(&self.space.dbmig(&["history", "-o", "json"]).stdout).unwrap();
        let newest = history["items"].as_array().unwrap().last().unwrap();
        newest["id"].as_str().unwrap().to_owned()
    }

    /// Waits until no helper binary changes or proves the database, and keeps the next one from beginning. `None` when `is_there` says
    /// that it is too late for that.
    pub(crate) fn hold(&self, is_there: impl Fn() -> bool) -> Option<File> {
        let folder = File::open(self.folder()).unwrap();
        while folder.try_lock_shared().is_err() {
            if is_there() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Some(folder)
    }

    /// The helper pod, if there is one that is not on its way out.
    pub(crate) fn helper(&self) -> Option<String> {
        let alive =
            "go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}}{{\"\\n\"}}{{end}}{{end}}";
        let pods = self.space.kubectl(&["get", "pods", "-l", "dbmig.dev/operation", "-o", alive]);
        pods.lines().next().map(str::to_owned)
    }

    /// Waits until the application is Ready, or gone where none is wanted.
    pub(crate) fn ready(&self) {
        let wanted = if self.owner == Owner::AtRest { "" } else { "True" };
        let ready = "go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{range .status.conditions}}\
                     {{if eq .type \"Ready\"}}{{.status}}{{end}}{{end}}{{end}}{{end}}";
        self.space.wait_for("the application is Ready", || {
            self.space.kubectl(&["get", "pods", "-l", "app=box", "-o", ready]) == wanted
        });
    }

    /// Nothing is left behind, and the application is Ready.
    pub(crate) fn is_tidy(&self, what: &str) {
        self.ready();
        assert_eq!(self.helper(), None, "{what}: the helper pod was not deleted");
        assert_eq!(self.space.kubectl(&["get", "leases", "-o", "name"]).trim(), "", "{what}");
        let names: Vec<String> = std::fs::read_dir(self.folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.contains("dbmig") || name.contains("sqlite-"))
            .collect();
        assert!(names.is_empty(), "{what}: left on the volume: {names:?}");
    }

    /// Nothing is left behind, the application is Ready, and the database has exactly the rows that stay.
    pub(crate) fn is_new(&self, what: &str) {
        self.is_tidy(what);
        assert!(self.has_new(), "{what}: the database has not the rows that stay");
    }

    /// Nothing is left behind, the application is Ready, and the database is the old one, byte by byte.
    pub(crate) fn is_old(&self, what: &str) {
        self.is_tidy(what);
        assert!(self.has_old(), "{what}: the database is not as it was");
    }

    /// In the middle of things: the old data or the new data is in place, whole.
    pub(crate) fn is_whole(&self, what: &str) {
        assert!(self.has_old() || self.has_new(), "{what}: the database is neither the old one nor the new one");
    }

    fn has_old(&self) -> bool {
        std::fs::read(&self.file).unwrap() == std::fs::read(self.old()).unwrap()
    }

    fn has_new(&self) -> bool {
        let new = Connection::open_with_flags(&self.file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let sound: String = new.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        new.execute("ATTACH ?1 AS old", [self.old().to_str().unwrap()]).unwrap();
        let keep = self.keep;
        let sql = format!(
            "SELECT (SELECT count(*) FROM main.rows), (SELECT count(*) FROM old.rows WHERE {keep}),
               (SELECT count(*) FROM main.rows a JOIN (SELECT rowid AS number, * FROM old.rows WHERE {keep}) b ON a.rowid = b.number
                WHERE typeof(a.id) = typeof(b.id) AND a.id IS b.id AND a.text IS b.text AND a.pad IS b.pad)"
        );
        let (there, wanted, equal): (i64, i64, i64) =
            new.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        sound == "ok" && there == wanted && equal == wanted && wanted > 0
    }
}

fn workload(owner: Owner, volume: &str) -> Value {
    let mut pod: Value = serde_json::from_str(POD).unwrap();
    let replicas = if owner == Owner::AtRest { 0 } else { 1 };
    let mut spec = json!({"replicas": replicas, "selector": {"matchLabels": {"app": "box"}}});
    let kind = match owner {
        Owner::StatefulSet => {
            spec["serviceName"] = "box".into();
            spec["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
                "storageClassName": "sized", "resources": {"requests": {"storage": volume}}}}]);
            "StatefulSet"
        }
        Owner::Deployment | Owner::AtRest => {
            pod["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
            "Deployment"
        }
    };
    spec["template"] = pod;
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "box"}, "spec": spec})
}

/// Goes on with the last operation until it is done.
pub(crate) fn resumed(place: &Place, what: &str) {
    succeeded(&Running::start(place.take_up("resume")).ends(), what);
    place.is_new(what);
}

/// Takes the last operation back.
pub(crate) fn undone(place: &Place, what: &str) {
    succeeded(&Running::start(place.take_up("undo")).ends(), what);
    place.is_old(what);
}

pub(crate) fn succeeded(ended: &Run, what: &str) {
    assert_eq!(ended.code, 0, "{what}: {}", ended.stderr);
}

/// It stopped half-way and says how to go on and how to go back.
pub(crate) fn stopped(ended: &Run, what: &str) {
    assert_eq!(ended.code, 8, "{what}: {}", ended.stderr);
    let ways = ["kubectl dbmig resume vacuum-", "kubectl dbmig undo vacuum-"];
    assert!(ways.iter().all(|way| ended.stderr.contains(way)), "{what}: {}", ended.stderr);
}

/// It did not wait for anything, and says that it can be taken up.
pub(crate) fn left_at_once(ended: &Run, what: &str) {
    assert_eq!(ended.code, 130, "{what}: {}", ended.stderr);
    let ways = ["kubectl dbmig resume", "kubectl dbmig undo"];
    assert!(ways.iter().all(|way| ended.stderr.contains(way)), "{what}: {}", ended.stderr);
}

/// Writes a small database of which [`KEEP`] keeps a part.
pub(crate) fn fill(path: &Path) {
    let _ = std::fs::remove_file(path);
    write(path, 1);
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

/// Writes the old database: a tenth of its rows is deleted, and each has a padding of so many bytes.
fn write(path: &Path, pad: u32) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous = OFF; CREATE TABLE rows (id INTEGER, text TEXT, pad BLOB); CREATE INDEX by_text ON rows (text);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
             INSERT INTO rows SELECT i, hex(i * 7919) || ' of the ' || i % 13, CAST(printf('%0{pad}d', i) AS BLOB) FROM n;
             DELETE FROM rows WHERE id % 10 = 0;",
        ))
        .unwrap();
}

/// A command that is over at once.
pub(crate) fn exit_code(run: &Run, code: i32, what: &str) {
    assert_eq!(run.code, code, "{what}: {}", run.stderr);
}
