//! Makes databases like upmeter's, the same for the same seed: for tests and benchmarks; touches nothing but the file it is given.

use std::path::Path;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rusqlite::{Connection, params};

/// Which migrations the file has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Before migration 4: `downtime30s`, `downtime5m`, seconds.
    Old,
    /// After the last one: `episodes_30s`, `episodes_5m`, nanoseconds.
    New,
}

/// What the file is to be like.
#[derive(Debug, Clone)]
pub struct Upmeter {
    /// Days of series before `now`.
    pub days: i64,
    /// Probes, each with a row per slot.
    pub probes: u32,
    /// Seed of everything random.
    pub seed: u64,
    /// Schema.
    pub variant: Variant,
    /// The newest slot, seconds since 1970; a multiple of 300.
    pub now: i64,
    /// The first probe was retired after half of the days.
    pub retired: bool,
    /// Every hundredth row of the 5 m table is missing.
    pub holes: bool,
    /// Some rows of the 5 m table lie a year ahead.
    pub future: bool,
    /// Some rows of both tables have text as their time.
    pub text: bool,
    /// `schema_migrations` says this version, and dirty.
    pub dirty: Option<i64>,
}

impl Upmeter {
    /// A sound file of the new schema.
    pub fn new(days: i64, probes: u32, seed: u64) -> Self {
        let (variant, now) = (Variant::New, 1_700_000_100);
        Self { days, probes, seed, variant, now, retired: false, holes: false, future: false, text: false, dirty: None }
    }

    /// With everything odd that was seen in the field.
    pub fn odd(self) -> Self {
        Self { retired: true, holes: true, future: true, text: true, ..self }
    }

    /// Names of the fine and the coarse table.
    pub fn tables(&self) -> (&'static str, &'static str) {
        match self.variant {
            Variant::Old => ("downtime30s", "downtime5m"),
            Variant::New => ("episodes_30s", "episodes_5m"),
        }
    }

    /// Writes the file, which must not exist.
    pub fn write(&self, path: &Path) -> rusqlite::Result<()> {
        let mut file = Connection::open(path)?;
        file.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536")?;
        file.execute_batch(&self.schema())?;
        let all = file.transaction()?;
        self.rows(&all)?;
        all.commit()?;
        file.execute_batch("PRAGMA journal_mode = DELETE")?;
        file.close().map_err(|(_, error)| error)
    }

    fn schema(&self) -> String {
        let (fine, coarse) = self.tables();
        let (unit, last) = match self.variant {
            Variant::Old => ("_seconds", ["success", "fail", "unknown", "nodata"]),
            Variant::New => ("", ["nano_up", "nano_down", "nano_unknown", "nano_unmeasured"]),
        };
        let [up, down, unknown, unmeasured] = last.map(|name| format!("{name}{unit}"));
        let series = |table: &str, index: &str| {
            format!(
                "CREATE TABLE \"{table}\" (timeslot INTEGER NOT NULL, {up} INTEGER NOT NULL, {down} INTEGER NOT NULL, \
                 group_name TEXT NOT NULL, probe_name TEXT NOT NULL, {unknown} INTEGER NOT NULL DEFAULT 0, \
                 {unmeasured} INTEGER NOT NULL DEFAULT 0);\n\
                 CREATE UNIQUE INDEX {index} ON \"{table}\" (timeslot, group_name, probe_name);\n"
            )
        };
        let export = "CREATE TABLE export_episodes (sync_id TEXT NOT NULL, timeslot INTEGER NOT NULL, group_name TEXT NOT NULL, \
             probe_name TEXT NOT NULL, nano_up INTEGER NOT NULL, nano_down INTEGER NOT NULL, nano_unknown INTEGER NOT NULL, \
             nano_unmeasured INTEGER NOT NULL, origins TEXT NOT NULL, origins_count INTEGER NOT NULL);\n\
             CREATE UNIQUE INDEX sync_id_sorted ON export_episodes (sync_id, timeslot, group_name, probe_name);\n";
        let bookkeeping = "CREATE TABLE schema_migrations (version uint64, dirty bool);\n\
             CREATE UNIQUE INDEX version_unique ON schema_migrations (version);\n";
        format!(
            "{bookkeeping}{}{}{export}",
            series(fine, "downtime30s_time_group_probe"),
            series(coarse, "downtime5m_time_group_probe")
        )
    }

    fn rows(&self, file: &Connection) -> rusqlite::Result<()> {
        let mut random = SmallRng::seed_from_u64(self.seed);
        let (fine, coarse) = self.tables();
        let insert = |table: &str| file.prepare(&format!("INSERT INTO {table} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"));
        let (mut fine, mut coarse) = (insert(fine)?, insert(coarse)?);
        let probes: Vec<(String, String)> = (0..self.probes).map(probe).collect();
        let scale = if self.variant == Variant::Old { 1 } else { 1_000_000_000 };
        let start = self.now - self.days * 86_400;
        for slot in (start..self.now).step_by(300) {
            let old = (slot - start) * 2 > self.now - start;
            // Every 30 seconds a row of each probe, then the sums.
            let alive = || probes.iter().enumerate().skip(usize::from(self.retired && old));
            for time in (slot..slot + 300).step_by(30) {
                for (_, (group, probe)) in alive() {
                    let down: i64 = random.random_range(0..=30);
                    fine.execute(params![time, (30 - down) * scale, down * scale, group, probe, 0, 0])?;
                }
            }
            for (_, (group, probe)) in alive().filter(|(at, _)| !self.holes || (slot / 300 + *at as i64) % 100 != 0) {
                let down: i64 = random.random_range(0..=300);
                coarse.execute(params![slot, (300 - down) * scale, down * scale, group, probe, 0, 0])?;
            }
        }
        let (group, probe) = probe(0);
        if self.future {
            coarse.execute(params![self.now + 365 * 86_400, 0, 0, group, probe, 0, 0])?;
        }
        if self.text {
            fine.execute(params!["soon", 0, 0, group, probe, 0, 0])?;
            coarse.execute(params!["soon", 0, 0, group, probe, 0, 0])?;
        }
        let newest = if self.variant == Variant::Old { 3 } else { 9 };
        file.execute(
            "INSERT INTO schema_migrations VALUES (?1, ?2)",
            params![self.dirty.unwrap_or(newest), self.dirty.is_some()],
        )?;
        Ok(())
    }
}

fn probe(number: u32) -> (String, String) {
    const GROUPS: [&str; 5] = ["control-plane", "synthetic", "monitoring-and-autoscaling", "deckhouse", "extensions"];
    (GROUPS[number as usize % GROUPS.len()].to_owned(), format!("probe-{number:02}"))
}
