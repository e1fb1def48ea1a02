//! `doctor` against the same questions asked by hand, and its way to a database against `kubectl port-forward`.

mod traffic;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use self::traffic::{BYTES, Traffic};
use super::engine::{Cost, watch};
use super::{Better, DATABASE, NO_GOAL, Row, middle};
use crate::Outcome;
use crate::cluster::{Kubernetes, lab};
use crate::process::{capture, cargo, heading, root, run as run_command};

const NAMESPACE: &str = "dbmig-bench-doctor";
/// Looks of each kind; the middle one counts.
const ROUNDS: usize = 7;
/// Rows of a bookkeeping table that is usual, and of one that is not.
const FEW: u64 = 100;
const MANY: u64 = 100_000;
/// What many rows may cost, in seconds.
const MORE_SECONDS: f64 = 0.05;
/// Ports of the servers that the relay is measured with: an echo, one that takes, one for each [`Traffic`] that sends; see
/// `doctor/relay.rs`.
const PORTS: [u16; 4] = [9000, 9001, 9002, 9003];
/// Transfers each way by a bare exec; the best one counts, for whatever else the machine does only takes away.
const TRANSFERS: usize = 3;

pub(super) fn measure() -> Outcome<Vec<Row>> {
    let bench = Bench::prepare()?;
    let measured = bench.looks().and_then(|looks| Ok([looks, bench.relay()?].concat()));
    bench.clear()?;
    measured
}

struct Bench {
    cluster: Kubernetes,
    dir: tempfile::TempDir,
}

impl Bench {
    fn prepare() -> Outcome<Self> {
        let cluster = Kubernetes::choose(None, true)?;
        if !cluster.is_lab() {
            return Err("this benchmark needs an image with PostgreSQL, which only the throwaway cluster has".to_owned());
        }
        run_command(Command::new(lab().with_file_name("databases").join("build")).stdout(Stdio::null()))?;
        heading("building the plugin as it is released, and the relay's other end");
        run_command(cargo().args([
            "build",
            "--release",
            "--package",
            "kubectl-dbmig",
            "--bin",
            "kubectl-dbmig",
            "--example",
            "relay",
        ]))?;
        let dir = tempfile::tempdir_in(root().join("target")).map_err(|e| format!("cannot make a folder below target: {e}"))?;
        let bench = Self { cluster, dir };
        bench.clear()?;
        heading(&format!("starting a database and an application in namespace {NAMESPACE}"));
        run_command(bench.cluster.kubectl().args(["create", "namespace", NAMESPACE]).stdout(Stdio::null()))?;
        if let Err(error) = bench.start() {
            bench.clear()?;
            return Err(error);
        }
        Ok(bench)
    }

    fn start(&self) -> Outcome {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app"},
            "stringData": {"url": "postgres://postgres@db/few"}});
        let url = json!({"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "app", "key": "url"}}});
        let echo = |port: u16, program: &str| format!("nc -ll -p {port} -e {program} & ");
        let serve = [
            echo(PORTS[0], "cat"),
            // Busybox's head takes byte by byte, slower than they come.
            echo(
                PORTS[1],
                &format!("sh -c 'dd bs=64k count={} iflag=fullblock of=/dev/null 2>/dev/null; echo done'", BYTES >> 16),
            ),
            echo(PORTS[2], &format!("cat {}", Traffic::Rows.there())),
            echo(PORTS[3], &format!("cat {}", Traffic::Noise.there())),
        ]
        .concat();
        let pod = |name: &str, image: &str, script: &str, env: Value| {
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": {
                "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
                "containers": [{"name": name, "image": image, "command": ["sh", "-c", script], "env": env}]}})
        };
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"},
            "spec": {"selector": {"app": "db"}, "ports": [{"port": 5432}]}});
        let app = pod("app", "busybox:1", &format!("{serve} exec sleep 7200"), json!([url]));
        for object in [secret, service, pod("db", "databases:1", DATABASE, json!([])), app] {
            let file = self.dir.path().join("object.json");
            fs::write(&file, object.to_string()).map_err(|e| format!("{}: {e}", file.display()))?;
            run_command(self.kubectl(&["apply", "--filename", &file.to_string_lossy()]).stdout(Stdio::null()))?;
        }
        run_command(
            self.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", "pod", "app", "db"]).stdout(Stdio::null()),
        )?;
        let ready = "for _ in $(seq 120); do psql -h /sock -U postgres -c 'select 1' postgres >/dev/null 2>&1 && exit 0; sleep 1; done; exit 1";
        run_command(&mut self.kubectl(&["exec", "db", "--", "sh", "-c", ready]))?;
        for (name, rows) in [("few", FEW), ("many", MANY)] {
            self.psql("postgres", &format!("CREATE DATABASE {name}"))?;
            self.psql(
                name,
                "CREATE TABLE knex_migrations (id serial PRIMARY KEY, name varchar(255), batch int, migration_time timestamptz)",
            )?;
            self.psql(name, "CREATE TABLE knex_migrations_lock (index serial PRIMARY KEY, is_locked int)")?;
            self.psql(name, "INSERT INTO knex_migrations_lock (is_locked) VALUES (0)")?;
            let fill = format!(
                "INSERT INTO knex_migrations (name, batch, migration_time) SELECT lpad(n::text, 8, '0') || '_x.js', 1, now() FROM generate_series(1, {rows}) AS n"
            );
            self.psql(name, &fill)?;
            self.psql(name, "VACUUM ANALYZE knex_migrations")?;
        }
        Traffic::ALL.iter().try_for_each(|traffic| traffic.prepare(self))
    }

    fn kubectl(&self, words: &[&str]) -> Command {
        // What follows -- is the command's own.
        let (own, its) = words.split_at(words.iter().position(|word| *word == "--").unwrap_or(words.len()));
        let mut kubectl = self.cluster.kubectl();
        kubectl.args(own).args(["--namespace", NAMESPACE]).args(its);
        kubectl
    }

    fn psql(&self, database: &str, sql: &str) -> Outcome<String> {
        capture(&mut self.kubectl(&["exec", "db", "--", "psql", "-h", "/sock", "-U", "postgres", "-At", "-c", sql, database]))
    }

    fn clear(&self) -> Outcome {
        run_command(self.cluster.kubectl().args(["delete", "namespace", NAMESPACE, "--ignore-not-found"]).stdout(Stdio::null()))
    }

    /// The plugin itself and not by way of kubectl, whose memory is not ours.
    fn doctor(&self, more: &[&str]) -> Outcome<Cost> {
        let mut plugin = Command::new(root().join("target/release/kubectl-dbmig"));
        let told = self.cluster.kubectl();
        plugin.envs(told.get_envs().filter_map(|(name, value)| Some((name, value?))));
        plugin.args(["doctor", "app", "--namespace", NAMESPACE]).args(more).stderr(Stdio::null());
        watch(&mut plugin, self.dir.path(), 0)
    }

    /// The pod, its events and its log; where its database is; its books, its lock, and who waits for whom.
    fn by_hand(&self) -> Outcome<f64> {
        let psql = |sql| ["exec", "db", "--", "psql", "-h", "/sock", "-U", "postgres", "-c", sql, "few"];
        let questions: [&[&str]; 7] = [
            &["get", "pod", "app", "-o", "yaml"],
            &["get", "events", "--field-selector", "involvedObject.name=app"],
            &["logs", "app", "--tail=200"],
            &["get", "secret", "app", "-o", "jsonpath={.data.url}"],
            &psql("SELECT * FROM knex_migrations ORDER BY id DESC LIMIT 100"),
            &psql("SELECT * FROM knex_migrations_lock"),
            &psql("SELECT pid, pg_blocking_pids(pid), query FROM pg_stat_activity WHERE wait_event_type = 'Lock'"),
        ];
        questions.iter().map(|words| watch(&mut self.kubectl(words), self.dir.path(), 0).map(|cost| cost.seconds)).sum()
    }

    fn looks(&self) -> Outcome<Vec<Row>> {
        heading(&format!("looking {ROUNDS} times, in turns with kubectl and psql"));
        let (mut hand, mut first, mut again, mut few, mut many, mut memory) = (vec![], vec![], vec![], vec![], vec![], 0);
        let file = |name: &str| ["--database".to_owned(), format!("postgres://postgres@db/{name}")];
        for _ in 0..ROUNDS {
            hand.push(self.by_hand()?);
            run_command(&mut self.kubectl(&["exec", "app", "--", "sh", "-c", "rm -rf /tmp/*dbmig* /tmp/.*dbmig*"]))?;
            let cold = self.doctor(&[])?;
            first.push(cold.seconds);
            again.push(self.doctor(&[])?.seconds);
            for (name, times) in [("few", &mut few), ("many", &mut many)] {
                let [flag, url] = file(name);
                let cost = self.doctor(&[&flag, &url])?;
                memory = memory.max(cost.memory).max(cold.memory);
                times.push(cost.seconds);
            }
        }
        let more = middle(few.iter().zip(&many).map(|(few, many)| many - few).collect());
        let [hand, first, again, few, many] = [hand, first, again, few, many].map(middle);
        let against = |seconds: f64| format!("{seconds:.2} s against {hand:.2} s of seven commands");
        let lower = |name, ratio, goal, raw| Row { name, ratio, goal, better: Better::Lower, raw };
        #[allow(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
        let mib = memory as f64 / f64::from(1 << 20);
        Ok(vec![
            lower("doctor, the first time / by hand", first / hand, 1.0, against(first)),
            lower("doctor, with its binary there / by hand", again / hand, 1.0, against(again)),
            lower(
                "doctor: 100,000 rows instead of 100 / 50 ms",
                more.max(0.0) / MORE_SECONDS,
                1.0,
                format!("{more:.3} s more, {many:.3} s against {few:.3} s"),
            ),
            lower("doctor: peak memory / 64 MiB", mib / 64.0, 1.0, format!("{mib:.1} MiB")),
        ])
    }

    fn relay(&self) -> Outcome<Vec<Row>> {
        heading("the relay against kubectl port-forward");
        let ports = PORTS.map(|port| format!(":{port}"));
        let mut forward = self.kubectl(&["port-forward", "pod/app"]);
        let child = forward.args(&ports).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut forward = Forward(child.map_err(|e| format!("kubectl: {e}"))?);
        let ports = forward.ports()?;
        let [mut relayed, mut forwarded, mut bare] = [vec![], vec![], vec![]];
        for (traffic, source) in [(Traffic::Rows, 2), (Traffic::Noise, 3)] {
            let of = |ports: [u16; 4]| [ports[0], ports[source], ports[1]];
            let [ours, theirs] = self.ways([of(PORTS), of(ports)], traffic)?;
            relayed.push(ours);
            forwarded.push(theirs);
            bare.push(self.exec(traffic)?);
        }
        let row = |name, at: usize, others: &[Value], field: &str, goal, better, unit: &str| {
            let of = |ways: &[Value]| ways[at][field].as_f64().unwrap_or_default();
            let raw = format!("{:.2} against {:.2} {unit}", of(&relayed), of(others));
            Row { name, ratio: of(&relayed) / of(others), goal, better, raw }
        };
        let speed = |name, at, others, field, goal| row(name, at, others, field, goal, Better::Higher, "MiB/s");
        Ok(vec![
            speed("relay: rows from the pod / port-forward", 0, &forwarded, "down", 1.0),
            speed("relay: rows to the pod / port-forward", 0, &forwarded, "up", 1.0),
            speed("relay: noise from the pod / port-forward", 1, &forwarded, "down", NO_GOAL),
            speed("relay: noise to the pod / port-forward", 1, &forwarded, "up", NO_GOAL),
            speed("relay: noise from the pod / kubectl exec", 1, &bare, "down", NO_GOAL),
            speed("relay: noise to the pod / kubectl exec", 1, &bare, "up", NO_GOAL),
            row("relay: round trip / port-forward", 0, &forwarded, "trip", 1.2, Better::Lower, "ms"),
        ])
    }

    /// What an exec carries without any program of ours: with what does not get smaller, the relay, which goes the same way, can't be
    /// faster than its runtime.
    fn exec(&self, traffic: Traffic) -> Outcome<Value> {
        let time = |script: &str| -> Outcome<f64> {
            let kubectl = self.cluster.kubectl();
            let mut shell = Command::new("sh");
            shell.envs(kubectl.get_envs().filter_map(|(name, value)| Some((name, value?))));
            shell
                .arg("-c")
                .arg(script)
                .arg("sh")
                .arg(kubectl.get_program())
                .args([NAMESPACE, &traffic.there()])
                .arg(traffic.file(self));
            Ok(watch(&mut shell, self.dir.path(), 0)?.seconds)
        };
        let best = |script: &str| -> Outcome<f64> {
            let mut best = f64::INFINITY;
            for _ in 0..TRANSFERS {
                // The relay's own time is taken when it is open.
                best = best.min(time(script)? - time("$1 exec app -n $2 -- true")?);
            }
            #[allow(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
            let mib = (BYTES >> 20) as f64;
            Ok(mib / best)
        };
        let down = best("$1 exec app -n $2 -- cat $3 >/dev/null")?;
        let up = best("$1 exec -i app -n $2 -- wc -c <$4 >/dev/null")?;
        Ok(json!({"down": down, "up": up}))
    }

    /// What the measuring program finds on the relay's way and on that of the forwarded ports.
    fn ways(&self, ports: [[u16; 3]; 2], traffic: Traffic) -> Outcome<[Value; 2]> {
        let mut program = Command::new(root().join("target/release/examples/relay"));
        let told = self.cluster.kubectl();
        program.envs(told.get_envs().filter_map(|(name, value)| Some((name, value?))));
        program.args([NAMESPACE, "app"]).arg(traffic.file(self)).args(ports.as_flattened().iter().map(u16::to_string));
        let said = capture(&mut program)?;
        serde_json::from_str(&said).map_err(|e| format!("{e}: {said}"))
    }
}

/// `kubectl port-forward`, ended with this.
struct Forward(Child);

impl Forward {
    /// The ports of this machine, in the order of the pod's.
    fn ports(&mut self) -> Outcome<[u16; 4]> {
        // It stays open with the child: kubectl says a word for each connection.
        let lines = BufReader::new(self.0.stdout.as_mut().ok_or("kubectl has no stdout")?).lines();
        let port = |line: String| line.strip_prefix("Forwarding from 127.0.0.1:")?.split(' ').next()?.parse().ok();
        let found: Vec<u16> = lines.map_while(Result::ok).filter_map(port).take(PORTS.len()).collect();
        found.try_into().map_err(|found: Vec<u16>| format!("kubectl port-forward told of {} ports", found.len()))
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
