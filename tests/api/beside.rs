//! What stands beside a pod on servers that the throwaway cluster is not: ephemeral containers of every age, claims, operators.

use dbmig::cluster::claim::{Growth, refuse_exclusive};
use dbmig::cluster::ephemeral;
use dbmig::cluster::kind::TargetRef;
use dbmig::cluster::owner::Owner;
use dbmig::cluster::target::Target;
use dbmig::cluster::volume::Source;
use dbmig::cluster::workload::Workload;
use dbmig::exit::Exit;
use dbmig::shutdown::Stop;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::cluster;
use super::server::{Answer, Seen, Server};

/// How a server answers a PATCH of `pods/ephemeralcontainers`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Age {
    /// Up to 1.15, and with the feature gate off: not served at all.
    Without,
    /// 1.16 to 1.21: a kind of its own, and a patch of a pod answers 200 and does nothing.
    Old,
    /// Since 1.22: a Pod.
    New,
}

fn pod(added: Option<&Value>) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db-0", "namespace": "default", "uid": "u", "resourceVersion": "7"},
        "spec": {"securityContext": {"runAsUser": 1000}, "volumes": [{"name": "data", "emptyDir": {}}, {"name": "part", "emptyDir": {}}],
            "containers": [{"name": "main", "image": "app:1", "volumeMounts": [
                {"name": "data", "mountPath": "/db"}, {"name": "part", "mountPath": "/part", "subPath": "x"}]}]},
        "status": {"containerStatuses": []}});
    if let Some(added) = added {
        pod["spec"]["ephemeralContainers"] = json!([added]);
        pod["status"]["ephemeralContainerStatuses"] = json!([{"name": added["name"], "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]);
    }
    pod
}

fn serves(age: Age, seen: &Seen, added: &std::sync::Mutex<Option<Value>>) -> Answer {
    let path = seen.path.split('?').next().unwrap_or_default();
    match (seen.method.as_str(), path) {
        ("GET", "/version") => {
            Answer::json(&json!({"major": "1", "minor": "20", "gitVersion": "v1.20.2", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}))
        }
        ("GET", "/apis") => Answer::json(&json!({"kind": "APIGroupList", "groups": []})),
        ("GET", "/api/v1") => {
            let names: &[&str] = if age == Age::Without { &["pods"] } else { &["pods", "pods/ephemeralcontainers"] };
            let list: Vec<Value> = names
                .iter()
                .map(|name| json!({"name": name, "singularName": "", "namespaced": true, "kind": "X", "verbs": []}))
                .collect();
            Answer::json(&json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": list}))
        }
        ("PATCH", "/api/v1/namespaces/default/pods/db-0/ephemeralcontainers") if age == Age::Old => Answer::json(
            &json!({"kind": "EphemeralContainers", "apiVersion": "v1", "metadata": {"name": "db-0"}, "ephemeralContainers": []}),
        ),
        ("PATCH", "/api/v1/namespaces/default/pods/db-0/ephemeralcontainers") => {
            let patch: Value = serde_json::from_str(&seen.body).unwrap();
            *added.lock().unwrap() = Some(patch["spec"]["ephemeralContainers"][0].clone());
            Answer::json(&pod(added.lock().unwrap().as_ref()))
        }
        ("GET", "/api/v1/namespaces/default/pods") if !seen.path.contains("watch=") => {
            Answer::json(&json!({"apiVersion": "v1", "kind": "PodList",
            "metadata": {"resourceVersion": "8"}, "items": [pod(added.lock().unwrap().as_ref())]}))
        }
        _ => Answer::status(404, "NotFound", "not found"),
    }
}

/// What came of adding one, what was added, and which methods the server saw on pods.
async fn added_to(age: Age) -> (dbmig::failure::Result<()>, Option<Value>, Vec<String>) {
    let added = std::sync::Arc::new(std::sync::Mutex::new(None));
    let script = added.clone();
    let server = Server::start(move |_, seen| serves(age, seen, &script)).await;
    let target: Pod = serde_json::from_value(pod(None)).unwrap();
    let outcome = ephemeral::add(&cluster(&server).await, &Stop::default(), &target, "main", "dbmig-x", "busybox:1").await;
    let methods = server.seen().iter().filter(|seen| seen.path.contains("/pods/")).map(|seen| seen.method.clone()).collect();
    let added = added.lock().unwrap().clone();
    (outcome, added, methods)
}

#[tokio::test]
async fn an_ephemeral_container_mounts_what_it_may_as_the_same_user() {
    let (outcome, added, methods) = added_to(Age::New).await;
    outcome.unwrap();
    let added = added.unwrap();
    assert_eq!(added["volumeMounts"], json!([{"name": "data", "mountPath": "/db"}]));
    assert_eq!((&added["securityContext"]["runAsUser"], &added["image"]), (&json!(1000), &json!("busybox:1")));
    assert_eq!(methods, ["PATCH"]);
}

#[tokio::test]
async fn a_server_that_answers_in_the_old_shape_did_nothing_and_is_not_believed() {
    let (outcome, _, methods) = added_to(Age::Old).await;
    let failure = outcome.unwrap_err();
    assert_eq!(failure.exit, Exit::Refused);
    assert!(failure.facts[0].contains("too old"), "{failure:?}");
    assert_eq!(methods, ["PATCH"]);
}

#[tokio::test]
async fn a_server_without_ephemeral_containers_is_not_asked_for_one() {
    let (outcome, _, methods) = added_to(Age::Without).await;
    assert_eq!(outcome.unwrap_err().message, "this server has no ephemeral containers");
    assert_eq!(methods, Vec::<String>::new());
}

fn claim(mode: &str, class: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": [mode], "storageClassName": class}})
}

/// What is said about the claim's growth by a server whose class is `answer`.
async fn advice(answer: impl Fn() -> Answer + Send + Sync + 'static) -> String {
    let server = Server::start(move |_, seen| match seen.path.split('?').next().unwrap_or_default() {
        "/api/v1/namespaces/shop/persistentvolumeclaims/data" => Answer::json(&claim("ReadWriteOnce", "fast")),
        "/apis/storage.k8s.io/v1/storageclasses/fast" => answer(),
        _ => Answer::status(404, "NotFound", "not found"),
    })
    .await;
    Growth::of(&cluster(&server).await, "shop", &Source::Claim("data".to_owned())).await.unwrap().advice()
}

#[tokio::test]
async fn whether_a_claim_can_grow_is_said_as_far_as_it_is_known() {
    let class = |allowed: bool| {
        Answer::json(&json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
        "provisioner": "x", "allowVolumeExpansion": allowed}))
    };
    let yes = advice(move || class(true)).await;
    assert_eq!(yes, "or expand persistentvolumeclaim/data: its storage class fast allows it");
    assert!(advice(move || class(false)).await.contains("can't be expanded"));
    assert!(advice(|| Answer::status(403, "Forbidden", "no")).await.contains("if its storage class fast allows it"));
}

#[tokio::test]
async fn a_claim_for_one_pod_only_is_refused_while_that_pod_is_there() {
    let mounting = |name: &str, labels: Value| {
        json!({"metadata": {"name": name, "labels": labels}, "spec": {"containers": [],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}})
    };
    let answer = async |mode: &'static str, users: Vec<Value>| {
        let server = Server::start(move |_, seen| match seen.path.split('?').next().unwrap_or_default() {
            "/api/v1/namespaces/shop/persistentvolumeclaims/data" => Answer::json(&claim(mode, "fast")),
            "/api/v1/namespaces/shop/pods" => {
                Answer::json(&json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": users}))
            }
            _ => Answer::status(404, "NotFound", "not found"),
        })
        .await;
        refuse_exclusive(&cluster(&server).await, "shop", [Source::Claim("data".to_owned())].iter()).await
    };
    let failure = answer("ReadWriteOncePod", vec![mounting("db-0", json!({}))]).await.unwrap_err();
    assert_eq!(failure.exit, Exit::Refused);
    assert!(failure.message.contains("pod/db-0") && failure.next[0].contains("0 replicas"), "{failure:?}");
    answer("ReadWriteOncePod", vec![]).await.unwrap();
    answer("ReadWriteOncePod", vec![mounting("dbmig-x", json!({"dbmig.dev/operation": "x"}))]).await.unwrap();
    answer("ReadWriteOnce", vec![mounting("db-0", json!({}))]).await.unwrap();
}

#[tokio::test]
async fn a_deployment_that_an_operator_owns_is_the_operators() {
    let owned = |name: &str, api: &str, kind: &str, owner: &str| {
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"name": name, "uid": name, "ownerReferences": [
            {"apiVersion": api, "kind": kind, "name": owner, "uid": owner, "controller": true}]}})
    };
    let server = Server::start(move |_, seen| match seen.path.rsplit_once("/namespaces/default/").map_or("", |(_, rest)| rest) {
        "pods/shop-1-x" => {
            let mut pod = owned("shop-1-x", "apps/v1", "ReplicaSet", "shop-1");
            pod["kind"] = "Pod".into();
            pod["apiVersion"] = "v1".into();
            pod["spec"] = json!({"containers": [{"name": "main"}]});
            Answer::json(&pod)
        }
        "replicasets/shop-1" => Answer::json(&owned("shop-1", "apps/v1", "Deployment", "shop")),
        "deployments/shop" => Answer::json(&owned("shop", "example.com/v1", "Shop", "big")),
        _ => Answer::status(404, "NotFound", "not found"),
    })
    .await;
    let target = Target::resolve(&cluster(&server).await, &TargetRef::parse(&["shop-1-x"]).unwrap(), None).await.unwrap();
    assert!(matches!(&target.owner, Owner::Other { kind_name, .. } if kind_name == "Shop"), "{:?}", target.owner);
    assert_eq!(Workload::of(&target.pod, &target.owner).unwrap_err().exit, Exit::Refused);
}
