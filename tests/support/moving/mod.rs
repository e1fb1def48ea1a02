//! A PostgreSQL database that is to move from version 15 to 17 while it is written to: both servers, the seed's Job
//! `db-upgrade`, a writer with a log of what was acknowledged, and a web application in PostgREST's place.

use std::process::Command;

use serde_json::{Value, json};

use super::namespace::kubectl;
use super::{Acks, Namespace, Run};

/// For psql: rows and a digest of each table of the application.
pub(super) const EACH_TABLE: &str = "SELECT format('SELECT %L, count(*), sum(hashtextextended(t::text, 0)::numeric) FROM %I.%I AS t', \
     tablename, schemaname, tablename) FROM pg_tables WHERE schemaname = 'api' ORDER BY 1 \\gexec\n";

/// Rows a second that a writer writes: some are on their way at any moment, and three servers still fit two cores. The benchmark has more.
const RATE: &str = "200";

/// Which of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// PostgreSQL 15, service `db` of the seed.
    Source,
    /// PostgreSQL 17, service `pg17`.
    Target,
}

impl Side {
    /// Name of its StatefulSet and Service.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Source => "pg15",
            Self::Target => "pg17",
        }
    }

    /// Name of its pod.
    pub(crate) fn pod(self) -> String {
        format!("{}-0", self.name())
    }

    fn version(self) -> &'static str {
        &self.name()[2..]
    }
}

/// The servers and what uses them.
pub(crate) struct Moving<'a> {
    space: &'a Namespace,
    megabytes: u32,
    settings: [Vec<String>; 2],
}

impl<'a> Moving<'a> {
    /// A small database; nothing runs yet. `None` where there is no image for it.
    pub(crate) fn new(space: &'a Namespace) -> Option<Self> {
        std::env::var_os("DBMIG_TEST_LAB")?;
        Some(Self { space, megabytes: 1, settings: Default::default() })
    }

    /// With so many megabytes of documents.
    #[must_use]
    pub(crate) fn megabytes(self, megabytes: u32) -> Self {
        Self { megabytes, ..self }
    }

    /// A server with this setting (`wal_level=replica`) besides or instead of its own.
    #[must_use]
    pub(crate) fn setting(mut self, side: Side, setting: &str) -> Self {
        self.settings[side as usize].push(setting.to_owned());
        self
    }

    /// A server whose data is on a volume of this size (`128Mi`).
    #[must_use]
    pub(crate) fn on(self, side: Side, size: &str) -> Self {
        self.space.volume(&format!("data-{}", side.pod()), size);
        self
    }

    /// Starts both servers and a shell, makes the database on the source, and waits until all that is so.
    #[must_use]
    pub(crate) fn up(self) -> Self {
        let files = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "moving"}, "data": {
            "serve.sh": include_str!("serve.sh"), "roles.sql": include_str!("roles.sql"), "schema.sql": include_str!("schema.sql")}});
        self.space.apply(&files.to_string());
        self.space.has_account();
        self.space.apply(&format!("{}---\n{}", self.server(Side::Source), self.server(Side::Target)));
        self.space.apply(&include_str!("applications.yaml").replace("@RATE@", RATE));
        for pod in [&Side::Source.pod(), &Side::Target.pod(), "shell"] {
            self.space.wait_for(&format!("{pod} is Ready"), || {
                let status = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
                self.space.try_kubectl(&["get", "pod", pod, "-o", status]).stdout == "True"
            });
        }
        let load = format!("{} --single-transaction -v megabytes={} -f /moving/schema.sql", psql("admin"), self.megabytes);
        self.in_pod(&Side::Source.pod(), &load);
        self
    }

    /// The seed's Job, and the SQL with which its `finish.sh` keeps writers out.
    pub(crate) fn job(&self) -> &Self {
        self.job_with(&[])
    }

    /// The same with more variables in its ConfigMap, such as `PGCOPYDB_OUTPUT_PLUGIN`.
    pub(crate) fn job_with(&self, variables: &[(&str, &str)]) -> &Self {
        let more: String = variables.iter().map(|(name, value)| format!("  {name}: \"{value}\"\n")).collect();
        let first = "  PGSERVICEFILE:";
        self.space.apply(&include_str!("job.yaml").replacen(first, &format!("{more}{first}"), 1));
        self
    }

    /// The same by another version of pgcopydb: `0.10`, or, as long as Debian has it, `0.18`; false where there is none.
    pub(crate) fn job_of(&self, version: &str) -> bool {
        let folder = format!("/opt/pgcopydb-{version}");
        let is_there = self.in_pod("shell", &format!("[[ ! -x {folder}/pgcopydb ]] || echo yes")).trim() == "yes";
        if is_there {
            self.job_with(&[("PATH", &format!("{folder}:/usr/local/bin:/usr/bin"))]);
        }
        is_there
    }

    /// Removes the Job and whatever it has made, so that it can begin once more.
    pub(crate) fn no_job(&self) -> &Self {
        self.space.kubectl(&["delete", "job", "db-upgrade", "--cascade=foreground", "--grace-period=1"]);
        self.space.wait_for("its slot can be dropped", || {
            self.try_sql(Side::Source, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots").code == 0
        });
        self.space.wait_for("the target is as it was", || {
            let sql = "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin; \
                       SELECT lo_unlink(oid) FROM pg_largeobject_metadata; DROP SCHEMA IF EXISTS api, kubectl_dbmig, pgcopydb CASCADE";
            self.try_sql(Side::Target, sql).code == 0
        });
        // 0.18 makes a publication.
        self.sql(Side::Source, "DROP PUBLICATION IF EXISTS pgcopydb; DROP SCHEMA IF EXISTS kubectl_dbmig, pgcopydb CASCADE");
        self
    }

    /// Other SQL in place of the seed's `readonly.sql`, as the pod sees it once kubelet has written it there.
    pub(crate) fn readonly(&self, sql: &str) -> &Self {
        let patch = json!({"data": {"readonly.sql": sql}}).to_string();
        self.space.kubectl(&["patch", "configmap", "db-upgrade-helper", "--type=merge", "--patch", &patch]);
        self
    }

    /// Waits until a row that is written to the source now is on the target, and then for one more: the first may have come with the copy,
    /// but what is written once it is there comes only when all is copied and the Job follows.
    pub(crate) fn follows(&self) -> &Self {
        for _ in 0..2 {
            self.sql(Side::Source, "INSERT INTO api.events (n, said) VALUES (0, 'does it follow?')");
            let count = "SELECT count(*) FROM api.events WHERE n = 0";
            let sent = self.sql(Side::Source, count);
            let what = "a new row of the source is on the target";
            self.space.wait_for(what, || self.try_sql(Side::Target, count).stdout.trim() == sent);
        }
        self
    }

    /// The seed's own way to its end.
    pub(crate) fn finish_by_hand(&self) -> Run {
        self.space.try_kubectl(&["exec", "job/db-upgrade", "--", "/migration/finish.sh"])
    }

    /// Waits for the end of the Job's container; its exit code. pgcopydb sees an end position only when something comes after it.
    pub(crate) fn job_ends(&self) -> i32 {
        let code = "jsonpath={.items[*].status.containerStatuses[0].state.terminated.exitCode}";
        let mut seen = String::new();
        self.space.wait_for("the Job's container has ended", || {
            self.sql(Side::Source, "CREATE TEMP TABLE something () ON COMMIT DROP");
            seen = self.space.kubectl(&["get", "pods", "--selector=app=db-upgrade", "-o", code]);
            !seen.is_empty()
        });
        seen.parse().unwrap_or_else(|e| panic!("{seen}: {e}"))
    }

    /// So many writers, to the database itself.
    pub(crate) fn writers(&self, count: u32) -> &Self {
        self.runs("writer", count)
    }

    /// From now on the writers change rows whose large values stay as they are: pgcopydb 0.17 does not move those rightly.
    pub(crate) fn toasting(&self) -> &Self {
        self.space.kubectl(&["set", "env", "deployment/writer", "LEDGER_TOAST=1"]);
        self
    }

    /// The web application in so many pods, and its writer.
    pub(crate) fn web(&self, count: u32) -> &Self {
        self.runs("postgrest", count);
        self.space.kubectl(&["set", "env", "deployment/writer", "LEDGER_URL=postgrest:3000"]);
        self.runs("writer", count.min(1))
    }

    /// What the web application counted, and the version of the server that it is connected to.
    pub(crate) fn web_counts(&self) -> Value {
        let said = self.in_pod("shell", "wget -q -O - http://postgrest:3000/");
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{said}: {e}"))
    }

    /// Waits until the writers have written so many rows more.
    pub(crate) fn writes(&self, rows: usize) -> &Self {
        let before = self.acks().written.len();
        self.space.wait_for(&format!("{rows} rows more are acknowledged"), || self.acks().written.len() >= before + rows);
        self
    }

    /// What the writers know.
    pub(crate) fn acks(&self) -> Acks {
        Acks::parse(&self.in_pod("shell", "sort -n /acks/* 2>/dev/null || true"))
    }

    /// Numbers of the writers' rows on a server.
    pub(crate) fn numbers(&self, side: Side) -> Vec<i64> {
        let all = self.sql(side, "SELECT n FROM api.likes WHERE author = 'writer' ORDER BY n");
        all.lines().map(|n| n.parse().unwrap_or_else(|e| panic!("{n}: {e}"))).collect()
    }

    /// Which server the applications are told to use (`web15`, `web17`, or `web`: where the Service `db` leads), from their next start on.
    pub(crate) fn told(&self, service: &str) -> &Self {
        let patch = json!({"data": {"PGSERVICE": service}}).to_string();
        self.space.kubectl(&["patch", "configmap", "pg-service-config", "--type=merge", "--patch", &patch]);
        self
    }

    /// Rows and a digest of each table, and where the sequences are: the same on both servers when all has moved.
    pub(crate) fn content(&self, side: Side) -> String {
        const SEQUENCES: &str = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'api' ORDER BY 1;\n";
        let run = Run::with_input(&mut self.stdin_of(side), &format!("{EACH_TABLE}{SEQUENCES}"));
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stdout
    }

    /// Statements on a server as its master, from its own pod; their rows, fields with `|` between them, without the last newline.
    pub(crate) fn sql(&self, side: Side, sql: &str) -> String {
        let run = self.try_sql(side, sql);
        assert_eq!(run.code, 0, "{sql}: {}", run.stderr);
        run.stdout.trim_end().to_owned()
    }

    /// The same, whatever comes of it.
    pub(crate) fn try_sql(&self, side: Side, sql: &str) -> Run {
        Run::with_input(&mut self.stdin_of(side), sql)
    }

    /// psql on a server that reads its stdin, not started yet: for a session that goes on while a test does other things.
    pub(crate) fn stdin_of(&self, side: Side) -> Command {
        let mut command = kubectl();
        command.args(["--namespace", self.space.name(), "exec", "-i", &side.pod(), "--", "bash", "-c", &psql("admin")]);
        command
    }

    /// psql in the pod `shell`, as a service of the service file; not started yet.
    pub(crate) fn session(&self, service: &str, sql: &str) -> Command {
        let mut command = kubectl();
        command.args(["--namespace", self.space.name(), "exec", "shell", "--"]);
        command.args(["psql", "-qAt", &format!("service={service}"), "-c", sql]);
        command
    }

    /// Kills a server as a crash does; its container is started again.
    pub(crate) fn crash(&self, side: Side) {
        let kill = "kill -9 $(head -1 /data/pg/postmaster.pid); true";
        let run = self.space.try_kubectl(&["exec", &side.pod(), "--", "bash", "-c", kill]);
        // The container may take this command along.
        assert!(matches!(run.code, 0 | 137), "{} {}", run.code, run.stderr);
    }

    /// A command in a pod; its stdout.
    pub(crate) fn in_pod(&self, pod: &str, command: &str) -> String {
        self.space.kubectl(&["exec", pod, "--", "bash", "-c", command])
    }

    fn runs(&self, deployment: &str, count: u32) -> &Self {
        let deployment = format!("deployment/{deployment}");
        self.space.kubectl(&["scale", &deployment, &format!("--replicas={count}")]);
        self.space.kubectl(&["rollout", "status", &deployment, "--timeout=180s"]);
        self
    }

    fn server(&self, side: Side) -> String {
        let settings: String = self.settings[side as usize].iter().map(|setting| format!(", -c, \"{setting}\"")).collect();
        include_str!("server.yaml")
            .replace("@NAME@", side.name())
            .replace("@VERSION@", side.version())
            .replace("@SETTINGS@", &settings)
    }
}

fn psql(user: &str) -> String {
    format!("psql -X -h /tmp -U {user} -d shop -qAt -v ON_ERROR_STOP=1")
}
