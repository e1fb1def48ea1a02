//! Requests: how the cluster is found, who we say we are, what is repeated and what is not.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use dbmig::cluster::error::{is_conflict, is_forbidden, is_not_found};
use dbmig::cluster::{Cluster, ConnectionFlags, Context as _, Environment, Source, connect_in};
use dbmig::exit::Exit;
use dbmig::failure::Failure;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use tempfile::TempDir;

use super::server::{Answer, Server};
use super::{cluster, cluster_at};

fn pod() -> Answer {
    Answer::json(&serde_json::json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "db-0"}}))
}

fn pods(cluster: &Cluster) -> Api<Pod> {
    Api::namespaced(cluster.client.clone(), "shop")
}

async fn read(cluster: &Cluster) -> kube::Result<Pod> {
    pods(cluster).get("db-0").await
}

/// A folder with a kubeconfig per test.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A kubeconfig with the context `name`, whose user has this JSON.
    fn kubeconfig(&self, name: &str, server: &str, user: &serde_json::Value) -> PathBuf {
        let file = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": name,
            "clusters": [{"name": name, "cluster": {"server": server}}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": format!("{name}-ns")}}],
        });
        let path = self.path(name);
        fs::write(&path, file.to_string()).unwrap();
        path
    }

    /// A credential plugin that counts how often it runs and returns the token `t1`, `t2`, ….
    fn plugin(&self, seconds_to_live: i64) -> serde_json::Value {
        let (script, runs) = (self.path("plugin.sh"), self.path("runs"));
        let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds_to_live);
        let answer = format!(
            r#"{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"t'$n'","expirationTimestamp":"{expires}"}}}}"#
        );
        let text = format!("echo run >> {runs}; n=$(($(wc -l < {runs}))); echo '{answer}'\n", runs = runs.display());
        fs::write(&script, text).unwrap();
        serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": [script],
            "interactiveMode": "Never", "installHint": "get it from the shop"}})
    }

    fn runs(&self) -> usize {
        fs::read_to_string(self.path("runs")).unwrap_or_default().lines().count()
    }
}

fn list(paths: &[PathBuf]) -> Environment {
    Environment { kubeconfig: Some(std::env::join_paths(paths).unwrap()), ..Environment::default() }
}

async fn connect_to(paths: &[PathBuf]) -> Result<Cluster, Failure> {
    connect_in(&ConnectionFlags::default(), &list(paths)).await
}

#[tokio::test]
async fn an_absent_file_in_the_kubeconfig_list_is_skipped_and_the_first_one_wins() {
    let home = Home::new();
    let first = home.kubeconfig("one", "http://127.0.0.1:1", &serde_json::json!({}));
    let second = home.kubeconfig("two", "http://127.0.0.1:2", &serde_json::json!({}));
    let cluster = connect_to(&[home.path("absent"), first.clone(), second.clone()]).await.unwrap();
    assert_eq!(
        (cluster.context.as_deref(), cluster.namespace.as_str(), cluster.server.as_str()),
        (Some("one"), "one-ns", "http://127.0.0.1:1")
    );
    assert_eq!(cluster.source, Source::Kubeconfig(vec![first.clone(), second.clone()]));
    let flags =
        ConnectionFlags { context: Some("two".to_owned()), namespace: Some("x".to_owned()), ..ConnectionFlags::default() };
    let cluster = connect_in(&flags, &list(&[first, second])).await.unwrap();
    assert_eq!((cluster.server.as_str(), cluster.namespace.as_str()), ("http://127.0.0.1:2", "x"));
}

#[tokio::test]
async fn a_kubeconfig_list_of_absent_files_only_is_an_error_that_names_them() {
    let home = Home::new();
    let failure = connect_to(&[home.path("a"), home.path("b")]).await.err().unwrap();
    assert_eq!(failure.facts, [home.path("a").display().to_string(), home.path("b").display().to_string()]);
    let nothing = connect_in(&ConnectionFlags::default(), &Environment::default()).await.err().unwrap();
    assert!(nothing.message.contains("no kubeconfig"), "{nothing:?}");
}

#[tokio::test]
async fn the_kubeconfig_flag_stands_alone() {
    let home = Home::new();
    let other = home.kubeconfig("other", "http://127.0.0.1:2", &serde_json::json!({}));
    let flags = ConnectionFlags {
        kubeconfig: Some(home.kubeconfig("mine", "http://127.0.0.1:1", &serde_json::json!({}))),
        context: Some("other".to_owned()),
        ..ConnectionFlags::default()
    };
    let failure = connect_in(&flags, &list(&[other])).await.err().unwrap();
    assert_eq!((failure.exit, failure.message.as_str()), (Exit::Usage, "context \"other\" does not exist in the kubeconfig"));
    assert_eq!(failure.facts, ["there are: mine"]);
}

#[tokio::test]
async fn a_broken_kubeconfig_is_named_and_its_content_is_not_shown() {
    let home = Home::new();
    fs::write(home.path("broken"), "users: [{name: a, user: {token: hunter2}}\n  - x").unwrap();
    let failure = connect_to(&[home.path("broken")]).await.err().unwrap();
    assert!(failure.message.contains("broken") && !format!("{failure:?}").contains("hunter2"), "{failure:?}");
}

#[tokio::test]
async fn the_credential_plugin_runs_once_for_many_requests() {
    let (home, server) = (Home::new(), Server::start(|_, _| pod()).await);
    let cluster = connect_to(&[home.kubeconfig("a", &server.url(), &home.plugin(3600))]).await.unwrap();
    for _ in 0..3 {
        read(&cluster.clone()).await.unwrap();
    }
    let tokens: Vec<Option<String>> = server.seen().iter().map(|seen| seen.header("authorization").map(str::to_owned)).collect();
    assert_eq!((home.runs(), tokens), (1, vec![Some("Bearer t1".to_owned()); 3]));
}

#[tokio::test]
async fn an_expired_token_is_fetched_anew_before_the_next_request() {
    let (home, server) = (Home::new(), Server::start(|_, _| pod()).await);
    let cluster = connect_to(&[home.kubeconfig("a", &server.url(), &home.plugin(-1))]).await.unwrap();
    read(&cluster).await.unwrap();
    assert_eq!((home.runs(), server.seen()[0].header("authorization")), (2, Some("Bearer t2")));
}

#[tokio::test]
async fn a_token_that_the_server_refuses_is_fetched_anew_once_for_a_read() {
    let server = Server::start(|_, seen| match seen.header("authorization") {
        Some("Bearer t1") => Answer::status(401, "Unauthorized", "Unauthorized"),
        _ => pod(),
    });
    let (home, server) = (Home::new(), server.await);
    let cluster = connect_to(&[home.kubeconfig("a", &server.url(), &home.plugin(3600))]).await.unwrap();
    read(&cluster).await.unwrap();
    assert_eq!(home.runs(), 2);
}

#[tokio::test]
async fn a_change_that_is_refused_for_its_token_is_not_sent_again() {
    let (home, server) = (Home::new(), Server::start(|_, _| Answer::status(401, "Unauthorized", "Unauthorized")).await);
    let cluster = connect_to(&[home.kubeconfig("a", &server.url(), &home.plugin(3600))]).await.unwrap();
    let failure = pods(&cluster).delete("db-0", &DeleteParams::default()).await.doing("delete pod shop/db-0").unwrap_err();
    assert_eq!(failure.facts, ["You must be logged in to the server (Unauthorized)"]);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_credential_plugin_that_is_absent_shows_its_install_hint() {
    let home = Home::new();
    let mut user = home.plugin(1);
    user["exec"]["command"] = "no-such-plugin-anywhere".into();
    let failure = connect_to(&[home.kubeconfig("a", "http://127.0.0.1:1", &user)]).await.err().unwrap();
    assert!(failure.message.contains("no-such-plugin-anywhere"), "{failure:?}");
    assert!(failure.facts.contains(&"get it from the shop".to_owned()), "{failure:?}");
}

#[tokio::test]
async fn a_token_given_as_flag_keeps_the_credential_plugin_from_running() {
    let (home, server) = (Home::new(), Server::start(|_, _| pod()).await);
    let flags = ConnectionFlags { token: Some("mine".to_owned()), ..ConnectionFlags::default() };
    let cluster = connect_in(&flags, &list(&[home.kubeconfig("a", &server.url(), &home.plugin(3600))])).await.unwrap();
    read(&cluster).await.unwrap();
    assert_eq!((home.runs(), server.seen()[0].header("authorization")), (0, Some("Bearer mine")));
}

#[tokio::test]
async fn an_auth_provider_that_is_gone_is_refused_with_its_successor() {
    let home = Home::new();
    let user = serde_json::json!({"auth-provider": {"name": "gcp"}});
    let failure = connect_to(&[home.kubeconfig("a", "http://127.0.0.1:1", &user)]).await.err().unwrap();
    assert!(failure.message.contains("gcp") && failure.next[0].contains("gke-gcloud-auth-plugin"), "{failure:?}");
}

#[tokio::test]
async fn all_four_impersonation_headers_are_on_the_wire() {
    let server = Server::start(|_, _| pod()).await;
    let flags = ConnectionFlags {
        server: Some(server.url()),
        impersonate: Some("jane".to_owned()),
        impersonate_groups: vec!["devs".to_owned(), "ops".to_owned()],
        impersonate_uid: Some("u-1".to_owned()),
        impersonate_extra: vec!["scopes=view".to_owned(), "scopes=edit".to_owned()],
        ..ConnectionFlags::default()
    };
    let cluster = connect_in(&flags, &Environment::default()).await.unwrap();
    read(&cluster).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(seen.header("impersonate-user"), Some("jane"));
    assert_eq!(seen.headers("impersonate-group"), ["devs", "ops"]);
    assert_eq!(seen.header("impersonate-uid"), Some("u-1"));
    assert_eq!(seen.headers("impersonate-extra-scopes"), ["view", "edit"]);
    assert_eq!(seen.header("user-agent"), Some(concat!("kubectl-dbmig/", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn impersonating_a_group_without_a_user_is_wrong_usage() {
    let flags = ConnectionFlags {
        server: Some("http://127.0.0.1:1".to_owned()),
        impersonate_groups: vec!["devs".to_owned()],
        ..ConnectionFlags::default()
    };
    assert_eq!(connect_in(&flags, &Environment::default()).await.err().unwrap().exit, Exit::Usage);
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_used_unless_no_proxy_names_the_server() {
    let proxy = Server::start(|_, _| Answer::Http(502, "", String::new())).await;
    let flags = ConnectionFlags { server: Some("https://api.invalid:6443".to_owned()), ..ConnectionFlags::default() };
    let environment = |no_proxy: &str| Environment {
        https_proxy: Some(proxy.url()),
        no_proxy: Some(no_proxy.to_owned()),
        ..Environment::default()
    };
    let through = connect_in(&flags, &environment("elsewhere,")).await.unwrap();
    read(&through).await.unwrap_err();
    let asked = proxy.seen();
    assert!(
        !asked.is_empty()
            && asked.iter().all(|seen| (seen.method.as_str(), seen.path.as_str()) == ("CONNECT", "api.invalid:6443"))
    );
    let past = connect_in(&flags, &environment(".invalid,")).await.unwrap();
    read(&past).await.unwrap_err();
    assert_eq!(proxy.seen().len(), asked.len());
}

#[tokio::test]
async fn a_read_is_repeated_while_the_server_is_busy() {
    for code in [429, 503, 504] {
        let busy = move |number: usize| if number < 2 { Answer::status(code, "Busy", "wait") } else { pod() };
        let server = Server::start(move |number, _| busy(number)).await;
        read(&cluster(&server).await).await.unwrap();
        assert_eq!(server.seen().len(), 3);
    }
}

#[tokio::test]
async fn a_read_is_repeated_when_the_connection_breaks() {
    let server = Server::start(|number, _| if number == 0 { Answer::HangUp } else { pod() }).await;
    read(&cluster(&server).await).await.unwrap();
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_server_that_stays_busy_is_told_in_its_own_words() {
    let server = Server::start(|_, _| Answer::Http(503, "retry-after: 3600\r\n", "gone fishing".to_owned())).await;
    let failure = read(&cluster(&server).await).await.doing("read pod shop/db-0").unwrap_err();
    assert_eq!(failure.message, "cannot read pod shop/db-0");
    assert!(failure.facts[0].contains("gone fishing"), "{failure:?}");
    assert_eq!(server.seen().len(), 1, "nobody waits an hour");
}

#[tokio::test]
async fn nothing_that_changes_something_is_ever_repeated() {
    let server =
        Server::start(|number, _| if number % 2 == 0 { Answer::status(504, "Timeout", "later") } else { Answer::HangUp }).await;
    let cluster = cluster(&server).await;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "shop");
    for _ in 0..2 {
        maps.create(&PostParams::default(), &ConfigMap::default()).await.unwrap_err();
        maps.delete("a", &DeleteParams::default()).await.unwrap_err();
    }
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn the_request_timeout_ends_a_request_and_says_that_its_effect_is_not_known() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let flags = ConnectionFlags {
        server: Some(format!("http://{}", listener.local_addr().unwrap())),
        request_timeout: Some(Duration::from_millis(100)),
        ..ConnectionFlags::default()
    };
    let cluster = connect_in(&flags, &Environment::default()).await.unwrap();
    let failure = pods(&cluster).delete("db-0", &DeleteParams::default()).await.doing("delete pod shop/db-0").unwrap_err();
    assert!(failure.facts[0].contains("within 0.1 s (--request-timeout)") && failure.state.is_some(), "{failure:?}");
}

#[tokio::test]
async fn a_refused_connection_reads_as_in_kubectl() {
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let failure = read(&cluster_at(format!("http://{address}")).await).await.doing("read pod shop/db-0").unwrap_err();
    assert_eq!(
        failure.facts,
        [format!("The connection to the server {address} was refused - did you specify the right host or port?")]
    );
}

#[tokio::test]
async fn a_server_without_tls_behind_an_https_address_reads_as_in_kubectl() {
    let server = Server::start(|_, _| pod()).await;
    let cluster = cluster_at(server.url().replace("http:", "https:")).await;
    let failure = read(&cluster).await.doing("read pod shop/db-0").unwrap_err();
    assert_eq!(failure.facts, ["Unable to connect to the server: tls: first record does not look like a TLS handshake"]);
}

#[tokio::test]
async fn not_found_conflict_and_forbidden_stay_recognisable() {
    for (code, recognise) in [(404, is_not_found as fn(&kube::Error) -> bool), (409, is_conflict), (403, is_forbidden)] {
        let server = Server::start(move |_, _| Answer::status(code, "Reason", "text")).await;
        assert!(recognise(&read(&cluster(&server).await).await.unwrap_err()));
    }
}
