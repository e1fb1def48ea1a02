//! `doctor -A` by somebody who may look into two namespaces of a cluster that has many more.

use std::path::Path;

use serde_json::json;

use super::doctor::{finding, object};
use crate::support::Namespace;

const ROLES: &str =
    concat!(include_str!("../../../plugin-manifest/observe.yaml"), "\n---\n", include_str!("../../../plugin-manifest/look.yaml"));

/// A Job that migrates and fails, and says why.
fn fails(space: &Namespace, name: &str) {
    space.has_account();
    let labels = json!({"app.kubernetes.io/component": "migration"});
    let script = "echo 'error: Dirty database version 4. Fix and force version.'; exit 1";
    let container = json!({"name": "main", "image": "busybox:1", "command": ["sh", "-c", script]});
    let pod = json!({"automountServiceAccountToken": false, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
        "containers": [container]});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": pod}}});
    space.apply(&job.to_string());
    space.wait_for("the Job has failed", || {
        space.try_kubectl(&["get", "job", name, "-o", "jsonpath={.status.conditions[?(@.type=='Failed')].status}"]).stdout
            == "True"
    });
}

/// Lets the account list namespaces. It goes with the namespace, which owns it.
fn may_list_namespaces(space: &Namespace) {
    let uid = space.kubectl(&["get", "namespace", space.name(), "-o", "jsonpath={.metadata.uid}"]);
    let owner = json!([{"apiVersion": "v1", "kind": "Namespace", "name": space.name(), "uid": uid}]);
    let meta = json!({"name": space.name(), "ownerReferences": owner});
    let rules = json!([{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list"]}]);
    space.apply(
        &json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": meta, "rules": rules})
            .to_string(),
    );
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": space.name()});
    let account = json!([{"kind": "ServiceAccount", "name": "caller", "namespace": space.name()}]);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": meta,
        "roleRef": role, "subjects": account});
    space.apply(&binding.to_string());
}

/// The account of `home` may look here too.
fn lets_in(space: &Namespace, home: &Namespace) {
    space.apply(ROLES);
    let account = format!("--serviceaccount={}:caller", home.name());
    for (name, role) in [("observe", "kubectl-dbmig-observe"), ("look", "kubectl-dbmig-look")] {
        space.kubectl(&["create", "rolebinding", name, &format!("--role={role}"), &account]);
    }
}

fn doctor(space: &Namespace, user: &Path, more: &[&str]) -> crate::support::Run {
    space.dbmig_as(user, &[&["doctor", "-A"], more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_look_into_some_namespaces_is_told_of_these_and_that_there_are_others() {
    let (home, other) = (Namespace::new("everyhome").await, Namespace::new("everyother").await);
    let closed = Namespace::new("everyclosed").await;
    fails(&home, "first");
    fails(&other, "second");
    fails(&closed, "third");
    let dir = tempfile::tempdir().unwrap();
    let user = home.user("caller", ROLES, "kubectl-dbmig-observe", dir.path());

    // Which namespaces there are is not theirs to know: nothing is made up of that.
    let run = doctor(&home, &user, &[]);
    assert_eq!((run.code, run.stdout.as_str()), (4, ""), "{}", run.stderr);
    for words in [
        "you may not list the pods of all namespaces",
        "which namespaces there are, you may not list either",
        "doctor -n NAMESPACE",
    ] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }

    lets_in(&other, &home);
    may_list_namespaces(&home);
    let run = doctor(&home, &user, &["-o", "json"]);
    assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
    let diagnosis = object(&run);
    for (space, job) in [(&home, "first"), (&other, "second")] {
        let failed = finding(&diagnosis, &format!("job/{job} failed"));
        assert!(failed["what"].as_str().unwrap().starts_with(&format!("{}: ", space.name())), "{failed}");
        let next = failed["next"].as_array().unwrap();
        assert!(next.iter().all(|next| next.as_str().unwrap().ends_with(&format!("-n {}", space.name()))), "{failed}");
    }
    let unseen = finding(&diagnosis, "namespaces were not looked into, for you may not list their pods: ");
    let what = unseen["what"].as_str().unwrap();
    assert!(unseen["level"] == "note" && !what.contains(home.name()) && !what.contains(other.name()), "{unseen}");
    assert!(!run.stdout.contains("job/third"), "{}", run.stdout);

    // With nowhere to look that is refused, and not taken for well-being.
    for space in [&home, &other] {
        space.kubectl(&["delete", "rolebinding", "--all"]);
    }
    let run = doctor(&home, &user, &[]);
    assert!(run.code == 4 && run.stderr.contains("nor in any of the "), "{}: {}{}", run.code, run.stdout, run.stderr);
}
