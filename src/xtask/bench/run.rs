//! Running a migration as one Job, against the commands that people type for it; and with the application stopped, against the five
//! steps of ltd-keeper's document: for how long nobody is served.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Better, DATABASE, NO_GOAL, Row, middle};
use crate::Outcome;
use crate::cluster::{Kubernetes, lab};
use crate::process::{capture, cargo, heading, path_with, root, run as run_command};

const NAMESPACE: &str = "dbmig-bench-run";
/// Runs of each kind; the middle one counts.
const ROUNDS: usize = 9;
/// Seconds that `run` may take longer than the commands.
const MORE_SECONDS: f64 = 1.0;
/// A stop of the application may take as long as by hand.
const SAME: f64 = 1.0;

/// Stops of each kind; the middle one counts.
const STOPS: usize = 3;

/// Asks for the application about twenty times a second, and writes down whether it was served, and when that was known. By address:
/// a resolver waits for seconds when an answer is lost. With little patience: where a Service has no endpoints, only every second or so
/// one connection is refused, and the others wait.
const PROBE: &str = "
import os, time, urllib.request
where = 'http://' + os.environ['KEEPER_SERVICE_HOST'] + ':8080/'
while True:
    try:
        urllib.request.urlopen(where, timeout=0.2).read()
        word = 'ack'
    except OSError:
        word = 'refused'
    with open('/tmp/seen', 'a') as seen:
        print(int(time.time() * 1000), word, file=seen)
    time.sleep(0.05)
";

struct Bench {
    cluster: Kubernetes,
}

pub(super) fn measure() -> Outcome<Vec<Row>> {
    let cluster = Kubernetes::choose(None, true)?;
    if !cluster.is_lab() {
        return Err("this benchmark needs images that only the throwaway cluster has".to_owned());
    }
    for image in ["databases", "migrations"] {
        run_command(Command::new(lab().with_file_name(image).join("build")).stdout(Stdio::null()))?;
    }
    heading("building the plugin as it is released");
    run_command(cargo().args(["build", "--release", "--package", "kubectl-dbmig"]))?;
    let bench = Bench { cluster };
    bench.clear()?;
    let measured = bench.prepare().and_then(|()| Ok([bench.jobs()?, bench.stops()?].concat()));
    bench.clear()?;
    measured
}

impl Bench {
    fn prepare(&self) -> Outcome {
        heading("a database, an application, and a CronJob that migrates");
        run_command(self.cluster.kubectl().args(["create", "namespace", NAMESPACE]).stdout(Stdio::null()))?;
        let shop = json!([{"name": "DATABASE_URL", "value": "postgresql://postgres@db/postgres"}]);
        let keeper = json!([{"name": "LTD_KEEPER_DB_URL", "value": "postgresql://postgres@db/keeper"},
            {"name": "FLASK_APP", "value": "keeper"}]);
        // One database each: who has two is asked which one is meant.
        let container =
            |name: &str, image: &str, command: &[&str]| json!({"name": name, "image": image, "command": command, "env": shop});
        let migrate = container("migrate", "migrations:1", &["sh", "-c", "cd /shop && exec knex migrate:latest"]);
        let cronjob = json!({"apiVersion": "batch/v1beta1", "kind": "CronJob", "metadata": {"name": "manual-migrate"}, "spec": {
            "schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"backoffLimit": 0, "template": {"spec": {
                "restartPolicy": "Never", "automountServiceAccountToken": false, "containers": [migrate]}}}}}});
        let service = |name: &str, port: u16| {
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": port}]}})
        };
        let ready = json!({"periodSeconds": 1, "exec": {"command": ["psql", "-h", "/sock", "-U", "postgres", "-c", "select 1"]}});
        let mut server = container("db", "databases:1", &["sh", "-c", DATABASE]);
        server["readinessProbe"] = ready;
        for object in [
            service("db", 5432),
            service("keeper", 8080),
            pod("db", &server),
            pod("probe", &container("probe", "migrations:1", &["python3", "-c", PROBE])),
            cronjob,
            self.keeper(&keeper),
        ] {
            self.apply(&object)?;
        }
        self.capture(&["wait", "--for=condition=Ready", "--timeout=180s", "pod", "db"])?;
        self.sql("CREATE DATABASE keeper")?;
        self.capture(&["rollout", "status", "deployment/keeper", "--timeout=180s"])?;
        Ok(())
    }

    fn keeper(&self, url: &Value) -> Value {
        let serve = json!({"name": "uwsgi", "image": "migrations:1", "env": url, "workingDir": "/keeper",
            "command": ["python3", "-m", "http.server", "8080"], "readinessProbe": {"periodSeconds": 1, "httpGet": {"path": "/", "port": 8080}}});
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "keeper"}, "spec": {"replicas": 1,
            "selector": {"matchLabels": {"app": "keeper"}}, "template": template("keeper", &serve)}})
    }

    /// A migration that has nothing left to do.
    fn jobs(&self) -> Outcome<Vec<Row>> {
        self.by_us(&["run", "cronjob/manual-migrate", "--yes"])?;
        let (mut hand, mut ours) = (Vec::new(), Vec::new());
        // As `kubectl create job --from` makes it: a newer kubectl does not know the CronJobs of an older server.
        let cronjob: Value = serde_json::from_str(&self.capture(&["get", "cronjob", "manual-migrate", "-o", "json"])?)
            .map_err(|e| format!("the CronJob is no JSON: {e}"))?;
        let spec = &cronjob["spec"]["jobTemplate"]["spec"];
        for round in 0..ROUNDS {
            let job = format!("by-hand-{round}");
            let begin = Instant::now();
            self.apply(&json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job}, "spec": spec}))?;
            self.capture(&["wait", "--for=condition=complete", "--timeout=180s", "job", &job])?;
            self.capture(&["logs", &format!("job/{job}")])?;
            hand.push(begin.elapsed().as_secs_f64());
            let begin = Instant::now();
            self.by_us(&["run", "cronjob/manual-migrate", "--yes"])?;
            ours.push(begin.elapsed().as_secs_f64());
        }
        let (hand, ours) = (middle(hand), middle(ours));
        let raw = format!("{ours:.2} s to {hand:.2} s");
        Ok(vec![Row {
            name: "run to create job, wait, logs: more seconds",
            ratio: ours - hand,
            goal: MORE_SECONDS,
            better: Better::Lower,
            raw,
        }])
    }

    /// The same migration of the same database, again and again.
    fn stops(&self) -> Outcome<Vec<Row>> {
        let upgrade = ["run", "--offline", "deployment/keeper", "--yes", "--", "flask", "db", "upgrade"];
        let (mut seed, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..STOPS {
            heading("with the application stopped, step by step");
            seed.push(self.outage(|| self.by_the_seed())?);
            self.empty_again()?;
            heading("with the application stopped, by run --offline");
            ours.push(self.outage(|| self.by_us(&upgrade))?);
            self.empty_again()?;
        }
        let (seed, ours) = (middle(seed), middle(ours));
        let raw = format!("{ours:.1} s to {seed:.1} s");
        let seconds = |name, ratio: f64| Row { name, ratio, goal: NO_GOAL, better: Better::Lower, raw: format!("{ratio:.1} s") };
        Ok(vec![
            seconds("no service: five steps typed by a script, seconds", seed),
            seconds("no service: run --offline, seconds", ours),
            Row {
                name: "no service: run --offline to the five steps",
                ratio: ours / seed,
                goal: SAME,
                better: Better::Lower,
                raw,
            },
        ])
    }

    /// The application's database as it was before its first migration, and no Job of it: its pod would be waited for by hand.
    fn empty_again(&self) -> Outcome {
        self.capture(&["delete", "jobs", "--all"])?;
        self.sql("DROP DATABASE keeper WITH (FORCE)")?;
        self.sql("CREATE DATABASE keeper").map(|_| ())
    }

    /// As ltd-keeper's document says, as fast as a script can type.
    fn by_the_seed(&self) -> Outcome {
        let deployment: Value = serde_json::from_str(&self.capture(&["get", "deployment", "keeper", "-o", "json"])?)
            .map_err(|e| format!("kubectl get deployment: {e}"))?;
        let mut container = deployment["spec"]["template"]["spec"]["containers"][0].clone();
        container["command"] = json!(["sleep", "3600"]);
        container["readinessProbe"] = Value::Null;
        self.capture(&["delete", "deployment", "keeper"])?;
        self.capture(&["wait", "--for=delete", "--timeout=180s", "pod", "--selector=app=keeper"])?;
        self.apply(&pod("keeper-mgmt", &container))?;
        self.capture(&["wait", "--for=condition=Ready", "--timeout=180s", "pod", "keeper-mgmt"])?;
        self.capture(&["exec", "keeper-mgmt", "--", "flask", "db", "upgrade"])?;
        self.capture(&["delete", "pod", "keeper-mgmt", "--wait=false"])?;
        let env = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
        self.apply(&self.keeper(env))?;
        self.capture(&["rollout", "status", "deployment/keeper", "--timeout=180s"])?;
        Ok(())
    }

    /// Seconds for which nobody was served while something was done.
    fn outage(&self, work: impl FnOnce() -> Outcome) -> Outcome<f64> {
        // What was refused before everything had come up belongs to nobody.
        self.is_served()?;
        self.capture(&["exec", "probe", "--", "sh", "-c", ": >/tmp/seen"])?;
        self.is_served()?;
        work()?;
        self.is_served()?;
        outage(&self.capture(&["exec", "probe", "--", "cat", "/tmp/seen"])?)
    }

    /// Waits for a second in which everybody is served.
    fn is_served(&self) -> Outcome {
        let quiet = "for _ in $(seq 60); do sleep 1; [ \"$(tail -n 10 /tmp/seen | grep -c ack)\" = 10 ] && exit 0; done; exit 1";
        self.capture(&["exec", "probe", "--", "sh", "-c", quiet]).map(|_| ())
    }

    fn by_us(&self, words: &[&str]) -> Outcome {
        let (ours, theirs) = words.split_at(words.iter().position(|word| *word == "--").unwrap_or(words.len()));
        let mut kubectl = self.cluster.kubectl();
        kubectl.arg("dbmig").args(ours).args(["--namespace", NAMESPACE]).args(theirs);
        capture(kubectl.env("PATH", path_with(&root().join("target/release"))?)).map(|_| ())
    }

    fn sql(&self, sql: &str) -> Outcome<String> {
        self.capture(&["exec", "db", "--", "psql", "-X", "-h", "/sock", "-U", "postgres", "-qAtc", sql])
    }

    fn capture(&self, words: &[&str]) -> Outcome<String> {
        capture(self.cluster.kubectl().args(["--namespace", NAMESPACE]).args(words))
    }

    fn apply(&self, object: &Value) -> Outcome {
        let file = tempfile::NamedTempFile::new().map_err(|e| format!("cannot make a temporary file: {e}"))?;
        fs::write(file.path(), object.to_string()).map_err(|e| format!("{}: {e}", file.path().display()))?;
        self.capture(&["apply", "--filename", &file.path().to_string_lossy()]).map(|_| ())
    }

    fn clear(&self) -> Outcome {
        run_command(self.cluster.kubectl().args(["delete", "namespace", NAMESPACE, "--ignore-not-found"]).stdout(Stdio::null()))
    }
}

fn pod(name: &str, container: &Value) -> Value {
    let mut pod = template(name, container);
    (pod["apiVersion"], pod["kind"], pod["metadata"]["name"]) = ("v1".into(), "Pod".into(), name.into());
    pod
}

fn template(name: &str, container: &Value) -> Value {
    json!({"metadata": {"labels": {"app": name}}, "spec": {
        "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1, "containers": [container]}})
}

/// Seconds from the last answer before the first refusal to the first answer after the last one, in a log of `MILLISECONDS WORD`.
fn outage(log: &str) -> Outcome<f64> {
    let lines: Vec<(u64, bool)> = log
        .lines()
        .filter_map(|line| line.split_once(' ').and_then(|(at, word)| Some((at.parse().ok()?, word == "ack"))))
        .collect();
    let refused = lines.iter().position(|line| !line.1).zip(lines.iter().rposition(|line| !line.1));
    let (first, last) = refused.ok_or("nobody was refused: the application was not stopped")?;
    let around = first.checked_sub(1).and_then(|before| Some((lines[before].0, lines.get(last + 1)?.0)));
    let (before, after) = around.ok_or("nobody was served before, or nobody after")?;
    Ok(Duration::from_millis(after.saturating_sub(before)).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::outage;

    #[test]
    fn a_stop_is_from_the_last_answer_before_to_the_first_after_it() {
        assert_eq!(outage("1000 ack\n1050 refused\n1100 ack\n1150 refused\n4000 ack\n4050 ack\n"), Ok(3.0));
        assert!(outage("1000 ack\n").is_err_and(|why| why.contains("nobody was refused")));
        assert!(outage("1000 ack\n1050 refused\n").is_err_and(|why| why.contains("nobody after")));
    }
}
