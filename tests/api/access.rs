//! The access preflight, and what a server says about itself.

use dbmig::cluster::access::{Need, missing, require, who_am_i};
use dbmig::cluster::kind::{Kind, TargetRef};
use dbmig::cluster::names;
use dbmig::cluster::owner::Owner;
use dbmig::cluster::target::Target;
use dbmig::exit::Exit;
use serde_json::{Value, json};

use super::cluster;
use super::server::{Answer, Seen, Server};

/// Allows everything but to create pods/exec; knows who asks only if `tells`.
fn reviews(tells: bool) -> impl Fn(usize, &Seen) -> Answer {
    move |_, seen| {
        if seen.path.contains("selfsubjectreviews") {
            let who = json!({"status": {"userInfo": {"username": "jane@example.com"}}});
            return if tells {
                Answer::json(&who)
            } else {
                Answer::status(404, "NotFound", "the server could not find the requested resource")
            };
        }
        let asked: Value = serde_json::from_str(&seen.body).unwrap();
        let attributes = &asked["spec"]["resourceAttributes"];
        let denied = attributes["subresource"] == "exec" && attributes["verb"] == "create";
        Answer::json(&json!({"spec": asked["spec"], "status": {"allowed": !denied}}))
    }
}

#[tokio::test]
async fn exactly_what_is_not_allowed_is_missing_and_each_need_is_asked_once() {
    let server = Server::start(reviews(true)).await;
    let needs = [Need::exec("shop"), Need::exec("shop"), Need::all("shop", "", "pods", &["get", "list"])].concat();
    let found = missing(&cluster(&server).await, &needs).await.unwrap();
    assert_eq!(found, [Need::new("shop", "", "pods/exec", "create")]);
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn a_refusal_names_the_user_and_hands_out_the_role() {
    let server = Server::start(reviews(true)).await;
    let failure = require(&cluster(&server).await, &Need::exec("shop"), "dbmig-vacuum").await.unwrap_err();
    assert_eq!((failure.exit, failure.message.as_str()), (Exit::Refused, "jane@example.com may not do all that is needed"));
    assert_eq!(failure.facts, ["missing: create pods/exec in namespace shop"]);
    assert!(failure.next[0].contains("kind: Role\n") && failure.next[0].contains(r#"verbs: ["create"]"#), "{failure:?}");
    assert!(require(&cluster(&server).await, &Need::all("shop", "", "pods", &["get"]), "x").await.is_ok());
}

#[tokio::test]
async fn an_old_server_that_does_not_know_who_asks_is_no_error() {
    let server = Server::start(reviews(false)).await;
    assert_eq!(who_am_i(&cluster(&server).await).await, "this user");
}

/// A server 1.20: no batch/v1 CronJob, no policy/v1, no ephemeral containers.
fn old(seen: &Seen) -> Answer {
    let resources = |names: &[&str]| {
        let list: Vec<Value> = names
            .iter()
            .map(|name| json!({"name": name, "singularName": "", "namespaced": true, "kind": "X", "verbs": []}))
            .collect();
        Answer::json(&json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": list}))
    };
    match seen.path.as_str() {
        "/version" => {
            Answer::json(&json!({"major": "1", "minor": "20", "gitVersion": "v1.20.2", "gitCommit": "", "gitTreeState": "",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}))
        }
        "/apis" => Answer::json(&json!({"kind": "APIGroupList", "groups": [{"name": "policy", "versions":
            [{"groupVersion": "policy/v1beta1", "version": "v1beta1"}]}]})),
        "/api/v1" => resources(&["pods", "pods/exec"]),
        "/apis/batch/v1" => resources(&["jobs"]),
        _ => Answer::status(404, "NotFound", "not found"),
    }
}

#[tokio::test]
async fn what_an_old_server_lacks_is_found_by_discovery_and_asked_once() {
    let server = Server::start(|_, seen| old(seen)).await;
    let cluster = cluster(&server).await;
    let features = cluster.features().await.unwrap().clone();
    assert_eq!((features.version.as_str(), features.number), ("v1.20.2", Some((1, 20))));
    assert!(!features.cronjob_v1 && !features.policy_v1 && !features.ephemeral_containers && !features.websocket_v5);
    let asked = server.seen().len();
    assert_eq!(cluster.clone().features().await.unwrap(), &features);
    assert_eq!(server.seen().len(), asked);
}

#[tokio::test]
async fn a_cronjob_of_an_old_server_is_asked_for_in_the_old_version() {
    let server = Server::start(|_, seen| old(seen)).await;
    names::objects(&cluster(&server).await, Kind::CronJob, "shop").await;
    let path = server.seen().last().unwrap().path.clone();
    assert!(path.starts_with("/apis/batch/v1beta1/namespaces/shop/cronjobs"), "{path}");
}

#[tokio::test]
async fn completion_is_silent_when_the_server_says_no() {
    let server = Server::start(|_, _| Answer::status(403, "Forbidden", "no")).await;
    let cluster = cluster(&server).await;
    assert!(names::objects(&cluster, Kind::Pod, "shop").await.is_empty());
    assert!(names::namespaces(&cluster).await.is_empty());
    assert!(names::containers(&cluster, "shop", "db-0").await.is_empty());
}

fn owner(kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}])
}

/// A Deployment with its ReplicaSet and pod, and beside it a pod that only carries the same labels.
fn deployment(seen: &Seen) -> Answer {
    let path = seen.path.split('?').next().unwrap_or_default();
    let set = json!({"name": "keeper-1", "uid": "u-rs", "ownerReferences": owner("Deployment", "keeper", "u-deploy")});
    match path.rsplit_once("/namespaces/default/").map_or("", |(_, object)| object) {
        "deployments/keeper" => Answer::json(&json!({"metadata": {"name": "keeper", "uid": "u-deploy"},
            "spec": {"selector": {"matchLabels": {"app": "keeper"}}, "template": {}}})),
        "replicasets" => {
            Answer::json(&json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {},
            "items": [{"metadata": set}]}))
        }
        "replicasets/keeper-1" => {
            Answer::json(&json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": set}))
        }
        "pods" => Answer::json(&json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [
            {"metadata": {"name": "stray"}, "spec": {"containers": [{"name": "main"}]}},
            {"metadata": {"name": "keeper-1-x", "ownerReferences": owner("ReplicaSet", "keeper-1", "u-rs")}, "spec": {"containers": [{"name": "main"}]}}]})),
        _ => Answer::status(404, "NotFound", "not found"),
    }
}

#[tokio::test]
async fn a_deployment_stands_for_a_pod_of_its_own_and_owns_it_through_its_replicaset() {
    let server = Server::start(|_, seen| deployment(seen)).await;
    let asked = TargetRef::parse(&["deploy/keeper"]).unwrap();
    let target = Target::resolve(&cluster(&server).await, &asked, None).await.unwrap();
    assert_eq!((target.pod_name().as_str(), target.container.as_str()), ("keeper-1-x", "main"));
    assert!(
        matches!(&target.owner, Owner::Deployment { object, replica_set } if object.uid == "u-deploy" && replica_set.as_ref().is_some_and(|set| set.name == "keeper-1"))
    );
}
