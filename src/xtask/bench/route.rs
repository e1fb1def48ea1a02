//! Leading traffic from one release to another, against `helm upgrade` by hand: for how long requests fail, as a client sees it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::{Better, NO_GOAL, Row, middle};
use crate::Outcome;
use crate::cluster::{Kubernetes, lab};
use crate::process::{capture, cargo, heading, path_with, root, run as run_command};

const NAMESPACE: &str = "dbmig-bench-route";
/// Switches of each kind; the middle one counts.
const ROUNDS: usize = 3;
/// Seconds of failed requests that are expected at most.
const SECONDS: f64 = 1.0;

/// Asks for the application about twenty times a second, and writes down whether it was served.
const PROBE: &str = "while :; do at=${EPOCHREALTIME/./}; if wget -q -T 2 -O /dev/null http://front/ready; then word=ack; else word=refused; fi; \
     echo \"${at%???} $word\" >>/tmp/seen; sleep 0.05; done";

struct Bench {
    cluster: Kubernetes,
    helm: PathBuf,
}

pub(super) fn measure() -> Outcome<Vec<Row>> {
    let cluster = Kubernetes::choose(None, true)?;
    if !cluster.is_lab() {
        return Err("this benchmark needs images that only the throwaway cluster has".to_owned());
    }
    run_command(Command::new(lab().with_file_name("steady").join("build")).stdout(Stdio::null()))?;
    let helm = capture(&mut Command::new(lab().with_file_name("helm").join("build")))?.trim().into();
    heading("building the plugin as it is released");
    run_command(cargo().args(["build", "--release", "--package", "kubectl-dbmig"]))?;
    let bench = Bench { cluster, helm };
    bench.clear()?;
    let measured = bench.prepare().and_then(|()| bench.switches());
    bench.clear()?;
    measured
}

impl Bench {
    fn prepare(&self) -> Outcome {
        heading("two releases, a way in, and a client");
        run_command(self.cluster.kubectl().args(["create", "namespace", NAMESPACE]).stdout(Stdio::null()))?;
        for release in ["alpha", "beta"] {
            self.helm(&["install", release, &charts("core"), "--wait", "--set", "database.postgres.slave.replicas=0"])?;
        }
        self.helm(&["install", "admin", &charts("admin"), "--wait"])?;
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": {
            "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "probe", "image": "steady:1", "command": ["bash", "-c", PROBE]}]}});
        let file = tempfile::NamedTempFile::new().map_err(|e| format!("cannot make a temporary file: {e}"))?;
        std::fs::write(file.path(), pod.to_string()).map_err(|e| format!("{}: {e}", file.path().display()))?;
        self.capture(&["apply", "--filename", &file.path().to_string_lossy()])?;
        self.capture(&["wait", "--for=condition=Ready", "--timeout=180s", "pod", "probe"]).map(|_| ())
    }

    /// There and back, by hand and by us in turn.
    fn switches(&self) -> Outcome<Vec<Row>> {
        let (mut hand, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let upgrade = |release: &str| {
                let value = format!("global.managedRelease={release}");
                self.helm(&["upgrade", "admin", &charts("admin"), "--reuse-values", "--wait", "--set", &value])
            };
            hand.push(self.failing(|| upgrade("beta"))?);
            upgrade("alpha")?;
            ours.push(self.failing(|| self.route("beta"))?);
            upgrade("alpha")?;
        }
        let (hand, ours) = (middle(hand), middle(ours));
        let seconds = |name, ratio: f64, goal| Row { name, ratio, goal, better: Better::Lower, raw: format!("{ratio:.2} s") };
        Ok(vec![
            seconds("failed requests: helm upgrade by hand, seconds", hand, NO_GOAL),
            seconds("failed requests: route, seconds", ours, SECONDS),
        ])
    }

    fn route(&self, release: &str) -> Outcome {
        let mut kubectl = self.cluster.kubectl();
        let chart = charts("admin");
        kubectl.args(["dbmig", "route", "--admin-release", "admin", "--chart", &chart, "--to", release, "--yes", "--helm"]);
        kubectl.arg(&self.helm).args(["--probe", "svc/front:80/ready", "--namespace", NAMESPACE]);
        capture(kubectl.env("PATH", path_with(&root().join("target/release"))?)).map(|_| ())
    }

    /// Seconds in which requests failed while something was done.
    fn failing(&self, work: impl FnOnce() -> Outcome) -> Outcome<f64> {
        self.capture(&["exec", "probe", "--", "sh", "-c", ": >/tmp/seen; sleep 2"])?;
        work()?;
        self.capture(&["exec", "probe", "--", "sleep", "2"])?;
        Ok(failing(&self.capture(&["exec", "probe", "--", "cat", "/tmp/seen"])?))
    }

    fn helm(&self, words: &[&str]) -> Outcome {
        let mut helm = Command::new(&self.helm);
        if let Kubernetes::Lab { kubeconfig } = &self.cluster {
            helm.env("KUBECONFIG", kubeconfig);
        }
        capture(helm.args(words).args(["--namespace", NAMESPACE])).map(|_| ())
    }

    fn capture(&self, words: &[&str]) -> Outcome<String> {
        capture(self.cluster.kubectl().args(["--namespace", NAMESPACE]).args(words))
    }

    fn clear(&self) -> Outcome {
        run_command(self.cluster.kubectl().args(["delete", "namespace", NAMESPACE, "--ignore-not-found"]).stdout(Stdio::null()))
    }
}

/// Folder of a chart of the tests.
fn charts(name: &str) -> String {
    root().join("tests/support/steady").join(name).display().to_string()
}

/// Seconds between answers in which requests failed, all together, in a log of `MILLISECONDS WORD`.
fn failing(log: &str) -> f64 {
    let (mut last, mut failed, mut total) = (None, false, Duration::ZERO);
    for (at, word) in log.lines().filter_map(|line| line.split_once(' ')) {
        let Ok(at) = at.parse::<u64>() else { continue };
        if word != "ack" {
            failed = true;
            continue;
        }
        if failed {
            total += Duration::from_millis(last.map_or(0, |last| at.saturating_sub(last)));
        }
        (last, failed) = (Some(at), false);
    }
    total.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::failing;

    #[test]
    fn only_time_in_which_requests_fail_counts() {
        let near = |seconds: f64, wanted: f64| (seconds - wanted).abs() < 1e-9;
        assert!(near(failing("1000 ack\n1050 ack\n3000 ack\n"), 0.0));
        assert!(near(failing("1000 ack\n1050 refused\n1100 refused\n1500 ack\n1550 ack\n1600 refused\n1700 ack\n"), 0.65));
    }
}
