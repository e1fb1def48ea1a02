//! The observers against `kubectl logs -f`: twenty pods write, and both follow them at the same time, so that whatever else the
//! machine does meets both.

mod reader;
mod screen;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use self::reader::{Heard, Reading};
use super::{Better, Row};
use crate::Outcome;
use crate::cluster::Kubernetes;
use crate::process::{cargo, heading, path_with, root, run as run_command};

const PODS: u32 = 20;
/// Lines per second of one pod.
const RATE: u32 = 1000;
const SECONDS: u32 = 30;
const NAMESPACE: &str = "dbmig-bench-watch";
const SELECTOR: &str = "app=writers";
/// From the word to begin to the first line.
const LEAD: Duration = Duration::from_millis(500);

/// How one follower did.
struct Turn {
    heard: Heard,
    /// Seconds of all its threads on a processor, from its start to the last line.
    busy: f64,
    /// Most bytes of memory.
    memory: u64,
}

pub(super) fn measure() -> Outcome<Vec<Row>> {
    let mut bench = Bench::prepare()?;
    let measured = bench.turns().and_then(|turns| Ok((turns, bench.screen()?)));
    bench.clear()?;
    let (turns, (frames, seconds)) = measured?;
    let mut rows: Vec<Row> = NAMES.iter().zip(&turns).flat_map(|(names, (ours, kubectl))| rows(names, ours, kubectl)).collect();
    let rate = f64::from(frames) / seconds;
    rows.push(Row {
        name: "screen: frames per second while scrolling / 10",
        ratio: rate / 10.0,
        goal: 1.0,
        better: Better::Higher,
        raw: format!("{frames} frames in {seconds:.1} s, {PODS} pods writing {RATE} lines/s each, a key every 20 ms"),
    });
    Ok(rows)
}

/// What the rows of one way are called.
struct Names {
    lost: &'static str,
    busy: &'static str,
    delay: &'static str,
    later: &'static str,
    memory: &'static str,
}

const NAMES: [Names; 2] = [
    Names {
        lost: "logs -f: lines lost, repeated or out of order",
        busy: "logs -f: CPU / kubectl's",
        delay: "logs -f: delay p99 / 100 ms",
        later: "logs -f: delay p99 / kubectl's",
        memory: "logs -f: peak memory / 64 MiB",
    },
    Names {
        lost: "watch --plain: lines lost, repeated or misplaced",
        busy: "watch --plain: CPU / kubectl's",
        delay: "watch --plain: delay p99 / 100 ms",
        later: "watch --plain: delay p99 / kubectl's",
        memory: "watch --plain: peak memory / 64 MiB",
    },
];

#[allow(clippy::cast_precision_loss, reason = "counts and sizes far below 2^52")]
fn rows(names: &Names, ours: &Turn, kubectl: &Turn) -> Vec<Row> {
    let expected = u64::from(PODS * RATE * SECONDS);
    let wrong = |turn: &Turn| turn.heard.lost(expected) + turn.heard.repeated + turn.heard.misplaced;
    let delays = |turn: &Turn| {
        let [half, most, longest] = [50.0, 99.0, 100.0].map(|percent| turn.heard.delay(percent).as_secs_f64() * 1e3);
        format!("p50 {half:.0}, p99 {most:.0}, longest {longest:.0} ms")
    };
    let late = |turn: &Turn| turn.heard.delay(99.0).as_secs_f64();
    let mib = |turn: &Turn| turn.memory as f64 / f64::from(1 << 20);
    let row = |name, ratio, goal, raw| Row { name, ratio, goal, better: Better::Lower, raw };
    vec![
        row(
            names.lost,
            wrong(ours) as f64,
            0.0,
            format!(
                "of {expected}: {} lost, {} twice, {} out of order; kubectl {} in all",
                ours.heard.lost(expected),
                ours.heard.repeated,
                ours.heard.misplaced,
                wrong(kubectl)
            ),
        ),
        row(names.busy, ours.busy / kubectl.busy, 0.7, format!("{:.2} s against {:.2} s", ours.busy, kubectl.busy)),
        row(names.delay, late(ours) * 10.0, 1.0, format!("{}; kubectl {}", delays(ours), delays(kubectl))),
        row(
            names.later,
            late(ours) / late(kubectl),
            1.0,
            format!("{:.0} ms against {:.0} ms", late(ours) * 1e3, late(kubectl) * 1e3),
        ),
        row(names.memory, mib(ours) / 64.0, 1.0, format!("{:.1} MiB; kubectl {:.1} MiB", mib(ours), mib(kubectl))),
    ]
}

/// The writers. They stay until [`Bench::clear`].
struct Bench {
    cluster: Kubernetes,
    dir: tempfile::TempDir,
    /// Of the writers' lines so far.
    round: u32,
}

impl Bench {
    fn prepare() -> Outcome<Self> {
        let cluster = Kubernetes::choose(None, true)?;
        if !cluster.is_lab() {
            return Err("this benchmark puts its own program into pods, which only the throwaway cluster lets it do".to_owned());
        }
        heading("building the plugin as it is released");
        run_command(cargo().args(["build", "--release", "--package", "kubectl-dbmig"]))?;
        let dir = tempfile::tempdir_in(root().join("target")).map_err(|e| format!("cannot make a folder below target: {e}"))?;
        let source = root().join("src/xtask/bench/watch/writer.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut compile = Command::new(rustc);
        compile.args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-o"]);
        run_command(compile.arg(dir.path().join("writer")).arg(source))?;
        let bench = Self { cluster, dir, round: 0 };
        bench.clear()?;
        heading(&format!("starting {PODS} writers in namespace {NAMESPACE}"));
        run_command(bench.cluster.kubectl().args(["create", "namespace", NAMESPACE]).stdout(Stdio::null()))?;
        if let Err(error) = bench.start() {
            bench.clear()?;
            return Err(error);
        }
        Ok(bench)
    }

    fn kubectl(&self, words: &[&str]) -> Command {
        let mut kubectl = self.cluster.kubectl();
        kubectl.args(words).args(["--namespace", NAMESPACE]);
        kubectl
    }

    fn plugin(&self, words: &[&str]) -> Outcome<Command> {
        let mut plugin = self.kubectl(&[&["dbmig"], words].concat());
        plugin.env("PATH", path_with(&root().join("target/release"))?);
        Ok(plugin)
    }

    fn start(&self) -> Outcome {
        let (name, labels) = ("writers", json!({"app": "writers"}));
        let container = json!({"name": "main", "image": "busybox:1", "command": ["/bench/writer", "/bench"],
            "volumeMounts": [{"name": "bench", "mountPath": "/bench", "readOnly": true}]});
        let pod = json!({"containers": [container], "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": false,
            "volumes": [{"name": "bench", "hostPath": {"path": self.dir.path()}}]});
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
            "replicas": PODS, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}});
        let file = self.dir.path().join("deployment.json");
        fs::write(&file, deployment.to_string()).map_err(|e| format!("{}: {e}", file.display()))?;
        let file = file.to_string_lossy();
        run_command(self.kubectl(&["apply", "--filename", &file]).stdout(Stdio::null()))?;
        run_command(self.kubectl(&["rollout", "status", "deployment/writers", "--timeout=300s"]).stdout(Stdio::null()))
    }

    fn clear(&self) -> Outcome {
        run_command(self.cluster.kubectl().args(["delete", "namespace", NAMESPACE, "--ignore-not-found"]).stdout(Stdio::null()))
    }

    /// Has the writers begin their next round; its number.
    fn go(&mut self, seconds: u32) -> Outcome<u32> {
        self.round += 1;
        let begin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + LEAD;
        let told = format!("{} {} {RATE}", begin.as_millis(), RATE * seconds);
        // In one step, so that nobody reads half of it.
        let (draft, file) = (self.path("draft"), self.path(&format!("go-{}", self.round)));
        fs::write(&draft, told).and_then(|()| fs::rename(&draft, &file)).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(self.round)
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.dir.path()).join(name)
    }

    fn turns(&mut self) -> Outcome<[(Turn, Turn); 2]> {
        let logs = self.plugin(&["logs", "-f", "--prefix", "--tail=0", "-l", SELECTOR])?;
        let watch = self.plugin(&["watch", "--plain", "--tail=0", "-l", SELECTOR])?;
        Ok([self.turn("logs -f", logs)?, self.turn("watch --plain", watch)?])
    }

    /// Ours and kubectl's, on the same lines.
    fn turn(&mut self, name: &str, ours: Command) -> Outcome<(Turn, Turn)> {
        heading(&format!("following {PODS} pods at {RATE} lines/s each for {SECONDS} s: {name}, and kubectl logs -f"));
        let most = PODS.to_string();
        let kubectl = self.kubectl(&["logs", "-f", "--prefix", "--max-log-requests", &most, "--tail=0", "-l", SELECTOR]);
        let (ours, kubectl) = (Reading::begin(ours)?, Reading::begin(kubectl)?);
        ours.all_say_hello(PODS as usize)?;
        kubectl.all_say_hello(PODS as usize)?;
        let round = self.go(SECONDS)?;
        [&ours, &kubectl].into_iter().for_each(|reading| reading.round(round));
        let expected = u64::from(PODS * RATE * SECONDS);
        Ok((ours.end(expected), kubectl.end(expected)))
    }

    /// Frames that the screen drew, and the seconds it had for it.
    fn screen(&mut self) -> Outcome<(u32, f64)> {
        heading("scrolling the screen meanwhile");
        let command = self.plugin(&["watch", "-l", SELECTOR])?;
        let folder = self.dir.path().to_path_buf();
        screen::frames(&command, &folder, || self.go(screen::SECONDS).map(|_| ()))
    }
}
