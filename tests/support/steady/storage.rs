//! Storage that can copy, which the throwaway cluster has not: volumes are folders of this machine, and a thread does the work of a CSI
//! driver and of the snapshot controller. It copies what a server has while that one stands still, as if within an instant.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::snapshots::{DRIVER, say};
use super::super::{Namespace, Run, kubectl};

/// Folder of all its volumes; only such may be removed by it.
const FOLDERS: &str = "/var/tmp/dbmig-stand-in";
const LOOK: Duration = Duration::from_millis(300);
/// All servers of a pod, told to stand still (STOP) or to go on (CONT).
const SIGNAL: &str =
    r#"for p in /proc/[0-9]*; do [[ $(cat $p/comm 2>/dev/null) != postgres ]] || kill -$0 ${p#/proc/} 2>/dev/null || :; done"#;

/// How its driver behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It copies.
    Works,
    /// It says that it can't.
    Refuses,
    /// It says nothing.
    Rests,
}

/// The storage; its class and its volumes go when it is dropped.
pub(crate) struct Storage<'a> {
    space: &'a Namespace,
    mood: Arc<AtomicU8>,
    over: Arc<AtomicBool>,
    driver: Option<JoinHandle<()>>,
}

impl<'a> Storage<'a> {
    /// Has a class of it, named as the namespace, and its driver at work.
    pub(crate) fn new(space: &'a Namespace) -> Self {
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": space.name()},
            "provisioner": DRIVER});
        let driver = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}, "spec": {"attachRequired": false}});
        space.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [class, driver]}).to_string());
        let (mood, over) = (Arc::new(AtomicU8::new(Mood::Works as u8)), Arc::new(AtomicBool::new(false)));
        let work = Work { namespace: space.name().to_owned(), folder: Path::new(FOLDERS).join(space.name()), mood: mood.clone() };
        let ended = over.clone();
        let driver = spawn(move || {
            while !ended.load(Relaxed) {
                work.snapshots();
                work.claims();
                sleep(LOOK);
            }
        });
        Self { space, mood, over, driver: Some(driver) }
    }

    /// From now on it behaves so.
    pub(crate) fn is(&self, mood: Mood) -> &Self {
        self.mood.store(mood as u8, Relaxed);
        self
    }
}

impl Drop for Storage<'_> {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        let _ = self.driver.take().map(JoinHandle::join);
        let label = format!("dbmig-test-storage={}", self.space.name());
        self.space.try_kubectl(&["delete", "storageclass", self.space.name()]);
        self.space.try_kubectl(&["delete", "persistentvolume", "--wait=false", "-l", &label]);
        self.space.try_kubectl(&["delete", "csidriver", "--ignore-not-found", DRIVER]);
        // Servers may still run on them until the namespace is gone; they get an error, and nobody looks any more.
        let _ = fs::remove_dir_all(Path::new(FOLDERS).join(self.space.name()));
    }
}

struct Work {
    namespace: String,
    folder: PathBuf,
    mood: Arc<AtomicU8>,
}

impl Work {
    /// Gives each claim of the class that has none a volume: an empty one, or a copy.
    fn claims(&self) {
        for claim in self.all("persistentvolumeclaims") {
            let (spec, name) = (&claim["spec"], text(&claim["metadata"]["name"]));
            if spec["storageClassName"] != *self.namespace || !spec["volumeName"].is_null() {
                continue;
            }
            let folder = self.folder.join(text(&claim["metadata"]["uid"]));
            if !folder.exists() {
                match (text(&spec["dataSource"]["kind"]), text(&spec["dataSource"]["name"])) {
                    ("VolumeSnapshot", source) => copy(&self.folder.join(source), &folder),
                    ("PersistentVolumeClaim", _) if !self.is(Mood::Works) => continue,
                    ("PersistentVolumeClaim", source) => self.copy_of(source, &folder),
                    _ => run(Command::new("install").args(["-d", "-m", "0777"]).arg(&folder)),
                }
            }
            let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": {"name": format!("{}-{name}-{}", self.namespace, text(&claim["metadata"]["uid"])),
                    "labels": {"dbmig-test-storage": self.namespace}},
                "spec": {"storageClassName": self.namespace, "accessModes": spec["accessModes"],
                    "persistentVolumeReclaimPolicy": "Retain", "capacity": spec["resources"]["requests"],
                    "hostPath": {"path": folder},
                    "claimRef": {"namespace": self.namespace, "name": name, "uid": claim["metadata"]["uid"]}}});
            // Seen again before the claim is bound.
            Run::with_input(kubectl().args(["create", "-f", "-"]), &volume.to_string());
        }
    }

    /// Takes the snapshots that are wanted, or says why not.
    fn snapshots(&self) {
        for snapshot in self.all("volumesnapshots").iter().filter(|snapshot| snapshot["status"].is_null()) {
            if self.is(Mood::Refuses) {
                say(snapshot, &json!({"readyToUse": false, "error": {"message": "the array is full"}}));
            }
            if self.is(Mood::Works) {
                let folder = self.folder.join(text(&snapshot["metadata"]["name"]));
                self.copy_of(text(&snapshot["spec"]["source"]["persistentVolumeClaimName"]), &folder);
                say(
                    snapshot,
                    &json!({"readyToUse": true, "boundVolumeSnapshotContentName": "snapcontent", "restoreSize": "1Gi"}),
                );
            }
        }
    }

    /// What a claim's volume has right now, while the server on it stands still.
    fn copy_of(&self, claim: &str, to: &Path) {
        let found = self.kubectl(&["get", "pvc", claim, "-o", "jsonpath={.metadata.uid}"]);
        let pod = claim.trim_start_matches("data-");
        let tell = |signal: &str| self.kubectl(&["exec", pod, "--", "bash", "-c", SIGNAL, signal]);
        tell("STOP");
        copy(&self.folder.join(&found.stdout), to);
        tell("CONT");
    }

    fn kubectl(&self, words: &[&str]) -> Run {
        Run::of(kubectl().args(["--namespace", &self.namespace]).args(words))
    }

    fn is(&self, mood: Mood) -> bool {
        self.mood.load(Relaxed) == mood as u8
    }

    /// All objects of a kind; none where it is not served.
    fn all(&self, kind: &str) -> Vec<Value> {
        let run = self.kubectl(&["get", kind, "-o", "json"]);
        let list: Value = serde_json::from_str(&run.stdout).unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }
}

fn copy(from: &Path, to: &Path) {
    // Under another name first: a copy that was cut off is none.
    let half = to.with_extension("half");
    let _ = fs::remove_dir_all(&half);
    run(Command::new("cp").args(["-a", "--"]).args([from, &half]));
    fs::rename(&half, to).expect("both are ours");
}

fn run(command: &mut Command) {
    let run = Run::of(command);
    assert_eq!(run.code, 0, "{command:?}: {}", run.stderr);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
