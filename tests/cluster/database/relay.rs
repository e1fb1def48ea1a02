//! The relay's two ways into a real pod: by a forwarded port, and by exec for who may not forward any.

use dbmig::cluster::agent::Agent;
use dbmig::cluster::relay::{Endpoint, Relay};
use dbmig::cluster::{ConnectionFlags, connect};
use rand::RngExt as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::Namespace;

/// Enough to exec, and not to forward a port.
const ROLE: &str = r#"{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "exec"}, "rules": [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["get", "create"]}]}"#;
const BYTES: usize = 3 << 20;
/// What an agent's relay is called with shows which process it is.
const KILL: &str =
    "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | grep -q ' rela[y] 127' && kill -9 ${p#/proc/}; done; true";

#[tokio::test(flavor = "multi_thread")]
async fn bytes_go_by_a_forwarded_port_and_by_exec_for_who_may_not_forward_any() {
    let space = Namespace::new("relay").await;
    let echo = json!({"terminationGracePeriodSeconds": 0, "containers": [
        {"name": "echo", "image": "busybox:1", "command": ["nc", "-ll", "-p", "5432", "-e", "cat"]}]});
    space.pod("echo", &echo);
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = space.user("looker", ROLE, "exec", dir.path());
    let namespace = Some(space.name().to_owned());
    let flags = ConnectionFlags { kubeconfig: Some(kubeconfig), namespace, ..ConnectionFlags::default() };
    let within = |script: &str| space.kubectl(&["exec", "echo", "--", "sh", "-c", script]);
    // A connection within the pod has two ends there; those of the server's own port, 5432, are the agent's to the server.
    let ends = || within("grep '0100007F:.* 0100007F:.* 01 ' /proc/net/tcp | grep -vc ':1538 ' || true").trim().to_owned();
    for (cluster, expected) in [(space.cluster().clone(), "2"), (connect(&flags).await.unwrap(), "0")] {
        let agent = Agent::install(&cluster, space.name(), "echo", "echo", &["/tmp".to_owned()], "amd64").await.unwrap();
        let to = Endpoint::Tcp("127.0.0.1".to_owned(), 5432);
        let relay = Relay::open(&agent, &to).await.unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(ends(), expected);
        let (mut from, mut into) = tokio::io::split(relay);
        let mut content = vec![0; BYTES];
        rand::rng().fill(content.as_mut_slice());
        let mut answer = vec![0; BYTES];
        tokio::try_join!(into.write_all(&content), from.read_exact(&mut answer)).unwrap();
        assert!(answer == content, "{expected}");
        // An agent that dies is no server that has ended.
        within(KILL);
        let error = from.read(&mut [0; 8]).await.unwrap_err();
        assert!(error.to_string().contains("exit code 137"), "{expected}: {error}");
        space.wait_for("the runtime's connection to it is gone", || ends() == "0");
    }
}
