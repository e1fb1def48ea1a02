//! Two charts like the seed's: `core` is a PostgreSQL database with replicas and the application that migrates and uses it, `admin` the
//! way in. Release `alpha` of the one and `admin` of the other are installed with real Helm; a client writes and reads all the time; and
//! every volume knows which servers it had.

pub(crate) mod client;
pub(crate) mod storage;
mod volume;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::helm::with_helm;
use super::moving::EACH_TABLE;
use super::namespace::kubectl;
use super::{Namespace, Run};

/// Folder of chart `core`.
pub(crate) const CORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/steady/core");
/// Folder of chart `admin`.
pub(crate) const ADMIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/steady/admin");
/// The value of `core` that names the claim of an earlier release.
pub(crate) const CLAIM_VALUE: &str = "database.postgres.master.existingClaim";
/// Passwords that may be nowhere but in Secrets.
pub(crate) const SECRETS: [&str; 2] = ["core-secret", "replication-secret"];

/// The releases and what uses them.
pub(crate) struct Steady<'a> {
    space: &'a Namespace,
    values: Vec<String>,
}

impl<'a> Steady<'a> {
    /// PostgreSQL 15, two replicas, schema version 1; nothing runs yet. `None` where there is no image for it.
    pub(crate) fn new(space: &'a Namespace) -> Option<Self> {
        std::env::var_os("DBMIG_TEST_LAB")?;
        Some(Self { space, values: Vec::new() })
    }

    /// With a value of chart `core`, as Helm's `--set` has it: `database.postgres.version=17`.
    #[must_use]
    pub(crate) fn value(mut self, value: &str) -> Self {
        self.values.push(value.to_owned());
        self
    }

    /// Installs `alpha` and `admin`, and waits until every replica streams and the way in leads to the database.
    #[must_use]
    pub(crate) fn up(self) -> Self {
        self.space.has_account();
        let values: Vec<&str> = self.values.iter().flat_map(|value| ["--set", value]).collect();
        self.space.helm(&[&["install", "alpha", CORE], values.as_slice()].concat());
        self.space.helm(&["install", "admin", ADMIN]);
        self.is_up("alpha");
        self.serves("front:80");
        self
    }

    /// Waits until a release's database and application are there and every replica streams.
    pub(crate) fn is_up(&self, release: &str) -> &Self {
        let slaves = format!("{release}-postgresql-slave");
        for set in [&format!("{release}-postgresql-master"), &slaves] {
            self.space.kubectl(&["rollout", "status", "statefulset", set, "--timeout=180s"]);
        }
        let count = self.space.kubectl(&["get", "statefulset", &slaves, "-o", "jsonpath={.spec.replicas}"]);
        for ordinal in 0..count.parse().unwrap_or_else(|e| panic!("{count}: {e}")) {
            self.streams(release, ordinal);
        }
        self.space.kubectl(&["rollout", "status", "deployment", &format!("{release}-restbackend"), "--timeout=180s"]);
        self
    }

    /// Waits until a replica streams from its release's master and has replayed all that is written there now.
    pub(crate) fn streams(&self, release: &str, ordinal: u32) -> &Self {
        let pod = pod(release, &format!("slave-{ordinal}"));
        let now = self.sql(release, "master", "SELECT pg_current_wal_lsn()");
        let has = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE application_name = '{pod}' AND state = 'streaming' AND replay_lsn >= '{now}'"
        );
        self.space.wait_for(&format!("{pod} streams and has all"), || self.try_sql(release, "master", &has).stdout.trim() == "1");
        self
    }

    /// Waits until an address in the namespace (`front:80`) leads to an application whose database answers.
    pub(crate) fn serves(&self, address: &str) -> &Self {
        let url = format!("http://{address}/ready");
        let get = ["exec", "deployment/front", "--", "wget", "-q", "-O", "-", &url];
        self.space.wait_for(&format!("{address} serves"), || self.space.try_kubectl(&get).stdout.contains("\"ready\": true"));
        self
    }

    /// Helm in the namespace, whatever comes of it.
    pub(crate) fn helm(&self, words: &[&str]) -> Run {
        Run::of(&mut self.space.helm_command(words))
    }

    /// `kubectl dbmig …` with Helm in its PATH.
    pub(crate) fn dbmig(&self, words: &[&str]) -> Run {
        Run::of(&mut self.dbmig_command(words))
    }

    /// The same, not started yet.
    pub(crate) fn dbmig_command(&self, words: &[&str]) -> Command {
        with_helm(self.space.dbmig_command(words))
    }

    /// The same as the user of a kubeconfig.
    pub(crate) fn dbmig_command_as(&self, kubeconfig: &Path, words: &[&str]) -> Command {
        with_helm(self.space.dbmig_command_as(kubeconfig, words))
    }

    /// Statements on a server of a release, `master` or `slave-1`, as its superuser; their rows, fields with `|` between them, without the
    /// last newline.
    pub(crate) fn sql(&self, release: &str, server: &str, sql: &str) -> String {
        let run = self.try_sql(release, server, sql);
        assert_eq!(run.code, 0, "{sql}: {}", run.stderr);
        run.stdout.trim_end().to_owned()
    }

    /// The same, whatever comes of it.
    pub(crate) fn try_sql(&self, release: &str, server: &str, sql: &str) -> Run {
        Run::with_input(&mut self.stdin_of(release, server), sql)
    }

    /// psql on a server that reads its stdin, not started yet.
    pub(crate) fn stdin_of(&self, release: &str, server: &str) -> Command {
        let mut command = kubectl();
        command.args(["--namespace", self.space.name(), "exec", "-i", &pod(release, server), "--"]);
        command.args(["psql", "-X", "-h", "/tmp", "-qAt", "-v", "ON_ERROR_STOP=1"]);
        command
    }

    /// Whether a server is a standby, and on which timeline it is: `f|1` is a primary that never was promoted.
    pub(crate) fn role(&self, release: &str, server: &str) -> String {
        let timeline = "CASE WHEN pg_is_in_recovery() THEN (SELECT received_tli FROM pg_stat_wal_receiver) \
             ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END";
        self.sql(release, server, &format!("SELECT pg_is_in_recovery(), {timeline}"))
    }

    /// Version of the schema, and whether it is dirty: `2|f`.
    pub(crate) fn schema(&self, release: &str) -> String {
        self.sql(release, "master", "SELECT version, dirty FROM schema_migrations")
    }

    /// Numbers of the client's rows on a server.
    pub(crate) fn numbers(&self, release: &str, server: &str) -> Vec<i64> {
        let all = self.sql(release, server, "SELECT n FROM api.likes WHERE author = 'writer' ORDER BY n");
        all.lines().map(|n| n.parse().unwrap_or_else(|e| panic!("{n}: {e}"))).collect()
    }

    /// Rows and a digest of each table. Those that a migration changes differ with its version. Sequences do not count: those of a
    /// replica are up to 32 values ahead of its master's.
    pub(crate) fn content(&self, release: &str, server: &str) -> String {
        self.sql(release, server, EACH_TABLE)
    }

    /// A script in a pod of its own that mounts a claim as the database does, at `/var/lib/postgresql/data`; what it printed.
    pub(crate) fn on_claim(&self, claim: &str, script: &str) -> String {
        let name = format!("on-{claim}");
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 999, "runAsGroup": 999},
            "containers": [{"name": "shell", "image": "steady:1", "command": ["bash", "-ec", script],
                "workingDir": "/var/lib/postgresql/data",
                "volumeMounts": [{"name": "data", "mountPath": "/var/lib/postgresql/data"}]}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]}});
        self.space.apply(&pod.to_string());
        let mut phase = String::new();
        self.space.wait_for(&format!("{name} has ended"), || {
            phase = self.space.kubectl(&["get", "pod", &name, "-o", "jsonpath={.status.phase}"]);
            matches!(phase.as_str(), "Succeeded" | "Failed")
        });
        let said = self.space.kubectl(&["logs", &name]);
        assert_eq!(phase, "Succeeded", "{said}");
        self.space.kubectl(&["delete", "pod", &name]);
        said
    }

    /// Names of the pods that mount a claim.
    pub(crate) fn mounted_by(&self, claim: &str) -> Vec<String> {
        let pods: Value = serde_json::from_str(&self.space.kubectl(&["get", "pods", "-o", "json"])).expect("kubectl writes JSON");
        let mounts = |pod: &Value| {
            let volumes = pod["spec"]["volumes"].as_array();
            volumes.into_iter().flatten().any(|volume| volume["persistentVolumeClaim"]["claimName"] == claim)
        };
        let pods = pods["items"].as_array().into_iter().flatten().filter(|pod| mounts(pod));
        pods.map(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// Name of the pod of a server, `master` or `slave-1`.
pub(crate) fn pod(release: &str, server: &str) -> String {
    format!("{release}-postgresql-{}", if server == "master" { "master-0" } else { server })
}

/// Name of the claim of such a pod.
pub(crate) fn claim(release: &str, server: &str) -> String {
    format!("data-{}", pod(release, server))
}
