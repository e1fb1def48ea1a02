//! Runs a program to its end and notes what it took: seconds, processor, memory, disk. Knows nothing of what it runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Outcome;

/// How often memory and disk are looked at. The kernel keeps the memory's highest mark itself.
const INTERVAL: Duration = Duration::from_millis(10);

/// What a run took.
#[derive(Clone, Copy, Default)]
pub(super) struct Cost {
    /// Wall-clock seconds.
    pub(super) seconds: f64,
    /// Seconds of all its threads on a processor, in steps of 10 ms; the last such step may be missing.
    pub(super) busy: f64,
    /// Most bytes of memory that one process had at a time.
    pub(super) memory: u64,
    /// Most bytes on disk beyond those that were there before.
    pub(super) disk: u64,
}

impl Cost {
    /// One run after the other.
    pub(super) fn then(self, next: Self) -> Self {
        Self {
            seconds: self.seconds + next.seconds,
            busy: self.busy + next.busy,
            memory: self.memory.max(next.memory),
            disk: self.disk.max(next.disk),
        }
    }
}

/// Runs `command` to a successful end; `dir` is where it works, `before` the bytes that count as already there.
pub(super) fn watch(command: &mut Command, dir: &Path, before: u64) -> Outcome<Cost> {
    let name = command.get_program().to_string_lossy().into_owned();
    let begin = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().map_err(|e| format!("cannot run {name}: {e}"))?;
    let mut cost = Cost::default();
    loop {
        cost.memory = cost.memory.max(highest_memory(&child));
        cost.busy = cost.busy.max(busy(&child));
        cost.disk = cost.disk.max(on_disk(dir).saturating_sub(before));
        if let Some(status) = child.try_wait().map_err(|e| format!("{name}: {e}"))? {
            cost.seconds = begin.elapsed().as_secs_f64();
            return if status.success() { Ok(cost) } else { Err(format!("{name} ended with {status}")) };
        }
        sleep(INTERVAL);
    }
}

/// `VmHWM` of /proc/PID/status (man 5 proc), in bytes.
pub(super) fn highest_memory(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// `utime` and `stime` of /proc/PID/stat (man 5 proc), in seconds; Linux tells them in hundredths on every architecture.
pub(super) fn busy(child: &Child) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    // The second field, the program's name, may hold anything but ends with the last parenthesis.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Bytes that the files of a folder take on disk.
pub(super) fn on_disk(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file).map(|m| m.blocks() * 512).sum()
}
