//! The Roles in plugin-manifest: a real API server takes them, and they give what their comments say and no more.

use crate::support::{Namespace, Run};

const ROLE: &str = include_str!("../../plugin-manifest/vacuum.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn the_role_for_vacuum_lets_its_holder_exec_but_not_read_other_secrets() {
    let space = Namespace::new("role").await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let user = space.user("operator", ROLE, "kubectl-dbmig-vacuum", dir.path());
    let can = |verb: &str, what: &str| {
        let (resource, part) = what.split_once(':').unwrap_or((what, ""));
        let mut kubectl = std::process::Command::new("kubectl");
        kubectl.env("KUBECONFIG", &user).args(["auth", "can-i", verb, resource]).arg(format!("--subresource={part}"));
        Run::of(&mut kubectl).stdout.trim() == "yes"
    };
    assert!(can("create", "pods:exec"));
    assert!(can("patch", "statefulsets.apps:scale"));
    assert!(can("get", "secret/kubectl-dbmig"));
    assert!(!can("get", "secret/another"));
    assert!(!can("list", "secrets"));
    assert!(!can("delete", "statefulsets.apps"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_for_a_look_let_doctor_ask_a_database_without_a_right_to_secrets() {
    const ROLES: &str =
        concat!(include_str!("../../plugin-manifest/observe.yaml"), "\n---\n", include_str!("../../plugin-manifest/look.yaml"));
    let space = Namespace::new("role").await;
    space.volume("data", "32Mi");
    let file = space.folder("data").join("app.sqlite");
    let sql = "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL); INSERT INTO alembic_version VALUES ('4f1a');";
    rusqlite::Connection::open(&file).expect("a new file").execute_batch(sql).expect("a new database takes a table");
    let container = serde_json::json!({"name": "main", "image": "busybox:1", "command": ["sleep", "600"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    space.pod(
        "app",
        &serde_json::json!({"containers": [container], "terminationGracePeriodSeconds": 0,
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}),
    );
    let dir = tempfile::tempdir().expect("a temporary folder");
    let user = space.user("looker", ROLES, "kubectl-dbmig-observe", dir.path());
    let account = format!("--serviceaccount={}:looker", space.name());
    space.kubectl(&["create", "rolebinding", "look", "--role=kubectl-dbmig-look", &account]);
    let revisions = "mkdir -p /app/migrations/versions && cd /app/migrations/versions && \
        printf \"revision = '4f1a'\\ndown_revision = None\\n\" >4f1a_users.py && \
        printf \"revision = '5b2c'\\ndown_revision = '4f1a'\\n\" >5b2c_orders.py";
    space.kubectl(&["exec", "app", "--", "sh", "-c", revisions]);
    let run = space.dbmig_as(&user, &["doctor", "app"]);
    for words in ["Alembic, version 4f1a, 1 pending", "2 files of migrations in /app/migrations/versions of container main"] {
        assert!(run.code == 0 && run.stdout.contains(words), "{}: {}{}", run.code, run.stdout, run.stderr);
    }
    let run = space.dbmig_as(&user, &["history", "app"]);
    assert!(run.code == 0 && run.stdout.contains("4f1a"), "{}{}", run.stdout, run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_optional_cluster_role_is_accepted_by_the_server() {
    let space = Namespace::new("role").await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/plugin-manifest/optional-cluster.yaml");
    space.kubectl(&["apply", "--dry-run=server", "-f", file]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_for_observers_is_enough_for_all_of_them_and_changes_nothing() {
    const OBSERVE: &str = include_str!("../../plugin-manifest/observe.yaml");
    let space = Namespace::new("role").await;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let user = space.user("reader", OBSERVE, "kubectl-dbmig-observe", dir.path());
    let container =
        serde_json::json!({"name": "main", "image": "busybox:1", "command": ["sh", "-c", "echo said; exec sleep 600"]});
    space.pod("talker", &serde_json::json!({"containers": [container], "terminationGracePeriodSeconds": 0}));
    space.wait_for("the pod says something", || space.try_kubectl(&["logs", "talker"]).stdout == "said\n");
    let as_reader = |args: &[&str]| space.dbmig_as(&user, args);
    let status = as_reader(&["status", "talker"]);
    assert_eq!((status.code, status.stderr.as_str()), (0, ""), "{}", status.stdout);
    assert_eq!(as_reader(&["logs", "talker"]).stdout, "said\n");
    space.wait_for("the kubelet tells what it did", || as_reader(&["events", "talker"]).stdout.contains("Started"));
    assert_eq!(as_reader(&["watch", "talker", "--until", "ready", "--timeout", "60s"]).code, 0);
    let mut kubectl = std::process::Command::new("kubectl");
    let may_delete = Run::of(kubectl.env("KUBECONFIG", &user).args(["auth", "can-i", "delete", "pods"]));
    assert_eq!(may_delete.stdout.trim(), "no");
}
