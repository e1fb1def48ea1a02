//! The vacuum's engine against what people do by hand, on one database made for it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::engine::{Cost, on_disk, watch};
use super::{Better, Row};
use crate::Outcome;
use crate::process::{capture, cargo, heading, on_path, root, run as run_command};

/// A fixed moment, so that every run measures the same rows.
const NOW: u64 = 1_700_000_100;
/// What upmeter's profile drops, as the SQL that the procedure by hand would need.
const DELETE: &str = "DELETE FROM episodes_30s WHERE timeslot < 1700000100 - 86400 AND EXISTS (SELECT 1 FROM episodes_5m AS c \
                      WHERE c.timeslot = episodes_30s.timeslot - episodes_30s.timeslot % 300 AND c.group_name = episodes_30s.group_name \
                      AND c.probe_name = episodes_30s.probe_name);";

/// How often each way is measured; the fastest run counts.
const RUNS: usize = 3;

/// What the engine took for one database.
struct Engine {
    copy: Cost,
    /// Copy and proof.
    all: Cost,
    /// Bytes of the new file.
    kept: u64,
    /// Rows in it.
    rows: u64,
}

pub(super) fn measure(megabytes: u64, largest: u64) -> Outcome<Vec<Row>> {
    if !on_path("sqlite3") {
        return Err("the comparison needs sqlite3 on the PATH; `cargo xtask cluster up` installs it".to_owned());
    }
    heading("building the plugin, and the agent in it");
    run_command(cargo().args(["build", "--package", "kubectl-dbmig"]))?;
    let bench = Bench::prepare(megabytes)?;
    heading(&format!("measuring {RUNS} times, by hand first"));
    let by_hand = fastest(|| bench.by_hand())?;
    let into = fastest(|| bench.vacuum_into())?;
    heading("measuring the engine");
    let engine = bench.engine()?;
    drop(bench);
    let mut rows = rows(&by_hand, &into, &engine);
    let larger = largest.min(room()? * 2 / 3);
    if larger > megabytes {
        let large = Bench::prepare(larger)?.engine()?;
        rows.extend(compared(&engine, megabytes, &large, larger));
    }
    Ok(rows)
}

fn fastest(mut run: impl FnMut() -> Outcome<Cost>) -> Outcome<Cost> {
    let first = run()?;
    (1..RUNS).try_fold(first, |best, _| Ok(best.faster(run()?)))
}

/// The engine on two sizes: what takes the same per row, and the same memory, is linear in rows and fit for any size.
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn compared(small: &Engine, megabytes: u64, large: &Engine, larger: u64) -> Vec<Row> {
    let row = |name, of: fn(&Engine) -> f64| {
        let per_row = |engine: &Engine| of(engine) / engine.rows as f64 * 1e9;
        let (before, now) = (per_row(small), per_row(large));
        let raw = format!(
            "{now:.0} ns per row kept at {larger} MB ({:.2} s, {} rows), {before:.0} ns at {megabytes} MB",
            of(large),
            large.rows,
        );
        Row { name, ratio: now / before, goal: 1.2, better: Better::Lower, raw }
    };
    vec![
        row("copy, time per row: larger / smaller", |engine| engine.copy.seconds),
        row("copy and proof, time per row: larger / smaller", |engine| engine.all.seconds),
        // What else the machine does tells least here.
        row("copy and proof, CPU per row: larger / smaller", |engine| engine.all.busy),
        memory("peak memory on the larger / 32 MiB", large.all.memory, ""),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "sizes far below 2^52 bytes")]
fn memory(name: &'static str, bytes: u64, beside: &str) -> Row {
    let mib = bytes as f64 / f64::from(1 << 20);
    Row { name, ratio: mib / 32.0, goal: 1.0, better: Better::Lower, raw: format!("{mib:.1} MiB{beside}") }
}

#[allow(clippy::cast_precision_loss, reason = "sizes far below 2^52 bytes")]
fn rows(by_hand: &Cost, into: &Cost, engine: &Engine) -> Vec<Row> {
    let Engine { copy, all, kept, .. } = engine;
    let times = |name, slow: &Cost, fast: &Cost, goal| Row {
        name,
        ratio: slow.seconds / fast.seconds,
        goal,
        better: Better::Higher,
        raw: format!("{:.2} s against {:.2} s", fast.seconds, slow.seconds),
    };
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    vec![
        times("copy vs cp + DELETE + VACUUM + cp", by_hand, copy, 6.0),
        times("copy and proof vs cp + DELETE + VACUUM + cp", by_hand, all, 4.0),
        times("copy vs DELETE + VACUUM INTO", into, copy, 1.0),
        Row {
            name: "peak extra disk / kept size",
            ratio: all.disk as f64 / *kept as f64,
            goal: 1.05,
            better: Better::Lower,
            raw: format!("{:.1} MiB for {:.1} MiB kept; by hand {:.1} MiB", mib(all.disk), mib(*kept), mib(by_hand.disk)),
        },
        memory("peak memory / 32 MiB", all.memory, &format!("; sqlite3 by hand {:.1} MiB", mib(by_hand.memory))),
    ]
}

/// The files of one benchmark; gone when it is dropped.
struct Bench {
    dir: tempfile::TempDir,
    database: PathBuf,
}

impl Bench {
    fn prepare(megabytes: u64) -> Outcome<Self> {
        heading(&format!("making a database of about {megabytes} MB, of which 80 % will go"));
        let upmeter = capture(Command::new(root().join("tests/cluster/lab/upmeter/build")).stderr(Stdio::inherit()))?;
        let target = root().join("target");
        let dir = tempfile::tempdir_in(&target).map_err(|e| format!("{}: {e}", target.display()))?;
        let database = dir.path().join("original.sqlite");
        // With 20 probes a day of 30 s rows takes about 5.5 MB, a day of 5 min rows a tenth of that.
        let (days, summed) = (megabytes * 76 / 540, megabytes * 32 / 100);
        run_command(
            Command::new(upmeter.lines().last().unwrap_or_default())
                .arg("generate")
                .arg(&database)
                .arg("--migrations")
                .arg(root().join("tests/cluster/lab/upmeter/migrations/server"))
                .args(["--version", "4", "--probes", "20", "--now", &NOW.to_string()])
                .args(["--days", &days.to_string(), "--summed-days", &summed.to_string()]),
        )?;
        Ok(Self { dir, database })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn new_file(&self) -> PathBuf {
        self.path("new.dbmig-bench")
    }

    fn sqlite(&self, database: &Path, sql: &str, before: u64) -> Outcome<Cost> {
        watch(Command::new("sqlite3").arg(database).arg(sql).env("SQLITE_TMPDIR", self.dir.path()), self.dir.path(), before)
    }

    fn cp(&self, from: &Path, to: &Path, before: u64) -> Outcome<Cost> {
        watch(Command::new("cp").arg(from).arg(to), self.dir.path(), before)
    }

    /// cp, DELETE, VACUUM, cp: onto a copy in place of the original, which the other runs still need.
    fn by_hand(&self) -> Outcome<Cost> {
        let (temp, victim) = (self.path("temp.sqlite"), self.path("victim.sqlite"));
        fs::copy(&self.database, &victim).map_err(|e| format!("{}: {e}", victim.display()))?;
        sync()?;
        let before = on_disk(self.dir.path());
        let cost = self
            .cp(&victim, &temp, before)?
            .then(self.sqlite(&temp, &format!("{DELETE} VACUUM;"), before)?)
            .then(self.cp(&temp, &victim, before)?);
        remove(&[&temp, &victim])?;
        Ok(cost)
    }

    fn vacuum_into(&self) -> Outcome<Cost> {
        let (victim, into) = (self.path("victim.sqlite"), self.path("into.sqlite"));
        fs::copy(&self.database, &victim).map_err(|e| format!("{}: {e}", victim.display()))?;
        sync()?;
        let before = on_disk(self.dir.path());
        let cost = self.sqlite(&victim, &format!("{DELETE} VACUUM INTO '{}';", into.display()), before)?;
        remove(&[&victim, &into])?;
        Ok(cost)
    }

    fn rules() -> Value {
        json!([{"rule": "summed-up", "fine": "episodes_30s", "coarse": "episodes_5m", "time": "timeslot", "slot": 300,
                "keys": ["group_name", "probe_name"], "older_than": NOW - 86400}])
    }

    fn rebuild(&self) -> Value {
        json!({"database": self.database, "target": self.new_file(), "rules": Self::rules(), "temp": self.dir.path(), "afterwards": [],
               "leave_free_bytes": 0})
    }

    fn verify(&self, rebuilt: &Value) -> Value {
        json!({"database": self.database, "target": self.new_file(), "rules": Self::rules(), "afterwards": [], "tables": rebuilt["tables"]})
    }

    /// Copy and proof, each as fast as it gets.
    fn engine(&self) -> Outcome<Engine> {
        let mut answer = Value::Null;
        let copy = fastest(|| {
            let (cost, rebuilt) = self.ask(&json!({"call": "rebuild", "with": self.rebuild()}))?;
            answer = rebuilt;
            Ok(cost)
        })?;
        let proof = fastest(|| Ok(self.ask(&json!({"call": "verify", "with": self.verify(&answer)}))?.0))?;
        let kept = fs::metadata(self.new_file()).map_err(|e| format!("the rebuilt file: {e}"))?.len();
        let tables = answer["tables"].as_array().into_iter().flatten();
        let rows = tables.filter_map(|table| table["kept"].as_u64()).sum();
        Ok(Engine { copy, all: copy.then(proof), kept, rows })
    }

    /// One call of the agent, as the plugin makes it; its cost and its answer.
    fn ask(&self, request: &Value) -> Outcome<(Cost, Value)> {
        let (question, answer) = (self.path("request"), self.path("answer"));
        fs::write(&question, format!("{request}\n")).map_err(|e| format!("{}: {e}", question.display()))?;
        let input = File::open(&question).map_err(|e| format!("{}: {e}", question.display()))?;
        sync()?;
        let before = on_disk(self.dir.path()).saturating_sub(fs::metadata(self.new_file()).map_or(0, |m| m.len()));
        let line = format!("exec '{}' ask >'{}'", agent()?.display(), answer.display());
        let cost = watch(Command::new("sh").args(["-c", &line]).stdin(input), self.dir.path(), before)?;
        let text = fs::read_to_string(&answer).map_err(|e| format!("{}: {e}", answer.display()))?;
        let last: Value = text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        match last.get("done") {
            Some(done) => Ok((cost, done.clone())),
            None => Err(format!("the agent answered {last}")),
        }
    }
}

/// The very binary that the plugin carries (`src/plugin/build.rs` puts it there).
fn agent() -> Outcome<PathBuf> {
    let found = ["musl", "gnu"].map(|libc| root().join(format!("target/payload/x86_64-unknown-linux-{libc}/agent/dbmig-agent")));
    found
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| "the plugin's build left no agent below target/payload".to_owned())
}

/// Megabytes that the folder of the builds has room for.
fn room() -> Outcome<u64> {
    let told = capture(Command::new("df").args(["--output=avail", "--block-size=1000000"]).arg(root().join("target")))?;
    let last = told.lines().last().unwrap_or_default().trim();
    last.parse().map_err(|_| format!("df told of no room but `{last}`"))
}

/// What an earlier run left to write must not be paid by the next one.
fn sync() -> Outcome {
    run_command(&mut Command::new("sync"))
}

fn remove(files: &[&Path]) -> Outcome {
    files.iter().try_for_each(|file| fs::remove_file(file).map_err(|e| format!("{}: {e}", file.display())))
}
