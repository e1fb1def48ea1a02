//! A database server in a pod of its own, behind the Service `db`, with TLS by a root certificate made for it, and a pod
//! beside it in which the agent is.

use std::path::PathBuf;

use dbmig::cluster::agent::Agent;
use dbmig::cluster::{Cluster, ConnectionFlags, connect};
use dbmig::database::url::Location;
use dbmig::database::{self, Database, Limits, Trouble};
use serde_json::json;

use crate::support::Namespace;

/// Certificates: `/c/ca.pem` signed `/c/db.pem`, which is for the name `db`; `/c/other.pem` signed nothing.
const CERTIFICATES: &str = r#"set -e; mkdir -p /c /sock; cd /c; chmod 1777 /sock
for name in ca other; do openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=$name -keyout $name.key -out $name.pem; done
openssl req -newkey rsa:2048 -nodes -subj /CN=db -keyout db.key -out db.csr
echo subjectAltName=DNS:db >names
openssl x509 -req -in db.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out db.pem
chmod 644 *.key
"#;

/// The pod with the agent.
const APP: &str = "app";

/// A running server.
pub(crate) struct Server {
    pub(crate) space: Namespace,
    pub(super) agent: Agent,
}

impl Server {
    /// Starts `serve` (a shell script) and waits until `ready` (a command) succeeds. `None` where there is no image for it.
    pub(super) async fn start(purpose: &str, port: u16, serve: &str, ready: &str) -> Option<Self> {
        std::env::var_os("DBMIG_TEST_LAB")?;
        let space = Namespace::new(purpose).await;
        space.kubectl(&["create", "service", "clusterip", "db", &format!("--tcp={port}:{port}")]);
        space.has_account();
        space.apply(
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db", "labels": {"app": "db"}},
                "spec": {"automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1, "containers": [{
                    "name": "db", "image": "databases:1", "command": ["sh", "-c", format!("{CERTIFICATES}{serve}")],
                    "readinessProbe": {"periodSeconds": 1, "timeoutSeconds": 5, "exec": {"command": ["sh", "-c", ready]}}}]}})
            .to_string(),
        );
        space.pod(
            APP,
            &json!({"terminationGracePeriodSeconds": 0,
                "containers": [{"name": "main", "image": "busybox:1", "command": ["sleep", "3600"]}]}),
        );
        space.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", "pod", "db"]);
        for file in ["ca.pem", "other.pem"] {
            let text = space.kubectl(&["exec", "db", "--", "cat", &format!("/c/{file}")]);
            space.kubectl(&["exec", APP, "--", "sh", "-c", &format!("echo '{text}' >/tmp/{file}")]);
        }
        let agent = agent(space.cluster(), &space, APP, "main").await;
        Some(Self { space, agent })
    }

    /// Runs a statement on the server as its master, without us.
    pub(crate) fn sql(&self, client: &str, sql: &str) -> String {
        self.space.kubectl(&["exec", "db", "--", "sh", "-c", &format!("{client} <<'END'\n{sql}\nEND\n")])
    }

    /// Connects, patiently or not.
    pub(super) async fn connect(&self, url: &str, limits: Limits) -> Box<dyn Database> {
        reach(&self.agent, url, limits).await.unwrap_or_else(|(trouble, said)| panic!("{url}: {trouble:?} {said}"))
    }

    /// What keeps it from connecting; the words never have the password.
    pub(super) async fn trouble(&self, url: &str) -> Trouble {
        let Err((trouble, said)) = reach(&self.agent, url, Limits::default()).await else { panic!("{url}: connected") };
        assert!(!said.contains("secret"), "{said}");
        trouble
    }

    /// A pod of this name by way of another kubeconfig.
    pub(super) async fn agent_through(&self, kubeconfig: PathBuf) -> Agent {
        let flags = ConnectionFlags {
            kubeconfig: Some(kubeconfig),
            namespace: Some(self.space.name().to_owned()),
            ..ConnectionFlags::default()
        };
        agent(&connect(&flags).await.unwrap(), &self.space, APP, "main").await
    }

    /// Waits until no relay of ours runs in the pod any more.
    pub(super) fn no_relay_is_left(&self) {
        self.space.wait_for("no relay is left in the pod", || {
            !self.space.kubectl(&["exec", APP, "--", "ps", "-o", "args"]).contains(" relay ")
        });
    }
}

/// The agent in a container.
pub(super) async fn agent(cluster: &Cluster, space: &Namespace, pod: &str, container: &str) -> Agent {
    Agent::install(cluster, space.name(), pod, container, &["/tmp".to_owned()], "amd64").await.unwrap()
}

/// Connects from where an agent is; else the trouble, and all words about it.
pub(super) async fn reach(agent: &Agent, url: &str, limits: Limits) -> Result<Box<dyn Database>, (Trouble, String)> {
    let location = Location::parse(url).unwrap();
    database::connect(agent, &location, limits).await.map_err(|error| (error.trouble, format!("{:?}", error.failure)))
}
