//! Cutting over a PostgreSQL database under load: for how long a writer of 500 rows a second is refused, by our `finish` and by
//! what the seed tells people to do, each on databases of its own made alike.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use super::{Better, NO_GOAL, Row};
use crate::Outcome;
use crate::cluster::{Kubernetes, lab};
use crate::process::{capture, cargo, heading, path_with, root, run as run_command};

const NAMESPACE: &str = "dbmig-bench-finish";
/// Most seconds without writes that `finish` may take.
const GOAL: f64 = 5.0;
/// Seconds of writing that are followed before the end begins.
const WARM: u64 = 20;
/// Rows a second that are written.
const RATE: &str = "500";

/// How a database is cut over.
#[derive(Clone, Copy)]
enum Way {
    /// finish.sh, and a restart of the application.
    Seed,
    /// Ours, and a restart of the application.
    Restart,
    /// Ours, by the Service alone: the application connects anew by itself.
    Service,
}

/// What came of it.
struct Turn {
    /// Seconds between the last row written before and the first one after it.
    outage: f64,
    refused: usize,
    acknowledged: usize,
    lost: usize,
}

struct Bench {
    cluster: Kubernetes,
}

pub(super) fn measure(megabytes: u64) -> Outcome<Vec<Row>> {
    let cluster = Kubernetes::choose(None, true)?;
    if !cluster.is_lab() {
        return Err("this benchmark needs the image moving:1, which only the throwaway cluster has".to_owned());
    }
    run_command(Command::new(lab().with_file_name("moving").join("build")).stdout(Stdio::null()))?;
    heading("building the plugin as it is released");
    run_command(cargo().args(["build", "--release", "--package", "kubectl-dbmig"]))?;
    let bench = Bench { cluster };
    let turn = |way| {
        let turn = bench.turn(way, megabytes);
        bench.clear()?;
        turn
    };
    let (seed, ours, service) = (turn(Way::Seed)?, turn(Way::Restart)?, turn(Way::Service)?);
    Ok(vec![
        Row { goal: NO_GOAL, ..seed.row("no writes: finish.sh and a restart, seconds") },
        Row { goal: NO_GOAL, ..ours.row("no writes: finish and a restart, seconds") },
        service.row("no writes: finish and a switched Service, seconds"),
        Row {
            name: "no writes: finish to finish.sh, both with a restart",
            ratio: ours.outage / seed.outage,
            goal: 1.0,
            better: Better::Lower,
            raw: format!("{:.1} s to {:.1} s", ours.outage, seed.outage),
        },
        Row {
            name: "acknowledged rows lost by finish",
            ratio: (ours.lost + service.lost) as f64,
            goal: 0.0,
            better: Better::Lower,
            raw: format!(
                "{} of {}; by finish.sh and a restart {} of {}",
                ours.lost + service.lost,
                ours.acknowledged + service.acknowledged,
                seed.lost,
                seed.acknowledged
            ),
        },
    ])
}

impl Turn {
    fn row(&self, name: &'static str) -> Row {
        let raw = format!("{:.1} s, {} rows refused, {} acknowledged", self.outage, self.refused, self.acknowledged);
        Row { name, ratio: self.outage, goal: GOAL, better: Better::Lower, raw }
    }

    /// From the writers' log (`MILLISECONDS WORD NUMBER`) and the numbers on the new server.
    fn read(log: &str, there: &str) -> Outcome<Self> {
        let there: BTreeSet<&str> = there.lines().collect();
        let lines: Vec<(u64, bool, &str)> = log
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ');
                Some((words.next()?.parse().ok()?, words.next()? == "ack", words.next()?))
            })
            .collect();
        let failed = |line: &&(u64, bool, &str)| !line.1;
        let (first, last) =
            lines.iter().position(|line| !line.1).zip(lines.iter().rposition(|line| !line.1)).ok_or("no write failed")?;
        let (before, after) =
            first.checked_sub(1).zip(lines.get(last + 1)).ok_or("the writer wrote nothing before, or nothing after")?;
        let acknowledged: Vec<&str> = lines.iter().filter(|line| line.1).map(|line| line.2).collect();
        Ok(Self {
            outage: Duration::from_millis(after.0.saturating_sub(lines[before].0)).as_secs_f64(),
            refused: lines.iter().filter(failed).count(),
            lost: acknowledged.iter().filter(|number| !there.contains(**number)).count(),
            acknowledged: acknowledged.len(),
        })
    }
}

impl Bench {
    fn turn(&self, way: Way, megabytes: u64) -> Outcome<Turn> {
        self.clear()?;
        heading(&format!("making a database of {megabytes} MB that is written to and followed"));
        self.prepare(megabytes)?;
        sleep(Duration::from_secs(WARM));
        match way {
            Way::Seed => self.by_the_seed()?,
            Way::Restart => self.by_us(&["--restart", "deployment/writer"])?,
            Way::Service => self.by_us(&[])?,
        }
        sleep(Duration::from_secs(3)); // some rows on the new server
        let log = self.capture(&["exec", "shell", "--", "sh", "-c", "sort -n /acks/*"])?;
        Turn::read(&log, &self.sql("pg17", "SELECT n FROM api.likes")?)
    }

    fn prepare(&self, megabytes: u64) -> Outcome {
        let folder = root().join("tests/support/moving");
        let read =
            |name: &str| fs::read_to_string(folder.join(name)).map_err(|e| format!("{}: {e}", folder.join(name).display()));
        run_command(self.cluster.kubectl().args(["create", "namespace", NAMESPACE]).stdout(Stdio::null()))?;
        let files = json!({"serve.sh": read("serve.sh")?, "roles.sql": read("roles.sql")?, "schema.sql": read("schema.sql")?});
        self.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "moving"}, "data": files}).to_string())?;
        let server = read("server.yaml")?.replace("@SETTINGS@", "");
        for (name, version) in [("pg15", "15"), ("pg17", "17")] {
            self.apply(&server.replace("@NAME@", name).replace("@VERSION@", version))?;
        }
        self.apply(&read("applications.yaml")?.replace("@RATE@", RATE))?;
        self.until("both servers are there", || {
            self.capture(&["wait", "--for=condition=Ready", "--timeout=1s", "pod", "pg15-0", "pg17-0", "shell"]).is_ok()
        })?;
        let load =
            format!("psql -X -h /tmp -U admin -d shop -qAt -v ON_ERROR_STOP=1 -1 -v megabytes={megabytes} -f /moving/schema.sql");
        self.capture(&["exec", "pg15-0", "--", "bash", "-c", &load])?;
        self.capture(&["scale", "deployment/writer", "--replicas=1"])?;
        self.capture(&["rollout", "status", "deployment/writer", "--timeout=180s"])?;
        self.apply(&read("job.yaml")?)?;
        self.until("rows follow to the new server", || {
            self.sql("pg17", "SELECT count(*) > 0 FROM api.likes WHERE author = 'writer' AND at > now() - interval '3 seconds'")
                .is_ok_and(|seen| seen == "t")
        })
    }

    /// As the seed's page says, with the one thing more that makes a restart lead anywhere else.
    fn by_the_seed(&self) -> Outcome {
        heading("finish.sh, kubectl wait, kubectl rollout restart");
        self.capture(&["exec", "job/db-upgrade", "--", "/migration/finish.sh"])?;
        self.capture(&["wait", "--for=condition=complete", "--timeout=1h", "jobs/db-upgrade"])?;
        self.capture(&["patch", "service", "db", "--patch", r#"{"spec": {"selector": {"app": "pg17"}}}"#])?;
        self.capture(&["rollout", "restart", "deployments/writer"])?;
        self.capture(&["rollout", "status", "deployments/writer", "--timeout=300s"])?;
        Ok(())
    }

    fn by_us(&self, more: &[&str]) -> Outcome {
        heading(&format!("kubectl dbmig finish --switch-service {}", more.join(" ")));
        let switch = ["--switch-service", "svc/db", "--to", "svc/pg17"];
        let mut plugin = self.kubectl(&[&["dbmig", "finish", "job/db-upgrade", "--yes"], &switch[..], more].concat());
        run_command(plugin.env("PATH", path_with(&root().join("target/release"))?))
    }

    fn clear(&self) -> Outcome {
        run_command(self.cluster.kubectl().args(["delete", "namespace", NAMESPACE, "--ignore-not-found"]).stdout(Stdio::null()))
    }

    fn sql(&self, server: &str, sql: &str) -> Outcome<String> {
        self.capture(&[
            "exec",
            &format!("{server}-0"),
            "--",
            "psql",
            "-X",
            "-h",
            "/tmp",
            "-U",
            "admin",
            "-d",
            "shop",
            "-qAtc",
            sql,
        ])
    }

    fn capture(&self, words: &[&str]) -> Outcome<String> {
        capture(&mut self.kubectl(words))
    }

    fn apply(&self, manifest: &str) -> Outcome {
        let file = tempfile::NamedTempFile::new().map_err(|e| format!("cannot make a temporary file: {e}"))?;
        fs::write(file.path(), manifest).map_err(|e| format!("{}: {e}", file.path().display()))?;
        run_command(self.kubectl(&["apply", "--filename"]).arg(file.path()).stdout(Stdio::null()))
    }

    /// Flags of a plugin come after its name, and so does the namespace.
    fn kubectl(&self, words: &[&str]) -> Command {
        let (name, rest) = words.split_at(1);
        let mut kubectl = self.cluster.kubectl();
        kubectl.args(name);
        if name == ["dbmig"] {
            kubectl.args(rest).args(["--namespace", NAMESPACE]);
        } else {
            kubectl.args(["--namespace", NAMESPACE]).args(rest);
        }
        kubectl
    }

    fn until(&self, what: &str, mut seen: impl FnMut() -> bool) -> Outcome {
        for _ in 0..300 {
            if seen() {
                return Ok(());
            }
            sleep(Duration::from_secs(1));
        }
        Err(format!("after 5 minutes it is still not so that {what}; look with `kubectl -n {NAMESPACE} get pods`"))
    }
}

#[cfg(test)]
mod tests {
    use super::Turn;

    #[test]
    fn an_outage_is_from_the_last_row_before_to_the_first_row_after_it() {
        let log = "1000 ack 1 \n1002 ack 2 \n1020 refused 3 no right\n1040 unknown 4 gone\n3502 ack 5 \n3504 ack 6 \n";
        let turn = Turn::read(log, "1\n2\n6\n").expect("there is a row before and one after it");
        assert_eq!((turn.outage, turn.refused, turn.acknowledged, turn.lost), (2.5, 2, 4, 1));
        assert!(Turn::read("1000 ack 1 \n", "1").is_err_and(|why| why.contains("no write failed")));
        assert!(Turn::read("1000 refused 1 \n1002 ack 2 \n", "2").is_err_and(|why| why.contains("nothing before")));
    }
}
