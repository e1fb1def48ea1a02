//! Finding the database of a pod by what its containers are told, with the rights that users have.

use dbmig::cluster::helper::Helper;
use dbmig::cluster::relay::{Endpoint, Relay};
use dbmig::cluster::seat::{Leaves, Seat};
use dbmig::cluster::{Cluster, ConnectionFlags, connect};
use dbmig::database::find::{self, Found, Named, Subject};
use dbmig::shutdown::Stop;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::Namespace;

/// Enough to exec and to look, and nothing about Secrets.
const ROLE: &str = r#"{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "look"}, "rules": [
    {"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["get", "list"]},
    {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]}]}"#;

/// What is looked for, and a seat beside it.
struct Place {
    space: Namespace,
    pod: Pod,
}

impl Place {
    async fn new() -> Self {
        let space = Namespace::new("find").await;
        for (kind, name, content) in [
            ("secret", "app", json!({"url": "postgres://app:hunter2@db/shop", "password": "hunter2"})),
            ("configmap", "settings", json!({"DB_HOST": "my", "DB_CONNECTION": "mysql", "DB_DATABASE": "shop"})),
            ("configmap", "service", json!({"services": "[db]\nhost=pg\nuser=svc\npassword=hunter2\ndbname=main\n"})),
        ] {
            let kind = if kind == "secret" { "Secret" } else { "ConfigMap" };
            let field = if kind == "Secret" { "stringData" } else { "data" };
            space.apply(&json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, field: content}).to_string());
        }
        space.pod(
            "web",
            &json!({"terminationGracePeriodSeconds": 0, "containers": [
                {"name": "main", "image": "busybox:1",
                    // The entrypoint knows one more than the spec.
                    "command": ["sh", "-c", "export LATE_DB_URL=postgres://late:hunter2@db/late; exec sleep 3600"],
                    "env": [
                        {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "app", "key": "url"}}},
                        {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "app", "key": "password"}}},
                        {"name": "REPORTS_DB_URL", "value": "mysql://reports:$(PASS)@my/reports"},
                        {"name": "PGHOST", "value": "parts"}, {"name": "PGUSER", "value": "app"},
                        {"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": {"name": "app", "key": "password"}}},
                        {"name": "UNRELATED", "value": "redis://x"}],
                    "volumeMounts": [{"name": "service", "mountPath": "/pg"}, {"name": "data", "mountPath": "/data"}]},
                {"name": "side", "image": "busybox:1", "command": ["sleep", "3600"],
                    "envFrom": [{"configMapRef": {"name": "settings"}}],
                    "env": [{"name": "DB_USER", "value": "side"},
                        {"name": "PGSERVICE", "value": "db"}, {"name": "PGSERVICEFILE", "value": "/pg/services"}]}],
                "volumes": [{"name": "service", "configMap": {"name": "service"}}, {"name": "data", "emptyDir": {}}]}),
        );
        let pods: Api<Pod> = Api::namespaced(space.cluster().client.clone(), space.name());
        let pod = pods.get("web").await.unwrap();
        Self { space, pod }
    }

    fn subject(&self) -> Subject<'_> {
        Subject { namespace: self.space.name(), pod: &self.pod, container: "main" }
    }

    async fn seat(&self, cluster: &Cluster) -> Seat {
        let helper = Helper::beside(&self.pod, "main", "find-x", "busybox:1", &[]);
        Seat::beside(cluster, &Stop::default(), &self.pod, "main", helper, &[], Leaves::Nothing).await.unwrap()
    }

    async fn found(&self, cluster: &Cluster) -> Vec<String> {
        let found = find::all(cluster, &self.subject(), &self.seat(cluster).await).await.unwrap();
        assert!(!format!("{found:?}").contains("hunter2"));
        shown(&found)
    }
}

fn shown(found: &[Found]) -> Vec<String> {
    found.iter().map(|one| format!("{} ({})", one.location, one.from)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_are_found_with_and_without_the_right_to_read_secrets() {
    let place = Place::new().await;
    assert_eq!(
        place.found(place.space.cluster()).await,
        [
            "postgresql://app@db:5432/shop (DATABASE_URL of secret/app)",
            "mysql://reports@my:3306/reports (REPORTS_DB_URL of secret/app)",
            "postgresql://app@parts:5432 (PGHOST of container main)",
            "postgresql://svc@pg:5432/main (PGSERVICE of container side)",
            "mysql://side@my:3306/shop (DB_HOST of configmap/settings)",
        ]
    );
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = place.space.user("looker", ROLE, "look", dir.path());
    let flags = ConnectionFlags {
        kubeconfig: Some(kubeconfig),
        namespace: Some(place.space.name().to_owned()),
        ..ConnectionFlags::default()
    };
    let found = place.found(&connect(&flags).await.unwrap()).await;
    for expected in [
        "postgresql://app@db:5432/shop (DATABASE_URL of the first process in pod/web)",
        "postgresql://late@db:5432/late (LATE_DB_URL of the first process in pod/web)",
        "mysql://reports@my:3306/reports (REPORTS_DB_URL of the first process in pod/web)",
        "postgresql://app@parts:5432 (PGHOST of the first process in pod/web)",
        "mysql://side@my:3306/shop (DB_HOST of configmap/settings)",
    ] {
        assert!(found.iter().any(|one| one == expected), "{expected}: {found:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_is_reached_while_the_application_crashes() {
    let space = Namespace::new("side").await;
    space.has_account();
    space.apply(
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0, "containers": [
                {"name": "main", "image": "busybox:1", "command": ["false"]},
                {"name": "proxy", "image": "busybox:1", "command": ["httpd", "-f", "-p", "127.0.0.1:5432"]}]}})
        .to_string(),
    );
    let state = |of: &str| space.try_kubectl(&["get", "pod", "web", "-o", &format!("jsonpath={of}")]).stdout;
    space.wait_for("the application crash-loops beside its proxy", || {
        state("{.status.containerStatuses[?(@.name=='main')].state.waiting.reason}") == "CrashLoopBackOff"
            && !state("{.status.containerStatuses[?(@.name=='proxy')].state.running}").is_empty()
    });
    let pods: Api<Pod> = Api::namespaced(space.cluster().client.clone(), space.name());
    let pod = pods.get("web").await.unwrap();
    let helper = Helper::beside(&pod, "main", "find-y", "busybox:1", &[]);
    let seat = Seat::in_network(space.cluster(), &Stop::default(), &pod, "main", helper).await.unwrap();
    assert!(seat.helper.is_none() && !seat.in_container);
    let mut relay =
        Relay::open(&seat.agent, &Endpoint::Tcp("localhost".to_owned(), 5432)).await.unwrap_or_else(|e| panic!("{e:?}"));
    relay.write_all(b"GET /none HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    relay.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1."), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_user_names_is_taken_and_what_is_not_there_is_told() {
    let place = Place::new().await;
    let cluster = place.space.cluster();
    let seat = place.seat(cluster).await;
    let named = async |named: Named| find::named(cluster, &place.subject(), &seat, &named).await;
    let by_reference = |text: &str| Named::Reference(text.parse().unwrap());
    let found = named(by_reference("secret/app:url")).await.unwrap();
    assert_eq!(shown(&[found]), ["postgresql://app@db:5432/shop (secret/app:url)"]);
    let found = named(by_reference("configmap/settings")).await.unwrap();
    assert_eq!(shown(&[found]), ["mysql://my:3306/shop (DB_HOST of configmap/settings)"]);
    let found = named(Named::Url("mysql://a:hunter2@other".to_owned())).await.unwrap();
    assert_eq!(shown(&[found]), ["mysql://a@other:3306 (--database)"]);
    for (named_so, words) in [
        (by_reference("secret/none"), "not there"),
        (by_reference("secret/app:none"), "no such key"),
        (by_reference("secret/app:password"), "no database URL"),
        (Named::Url("service=none".to_owned()), "service none"),
    ] {
        let failure = named(named_so).await.unwrap_err();
        assert!(failure.message.contains(words) && !format!("{failure:?}").contains("hunter2"), "{failure:?}");
    }
}
