//! Namespaces where the Pod Security level `restricted` is enforced: what we add there keeps its rules (Pod Security Standards, 1.25).
//! Servers before 1.23 don't enforce them, so the rules are held against the pods as the server has them.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, chown};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::{WatchStreamExt, watcher};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::place::{KEEP, content, fill};
use crate::support::Namespace;

/// A rule's name, and whether a pod keeps it.
type Rule = (&'static str, fn(&Value) -> bool);

const RESTRICTED: &[Rule] = &[
    ("host namespaces", |pod| ["hostNetwork", "hostPID", "hostIPC"].iter().all(|name| pod["spec"][name] != true)),
    ("privileged", |pod| each(pod, |security, _| security["privileged"] != true)),
    ("privilege escalation", |pod| each(pod, |security, _| security["allowPrivilegeEscalation"] == false)),
    ("capabilities dropped", |pod| each(pod, |security, _| words(&security["capabilities"]["drop"]).contains(&"ALL"))),
    ("capabilities added", |pod| {
        each(pod, |security, _| words(&security["capabilities"]["add"]).iter().all(|name| *name == "NET_BIND_SERVICE"))
    }),
    ("proc mount", |pod| each(pod, |security, _| matches!(security["procMount"].as_str(), None | Some("Default")))),
    ("running as non-root", |pod| {
        each(pod, |own, all| own["runAsNonRoot"] == true || own["runAsNonRoot"].is_null() && all["runAsNonRoot"] == true)
    }),
    ("running as user 0", |pod| pod["spec"]["securityContext"]["runAsUser"] != 0 && each(pod, |own, _| own["runAsUser"] != 0)),
    ("seccomp", |pod| {
        each(pod, |own, all| {
            let profile = own["seccompProfile"]["type"].as_str().or(all["seccompProfile"]["type"].as_str());
            matches!(profile, Some("RuntimeDefault" | "Localhost"))
        })
    }),
    ("SELinux", |pod| {
        let is_plain = |options: &Value| options["user"].is_null() && options["role"].is_null() && options["type"].is_null();
        is_plain(&pod["spec"]["securityContext"]["seLinuxOptions"]) && each(pod, |own, _| is_plain(&own["seLinuxOptions"]))
    }),
    ("sysctls", |pod| pod["spec"]["securityContext"]["sysctls"].is_null()),
    ("host ports", |pod| {
        let ports = |container: &Value| container["ports"].as_array().cloned().unwrap_or_default();
        containers(pod).iter().flat_map(ports).all(|port| port["hostPort"].is_null())
    }),
    ("volume types", |pod| {
        const ALLOWED: [&str; 8] =
            ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];
        let volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        volumes
            .iter()
            .all(|volume| volume.as_object().unwrap().keys().all(|key| key == "name" || ALLOWED.contains(&key.as_str())))
    }),
];

fn words(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn containers(pod: &Value) -> Vec<Value> {
    let lists = ["initContainers", "containers", "ephemeralContainers"].map(|list| pod["spec"][list].as_array().cloned());
    lists.into_iter().flatten().flatten().collect()
}

/// Whether it holds for each container, given its own security context and the pod's.
fn each(pod: &Value, holds: impl Fn(&Value, &Value) -> bool) -> bool {
    let all = &pod["spec"]["securityContext"];
    containers(pod).iter().all(|container| holds(&container["securityContext"], all))
}

/// Names of the rules that a pod breaks.
fn broken(pod: &Value) -> Vec<&'static str> {
    RESTRICTED.iter().filter(|(_, kept)| !kept(pod)).map(|(name, _)| *name).collect()
}

/// Our pods of a namespace as the server last showed them, also those that are gone again.
pub(super) struct Seen {
    pods: Arc<Mutex<BTreeMap<String, Value>>>,
    watching: JoinHandle<()>,
}

impl Seen {
    pub(super) fn watch(space: &Namespace) -> Self {
        let pods: Arc<Mutex<BTreeMap<String, Value>>> = Arc::default();
        let (log, api) = (pods.clone(), Api::<Pod>::namespaced(space.cluster().client.clone(), space.name()));
        let watching = tokio::spawn(async move {
            let mut events = std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff().applied_objects());
            while let Some(event) = events.next().await {
                let Ok(pod) = event else { continue };
                let name = pod.metadata.name.clone().unwrap();
                if name.starts_with("dbmig-") {
                    log.lock().unwrap().insert(name, serde_json::to_value(pod).unwrap());
                }
            }
        });
        Self { pods, watching }
    }

    /// Names of the pods that were seen, each of which broke these rules.
    pub(super) fn all_broke(&self, rules: &[&str]) -> Vec<String> {
        self.watching.abort();
        let pods = self.pods.lock().unwrap();
        for (name, pod) in pods.iter() {
            assert_eq!(broken(pod), rules, "pod/{name}: {pod:#}");
        }
        pods.keys().cloned().collect()
    }
}

/// What a pod in such a namespace says for itself.
pub(super) fn security() -> (Value, Value) {
    let pod = json!({"runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000,
        "seccompProfile": {"type": "RuntimeDefault"}});
    let container = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}});
    (pod, container)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_helper_pod_beside_a_restricted_pod_is_restricted_and_owner_and_group_stay() {
    let space = Namespace::new("restricted").await;
    space.volume("data", "32Mi");
    let path = space.folder("data").join("app.sqlite");
    fill(&path);
    chown(&path, Some(1000), Some(1000)).unwrap();
    let (pod, container) = security();
    let mut spec = json!({"terminationGracePeriodSeconds": 1, "securityContext": pod,
        "containers": [{"name": "main", "image": "busybox:1", "securityContext": container,
            "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]});
    space.pod("box", &spec);
    let look = || fs_facts(&path);
    let (expected, owner) = (content(&path, "id % 4 = 0"), look());
    let seen = Seen::watch(&space);
    let before = std::fs::read(&path).unwrap();
    let run = space.dbmig(&["vacuum", "box", "--keep", KEEP, "--keep-old", "pvc", "--yes", "-o", "name"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("runs as user 1000"), "{}", run.stderr);
    assert_eq!((content(&path, "true"), look()), (expected, owner));

    // The pod was created again, and is stopped and created once more.
    let id = run.stdout.trim().trim_start_matches("operation/");
    let run = space.dbmig(&["undo", id, "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(seen.all_broke(&[]).len(), 1);
    assert!(std::fs::read(&path).unwrap() == before, "undo put something else back: {}", run.stderr);
    assert_eq!(look(), owner);
    space.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "pod", "box"]);
    // A claim goes when the pod that mounts it has gone.
    space.wait_for("nothing of ours is left", || {
        let left = space.kubectl(&["get", "pvc,secrets,leases", "-o", "name"]);
        !left.contains("dbmig-vacuum") && !left.contains("secret/kubectl-dbmig")
    });

    // The rules can be broken: of a pod that does not say as whom it runs, the helper has to be root.
    space.kubectl(&["delete", "pod", "box", "--grace-period=1"]);
    spec["securityContext"] = json!({});
    space.pod("box", &spec);
    let seen = Seen::watch(&space);
    let run = space.dbmig(&["vacuum", "box", "--dry-run"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(seen.all_broke(&["capabilities added", "running as non-root", "running as user 0"]).len(), 1);
}

fn fs_facts(path: &std::path::Path) -> (u32, u32, u32) {
    let metadata = std::fs::metadata(path).unwrap();
    (metadata.uid(), metadata.gid(), metadata.mode())
}

/// Nothing in the image could take our binary in, and the volume goes with the pod: only an ephemeral container is left.
#[tokio::test(flavor = "multi_thread")]
async fn the_ephemeral_container_in_a_restricted_pod_is_restricted_and_gives_pages_back() {
    let space = Namespace::new("ephemeral").await;
    let (pod, container) = security();
    let spec = json!({"terminationGracePeriodSeconds": 1, "securityContext": pod,
        "containers": [{"name": "main", "image": "upmeter:bare", "securityContext": container, "command": ["/upmeter", "start"],
            "volumeMounts": [{"name": "data", "mountPath": "/db"}]}], "volumes": [{"name": "data", "emptyDir": {}}]});
    space.pod("box", &spec);
    let generate = ["/upmeter", "generate", "/db/second.sqlite", "--days", "1", "--probes", "1", "--free-pages", "300"];
    space.kubectl(&[&["exec", "box", "--"], &generate[..]].concat());
    let run = space.dbmig(&["vacuum", "box", "--punch", "--database", "/db/second.sqlite", "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("given back in"), "{}", run.stderr);
    let pod: Value = serde_json::from_str(&space.kubectl(&["get", "pod", "box", "-o", "json"])).unwrap();
    let ours = pod["spec"]["ephemeralContainers"][0]["name"].as_str().expect("an ephemeral container").to_owned();
    assert_eq!(broken(&pod), Vec::<&str>::new());
    // Which serves to fetch the file, too.
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("second.sqlite");
    let fetched = space.kubectl(&["exec", "box", "-c", &ours, "--", "base64", "/db/second.sqlite"]);
    let mut decode = std::process::Command::new("base64");
    let decoded =
        decode.arg("-d").arg("-").stdin(std::process::Stdio::piped()).stdout(std::fs::File::create(&copy).unwrap()).spawn();
    let mut decoded = decoded.unwrap();
    std::io::Write::write_all(&mut decoded.stdin.take().unwrap(), fetched.as_bytes()).unwrap();
    assert!(decoded.wait().unwrap().success());
    let connection = Connection::open(&copy).unwrap();
    assert_eq!(connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
    assert_eq!(connection.query_row("SELECT count(*) FROM downtime30s", [], |row| row.get::<_, i64>(0)).unwrap(), 2880);
}
