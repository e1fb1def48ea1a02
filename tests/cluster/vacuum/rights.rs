//! A user who lacks a single right of the documented Role is told which, before anything is changed.

use serde_json::{Value, json};

use super::traces;
use crate::support::{Namespace, Shape, Upmeter};

const ROLE: &str = include_str!("../../../plugin-manifest/vacuum.yaml");

/// What is asked for, and each right without which it is refused: resource (with subresource) and verb.
const CASES: &[(&[&str], &[&str])] = &[
    (
        &["upmeter-0"],
        &[
            "get pods",
            "list pods",
            "watch pods",
            "create pods",
            "delete pods",
            "get pods/exec",
            "create pods/exec",
            "get configmaps",
            "list configmaps",
            "create configmaps",
            "update configmaps",
            "get leases",
            "create leases",
            "update leases",
            "delete leases",
            "patch statefulsets/scale",
        ],
    ),
    (&["sts/upmeter"], &["get statefulsets"]),
    (
        &["upmeter-0", "--scratch", "pvc"],
        &["get persistentvolumeclaims", "create persistentvolumeclaims", "delete persistentvolumeclaims"],
    ),
    (&["upmeter-0", "--keep-old", "pvc"], &["create persistentvolumeclaims"]),
    (&["deploy/shop"], &["get deployments", "get replicasets", "list replicasets", "patch deployments/scale"]),
    (&["alone"], &["create secrets", "get secrets", "patch secrets", "delete secrets"]),
    (&["upmeter-0", "--punch"], &["create pods/exec", "list pods"]),
];

/// The Role as single rights: group, resource, verb, and the names it is limited to.
fn rights(space: &Namespace) -> Vec<(String, String, String, Value)> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("role.yaml");
    std::fs::write(&file, ROLE).unwrap();
    let role = space.kubectl(&["create", "--dry-run=client", "-o", "json", "-f", file.to_str().unwrap()]);
    let role: Value = serde_json::from_str(&role).unwrap();
    let list = |rule: &Value, name: &str| -> Vec<String> {
        rule[name].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        for resource in list(rule, "resources") {
            for verb in list(rule, "verbs") {
                rights.push((list(rule, "apiGroups").concat(), resource.clone(), verb, rule["resourceNames"].clone()));
            }
        }
    }
    rights
}

/// A Role without one right, and a user who has that Role.
fn without(rights: &[(String, String, String, Value)], lacking: &str, user: &str) -> [Value; 2] {
    let is_other = |right: &&(String, String, String, Value)| format!("{} {}", right.2, right.1) != lacking;
    let rules: Vec<Value> = rights
        .iter()
        .filter(is_other)
        .map(|(group, resource, verb, names)| {
            let mut rule = json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]});
            if !names.is_null() {
                rule["resourceNames"] = names.clone();
            }
            rule
        })
        .collect();
    assert_eq!(rules.len(), rights.len() - 1, "the documented Role does not have `{lacking}` once");
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": user}, "rules": rules});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]});
    [role, binding]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_single_right_that_is_missing_is_named_before_anything_is_changed() {
    let space = Namespace::new("rights").await;
    let upmeter = Upmeter::new(&space, Shape::Root, "16Mi");
    upmeter.seed("--days 1 --probes 1").seeded().deploy().ready();
    let main = json!({"containers": [{"name": "main", "image": "busybox:1", "command": ["sleep", "3600"],
        "volumeMounts": [{"name": "data", "mountPath": "/db"}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-upmeter-0"}}]});
    space.pod("alone", &main);
    let shop = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}, "spec": {"replicas": 1,
        "selector": {"matchLabels": {"app": "shop"}}, "template": {"metadata": {"labels": {"app": "shop"}}, "spec": main}}});
    space.apply(&shop.to_string());
    space.kubectl(&["rollout", "status", "deployment/shop", "--timeout=180s"]);
    let rights = rights(&space);
    let mut roles = Vec::new();
    let mut cases = Vec::new();
    for (words, lacking) in CASES {
        for lacking in *lacking {
            let user = format!("user-{}", cases.len());
            roles.extend(without(&rights, lacking, &user));
            cases.push((words, lacking, user));
        }
    }
    space.apply(&json!({"apiVersion": "v1", "kind": "List", "items": roles}).to_string());
    let last = cases.last().unwrap().2.clone();
    space.wait_for("the last role is in force", || {
        space.try_kubectl(&["auth", "can-i", "get", "configmaps", "--as", &last]).stdout.trim() == "yes"
    });
    let pods = || space.kubectl(&["get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.uid}{..restartCount}{end}"]);
    let before = pods();
    for (words, lacking, user) in cases {
        let run = space.dbmig(&[&["vacuum"], *words, &["--yes", "--as", &user]].concat());
        assert_eq!(run.code, 4, "{words:?} without {lacking}: {}", run.stderr);
        let (verb, resource) = lacking.split_once(' ').unwrap();
        let named = run.stderr.lines().any(|line| line.contains(&format!("missing: {verb} {resource}")));
        assert!(named && run.stderr.contains("kind: Role"), "{words:?} without {lacking}: {}", run.stderr);
        assert_eq!(run.stderr.matches("missing: ").count(), 1, "{words:?} without {lacking}: {}", run.stderr);
        assert_eq!((traces(&space), pods()), (Vec::new(), before.clone()), "{words:?} without {lacking}");
    }
}
