//! Deployments that migrate when they start, and whose migrations were broken by the frameworks' own tools: `doctor` says in one screen
//! what is wrong and what to type, and that has them run again.

mod django;
mod knex;
mod prisma;
mod revisions;
mod sqlx;

use std::path::Path;

use serde_json::{Value, json};

use crate::database::image;
use crate::database::postgres::{self, CLIENT};
use crate::database::server::Server;
use crate::support::{Namespace, Run};

/// Lines of a terminal that nobody has made larger.
const SCREEN: usize = 24;
/// Where an application lies in its container.
const HOME: &str = "/srv/app";
/// Debian's own packages come first; what it does not have is beside the other tests' tools.
const PYTHON: &str = "import sys\nsys.path.append('/tools/python')\n";

/// An application that migrates when it starts.
struct App<'a> {
    space: &'a Namespace,
    name: &'static str,
    /// Its migration, for a shell.
    migrate: &'static str,
}

impl<'a> App<'a> {
    /// One with a database of its own on this server; nothing runs yet.
    fn on(server: &'a Server, name: &'static str, migrate: &'static str) -> Self {
        server.sql("psql -q -h /sock -U postgres -f - postgres", &format!("CREATE DATABASE {name} OWNER app"));
        Self::with_url(&server.space, name, migrate, &format!("postgresql://app:secret@db/{name}"))
    }

    fn with_url(space: &'a Namespace, name: &'static str, migrate: &'static str, url: &str) -> Self {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"url": url}});
        space.apply(&secret.to_string());
        Self { space, name, migrate }
    }

    fn target(&self) -> String {
        format!("deploy/{}", self.name)
    }

    /// Rolls out a version of it with these files.
    fn deploy(&self, files: &[(&str, &str)]) -> &Self {
        // A version has files of its own, and so what runs keeps its own.
        let map = format!("{}-{:x}", self.name, version(files));
        let files = image::files(self.space, &map, files);
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-tools");
        let tools = std::env::var_os("DBMIG_TEST_TOOLS").map_or(tools, Into::into);
        let host = |name: &str, path: &Path| json!({"name": name, "hostPath": {"path": path.to_str().unwrap()}});
        let env = [
            json!({"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": self.name, "key": "url"}}}),
            json!({"name": "PYTHONPATH", "value": HOME}),
            json!({"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}),
            json!({"name": "HOME", "value": "/tmp"}),
        ];
        let mounts = [(map.as_str(), HOME), ("modules", "/srv/node_modules"), ("tools", "/tools"), ("host", "/host")];
        let mounts: Vec<Value> =
            mounts.iter().map(|(name, path)| json!({"name": name, "mountPath": path, "readOnly": true})).collect();
        let command = format!("{} && touch /tmp/migrated && exec sleep 36000", self.migrate);
        let labels = json!({"app": self.name});
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": self.name}, "spec": {
        "strategy": {"type": "Recreate"}, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
            "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "web", "image": "migrations:1", "workingDir": HOME, "command": ["sh", "-c", command], "env": env,
                "volumeMounts": mounts, "readinessProbe": {"periodSeconds": 1, "exec": {"command": ["test", "-e", "/tmp/migrated"]}}}],
            "volumes": [files,
                host("modules", &tools.join("node/node_modules")), host("tools", &tools), host("host", Path::new("/lib/x86_64-linux-gnu"))]}}}});
        self.space.apply(&deployment.to_string());
        self
    }

    /// Waits until it runs.
    fn runs(&self) -> &Self {
        self.space.wait_for(&format!("{} runs", self.name), || self.ready_replicas() == "1");
        self
    }

    /// Waits until a container of it has said this.
    fn breaks(&self, said: &str) -> &Self {
        let target = self.target();
        let words = ["logs", &target, "--tail=50", "--previous"];
        self.space.wait_for(&format!("{} says {said:?}", self.name), || {
            [&words[..3], &words].iter().any(|words| self.space.try_kubectl(words).stdout.contains(said))
        });
        self
    }

    /// Of its newest version; nothing while its controller has not seen that yet.
    fn ready_replicas(&self) -> String {
        let fields = "jsonpath={.status.readyReplicas} {.metadata.generation} {.status.observedGeneration}";
        let said = self.space.try_kubectl(&["get", &self.target(), "-o", fields]).stdout;
        match said.rsplit(' ').collect::<Vec<_>>().as_slice() {
            [observed, generation, value] if observed == generation => (*value).to_owned(),
            _ => String::new(),
        }
    }

    /// What `doctor` says of it in one screen, with one of these words in it.
    fn diagnosed(&self, told: &str) -> Run {
        let run = self.space.dbmig(&["doctor", &self.target()]);
        assert!(run.code == 3 && run.stdout.contains(told), "{told:?} is not told: {}{}", run.stdout, run.stderr);
        assert!(run.stdout.lines().count() < SCREEN, "more than a screen: {}", run.stdout);
        assert!(!run.stdout.contains("secret@"), "{}", run.stdout);
        run
    }

    /// Types what `doctor` has printed, with what it leaves to a person in its place, and waits until the application runs.
    fn mended_by(&self, diagnosis: &Run, command: &str, version: Option<&str>) {
        let printed = diagnosis.stdout.lines().find_map(|line| Some(line[line.find(command)?..].to_owned()));
        let printed = printed.unwrap_or_else(|| panic!("{command:?} is not printed: {}", diagnosis.stdout));
        let words = printed.split(" #").next().unwrap().split_whitespace().skip(2);
        let said = |word| if word == "VERSION" { version.expect("a version is asked for") } else { word };
        let own = ["-n", self.space.name()];
        let words: Vec<&str> = words.filter(|word| !own.contains(word)).map(said).chain(["--yes"]).collect();
        let run = self.space.dbmig(&words);
        // What nothing proves is for a person to know, who is told what to type then.
        let insisted = run.stderr.lines().any(|line| line.starts_with("next: kubectl dbmig repair") && line.contains(" --force"));
        let run = if run.code == 4 && insisted { self.space.dbmig(&[&words[..], &["--force"]].concat()) } else { run };
        assert_eq!(run.code, 0, "{printed}: {}{}", run.stdout, run.stderr);
        self.runs();
        let history = self.space.dbmig(&["history", &self.target(), "-o", "json"]);
        let books: Value = serde_json::from_str(&history.stdout).unwrap_or_else(|e| panic!("{e}: {}", history.stderr));
        assert!(!books.to_string().contains("\"pending\":[{"), "{books:#}");
    }
}

/// A number for a set of files.
fn version(files: &[(&str, &str)]) -> u64 {
    use std::hash::{Hash as _, Hasher as _};
    let mut hasher = std::hash::DefaultHasher::new();
    files.hash(&mut hasher);
    hasher.finish()
}

/// A PostgreSQL with nobody's tables in it.
async fn postgres(purpose: &str) -> Option<Server> {
    let server = postgres::server(purpose).await?;
    server.sql(CLIENT, "DROP TABLE m");
    Some(server)
}

/// `psql` in the database of an application.
fn client(name: &str) -> String {
    format!("psql -q -h /sock -U app -v ON_ERROR_STOP=1 -At -f - {name}")
}
