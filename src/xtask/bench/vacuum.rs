//! The vacuum's engine against what people do by hand, on one database made for it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::engine::{Cost, on_disk, watch};
use super::{Better, Row};
use crate::Outcome;
use crate::process::{capture, cargo, heading, on_path, root, run as run_command};

/// A fixed moment, so that every run measures the same rows.
const NOW: u64 = 1_700_000_100;
/// What upmeter's own procedure by hand deletes: what lies before the time up to which all probes have been summed up. Of the rows
/// that upmeter's profile keeps, the last day's, it keeps few; the work is the same.
const DELETE: &str = "DELETE FROM episodes_30s WHERE timeslot < (SELECT min(latest) FROM \
                      (SELECT max(timeslot) AS latest FROM episodes_5m GROUP BY group_name, probe_name));";

/// How often all ways are measured, one after the other; odd, so that there is one in the middle.
const ROUNDS: usize = 5;
/// How often the two sizes are measured, one after the other.
const PAIRS: usize = 3;

/// What the engine took for one database.
struct Engine {
    copy: Cost,
    /// Copy and proof.
    all: Cost,
    /// As many bytes written and flushed by dd, which is what the disk allows.
    plain: Cost,
    /// Bytes of the new file.
    kept: u64,
    /// Rows in it.
    rows: u64,
}

/// All ways, one right after the other: whatever else the machine did meanwhile, it did to all of them.
struct Round {
    by_hand: Cost,
    into: Cost,
    engine: Engine,
}

pub(super) fn measure(megabytes: u64, largest: u64) -> Outcome<Vec<Row>> {
    if !on_path("sqlite3") {
        return Err("the comparison needs sqlite3 on the PATH; `cargo xtask cluster up` installs it".to_owned());
    }
    heading("building the plugin, and the agent in it");
    run_command(cargo().args(["build", "--package", "kubectl-dbmig"]))?;
    let bench = Bench::prepare(megabytes)?;
    let rounds = (1..=ROUNDS)
        .map(|round| {
            heading(&format!("measuring all ways in turn, round {round} of {ROUNDS}"));
            Ok(Round { by_hand: bench.by_hand()?, engine: bench.engine()?, into: bench.vacuum_into()? })
        })
        .collect::<Outcome<Vec<Round>>>()?;
    let mut rows = rows(&rounds);
    let larger = largest.min(room()? * 2 / 3);
    if larger > megabytes {
        let large = Bench::prepare(larger)?;
        let pairs = (1..=PAIRS)
            .map(|pair| {
                heading(&format!("measuring the engine on both sizes in turn, {pair} of {PAIRS}"));
                Ok((bench.engine()?, large.engine()?))
            })
            .collect::<Outcome<Vec<_>>>()?;
        rows.extend(compared(&pairs, megabytes, larger));
    }
    Ok(rows)
}

/// The one in the middle; not a number for none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The engine on two sizes: what takes the same per row, and the same memory, is linear in rows and fit for any size.
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn compared(pairs: &[(Engine, Engine)], megabytes: u64, larger: u64) -> Vec<Row> {
    let plain = |engine: &Engine| engine.plain.seconds / engine.kept as f64;
    let row = |name, of: fn(&Engine) -> f64| {
        let per_row = |engine: &Engine| of(engine) / engine.rows as f64 * 1e9;
        let raw = format!(
            "{:.0} ns per row kept at {larger} MB ({:.2} s, {} rows), {:.0} ns at {megabytes} MB; medians of {} pairs, \
             in which dd took {:.2} times as long per byte for the larger file",
            median(pairs.iter().map(|(_, large)| per_row(large))),
            median(pairs.iter().map(|(_, large)| of(large))),
            pairs.first().map_or(0, |(_, large)| large.rows),
            median(pairs.iter().map(|(small, _)| per_row(small))),
            pairs.len(),
            median(pairs.iter().map(|(small, large)| plain(large) / plain(small))),
        );
        let ratio = median(pairs.iter().map(|(small, large)| per_row(large) / per_row(small)));
        Row { name, ratio, goal: 1.2, better: Better::Lower, raw }
    };
    vec![
        row("copy, time per row: larger / smaller", |engine| engine.copy.seconds),
        row("copy and proof, time per row: larger / smaller", |engine| engine.all.seconds),
        // What else the machine does tells least here.
        row("copy and proof, CPU per row: larger / smaller", |engine| engine.all.busy),
        memory("peak memory on the larger / 32 MiB", pairs.iter().map(|(_, large)| large.all.memory).max().unwrap_or(0), ""),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "sizes far below 2^52 bytes")]
fn memory(name: &'static str, bytes: u64, beside: &str) -> Row {
    let mib = bytes as f64 / f64::from(1 << 20);
    Row { name, ratio: mib / 32.0, goal: 1.0, better: Better::Lower, raw: format!("{mib:.1} MiB{beside}") }
}

/// How many times as fast the one way is as the other: the median of what each round says, with its spread.
fn times(name: &'static str, rounds: &[Round], slow: fn(&Round) -> Cost, fast: fn(&Round) -> Cost, goal: f64) -> Row {
    let ratio = |round: &Round| slow(round).seconds / fast(round).seconds;
    let of = |way: fn(&Round) -> Cost| {
        let seconds = median(rounds.iter().map(|round| way(round).seconds));
        format!("{seconds:.2} s (CPU {:.2} s)", median(rounds.iter().map(|round| way(round).busy)))
    };
    let (least, most) = rounds.iter().map(ratio).fold((f64::MAX, 0.0), |(least, most), x| (x.min(least), x.max(most)));
    let raw = format!("{} against {}; medians of {} rounds, ratios {least:.2} to {most:.2}", of(fast), of(slow), rounds.len());
    Row { name, ratio: median(rounds.iter().map(ratio)), goal, better: Better::Higher, raw }
}

#[allow(clippy::cast_precision_loss, reason = "sizes far below 2^52 bytes")]
fn rows(rounds: &[Round]) -> Vec<Row> {
    let most = |of: fn(&Round) -> u64| rounds.iter().map(of).max().unwrap_or(0);
    let (kept, disk) = (most(|round| round.engine.kept), most(|round| round.engine.all.disk));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let by_hand = |round: &Round| round.by_hand;
    let beside = format!("; sqlite3 by hand {:.1} MiB", mib(most(|round| round.by_hand.memory)));
    vec![
        times("copy vs cp + DELETE + VACUUM + cp", rounds, by_hand, |round| round.engine.copy, 6.0),
        times("copy and proof vs cp + DELETE + VACUUM + cp", rounds, by_hand, |round| round.engine.all, 4.0),
        times("copy vs DELETE + VACUUM INTO", rounds, |round| round.into, |round| round.engine.copy, 1.0),
        Row {
            name: "peak extra disk / kept size",
            ratio: disk as f64 / kept as f64,
            goal: 1.05,
            better: Better::Lower,
            raw: format!("{:.1} MiB for {:.1} MiB kept; by hand {:.1} MiB", mib(disk), mib(kept), mib(most(|r| r.by_hand.disk))),
        },
        memory("peak memory / 32 MiB", most(|round| round.engine.all.memory), &beside),
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

    /// A copy in place of the original, which the other runs still need.
    fn victim(&self) -> Outcome<PathBuf> {
        let victim = self.path("victim.sqlite");
        fs::copy(&self.database, &victim).map_err(|e| format!("{}: {e}", victim.display()))?;
        settle(&victim)?;
        Ok(victim)
    }

    /// cp, DELETE, VACUUM, cp. Nobody waits for the disk after the last cp, and nothing is checked.
    fn by_hand(&self) -> Outcome<Cost> {
        let (temp, victim) = (self.path("temp.sqlite"), self.victim()?);
        let before = on_disk(self.dir.path());
        let cost = self
            .cp(&victim, &temp, before)?
            .then(self.sqlite(&temp, &format!("{DELETE} VACUUM;"), before)?)
            .then(self.cp(&temp, &victim, before)?);
        remove(&[&temp, &victim])?;
        Ok(cost)
    }

    fn vacuum_into(&self) -> Outcome<Cost> {
        let (victim, into) = (self.victim()?, self.path("into.sqlite"));
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

    /// Copy, fsync included, and proof.
    fn engine(&self) -> Outcome<Engine> {
        let (copy, answer) = self.ask(&json!({"call": "rebuild", "with": self.rebuild()}))?;
        let (proof, _) = self.ask(&json!({"call": "verify", "with": self.verify(&answer)}))?;
        let kept = fs::metadata(self.new_file()).map_err(|e| format!("the rebuilt file: {e}"))?.len();
        let tables = answer["tables"].as_array().into_iter().flatten();
        let rows = tables.filter_map(|table| table["kept"].as_u64()).sum();
        let plain = self.plain()?;
        Ok(Engine { copy, all: copy.then(proof), plain, kept, rows })
    }

    /// The new file written once more by dd.
    fn plain(&self) -> Outcome<Cost> {
        settle(&self.new_file())?;
        let (from, to) = (self.new_file(), self.path("plain"));
        let mut dd = Command::new("dd");
        dd.args(["bs=1M", "conv=fsync", "status=none"]).arg(format!("if={}", from.display())).arg(format!("of={}", to.display()));
        let cost = watch(&mut dd, self.dir.path(), on_disk(self.dir.path()))?;
        remove(&[&to])?;
        Ok(cost)
    }

    /// One call of the agent, as the plugin makes it; its cost and its answer.
    fn ask(&self, request: &Value) -> Outcome<(Cost, Value)> {
        let (question, answer) = (self.path("request"), self.path("answer"));
        fs::write(&question, format!("{request}\n")).map_err(|e| format!("{}: {e}", question.display()))?;
        let input = File::open(&question).map_err(|e| format!("{}: {e}", question.display()))?;
        settle(&self.database)?;
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

/// The same start for every way: nothing of an earlier run left to write, and what will be read in the page cache, as far as that goes.
fn settle(database: &Path) -> Outcome {
    run_command(&mut Command::new("sync"))?;
    let read = File::open(database).and_then(|mut file| io::copy(&mut file, &mut io::sink()));
    read.map(|_| ()).map_err(|e| format!("{}: {e}", database.display()))
}

fn remove(files: &[&Path]) -> Outcome {
    files.iter().try_for_each(|file| fs::remove_file(file).map_err(|e| format!("{}: {e}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(machine: f64) -> Round {
        let cost = |seconds: f64| Cost { seconds: seconds * machine, busy: seconds, memory: 1 << 20, disk: 10 };
        Round {
            by_hand: cost(12.0),
            into: cost(9.0),
            engine: Engine { copy: cost(1.0), all: cost(3.0), plain: cost(0.5), kept: 10, rows: 5 },
        }
    }

    #[test]
    fn ratios_come_from_within_a_round_and_one_odd_round_does_not_move_them() {
        let mut odd = round(1.0);
        odd.engine.copy.seconds = 12.0;
        let rows = rows(&[round(1.0), odd, round(30.0)]);
        let ratios: Vec<f64> = rows.iter().map(|row| row.ratio).collect();
        assert_eq!(ratios, [12.0, 4.0, 9.0, 1.0, 1.0 / 32.0]);
        assert!(rows[0].raw.ends_with("ratios 1.00 to 12.00"), "{}", rows[0].raw);
    }

    #[test]
    fn a_larger_database_is_compared_with_the_smaller_one_of_its_pair() {
        let large = |machine: f64| Engine { rows: 50, ..round(10.0 * machine).engine };
        let pairs = [1.0, 7.0, 3.0].map(|machine| (round(machine).engine, large(machine)));
        let rows = compared(&pairs, 500, 5000);
        assert!(rows[..2].iter().all(|row| (row.ratio - 1.0).abs() < 1e-9));
        assert!((rows[2].ratio - 0.1).abs() < 1e-9, "{}", rows[2].ratio);
    }
}
