//! Reads what a follower prints as soon as it prints it, and keeps account of every line of the writers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Turn;
use crate::Outcome;
use crate::bench::engine::{busy, highest_memory};

/// How long the streams may take to open.
const PATIENCE: Duration = Duration::from_secs(120);
/// When nothing came for so long, nothing will.
const QUIET: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// What has come.
#[derive(Default)]
pub(super) struct Heard {
    greeters: BTreeSet<String>,
    round: u32,
    /// By pod: number of the last line, and which have come.
    pods: BTreeMap<String, (u64, BTreeSet<u64>)>,
    count: u64,
    /// Lines that came before.
    pub(super) repeated: u64,
    /// Lines that came after one that was written later.
    pub(super) misplaced: u64,
    delays: Vec<Duration>,
    last: Option<Instant>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Heard {
    /// Lines that did not come.
    pub(super) fn lost(&self, expected: u64) -> u64 {
        expected.saturating_sub(self.count)
    }

    /// So many percent of the lines came within this time of their writing.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "a small count")]
    pub(super) fn delay(&self, percent: f64) -> Duration {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        let index = (delays.len() as f64 * percent / 100.0).ceil() as usize;
        delays.get(index.saturating_sub(1)).copied().unwrap_or(Duration::MAX)
    }

    /// Takes a line in that came at `now`, a time since 1970.
    fn line(&mut self, line: &str, now: Duration) {
        if let Some((_, pod)) = line.split_once("@hello ") {
            self.greeters.insert(pod.trim_end().to_owned());
        }
        let Some((_, text)) = line.split_once("@bench ") else { return };
        let mut words = text.split(' ');
        let Some(pod) = words.next() else { return };
        let numbers: Vec<u64> = words.take(3).filter_map(|word| word.parse().ok()).collect();
        let [round, number, micros] = numbers[..] else { return };
        if round != u64::from(self.round) {
            return;
        }
        let (last, seen) = match self.pods.get_mut(pod) {
            Some(known) => known,
            None => self.pods.entry(pod.to_owned()).or_default(),
        };
        if seen.insert(number) {
            self.count += 1;
            self.misplaced += u64::from(number < *last);
            *last = number;
            self.delays.push(now.saturating_sub(Duration::from_micros(micros)));
        } else {
            self.repeated += 1;
        }
        self.last = Some(Instant::now());
    }
}

/// A follower at work.
pub(super) struct Reading {
    child: Child,
    heard: Arc<Mutex<Heard>>,
}

impl Reading {
    /// Starts it.
    pub(super) fn begin(mut command: Command) -> Outcome<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot run kubectl: {e}"))?;
        let mut stdout = child.stdout.take().ok_or("it has no stdout")?;
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let shared = Arc::clone(&heard);
        thread::spawn(move || {
            let (mut buffer, mut held) = (vec![0; 64 << 10], Vec::new());
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                held.extend_from_slice(&buffer[..count]);
                let whole = held.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                let mut heard = lock(&shared);
                String::from_utf8_lossy(&held[..whole]).lines().for_each(|line| heard.line(line, now));
                held.drain(..whole);
            }
        });
        Ok(Self { child, heard })
    }

    /// Has lines of this round count.
    pub(super) fn round(&self, round: u32) {
        lock(&self.heard).round = round;
    }

    /// Waits until each pod was heard.
    pub(super) fn all_say_hello(&self, pods: usize) -> Outcome {
        let begin = Instant::now();
        while lock(&self.heard).greeters.len() < pods {
            if begin.elapsed() > PATIENCE {
                return Err(format!("only {} of {pods} pods were heard", lock(&self.heard).greeters.len()));
            }
            sleep(PAUSE);
        }
        Ok(())
    }

    /// Waits for the lines of its round; then ends it.
    pub(super) fn end(self, expected: u64) -> Turn {
        let begin = Instant::now();
        loop {
            sleep(PAUSE);
            let heard = lock(&self.heard);
            if heard.count >= expected || heard.last.unwrap_or(begin).elapsed() > QUIET {
                break;
            }
        }
        let (busy, memory) = (busy(&self.child), highest_memory(&self.child));
        let heard = std::mem::take(&mut *lock(&self.heard));
        Turn { heard, busy, memory }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_accounted_for() {
        let mut heard = Heard { round: 2, ..Heard::default() };
        for (number, micros) in [(1, 1_000), (2, 2_000), (4, 3_000), (3, 4_000), (3, 4_000)] {
            heard.line(&format!("[pod/a/main] @bench a 2 {number} {micros} ....."), Duration::from_millis(10));
        }
        heard.line("a › main @bench b 1 7 9000 .....", Duration::from_millis(10));
        heard.line("* pod/a: 1/1 Running", Duration::from_millis(10));
        heard.line("a › main @hello a", Duration::from_millis(10));
        assert_eq!((heard.count, heard.lost(6), heard.repeated, heard.misplaced), (4, 2, 1, 1));
        assert_eq!((heard.delay(50.0), heard.delay(100.0)), (Duration::from_millis(7), Duration::from_millis(9)));
        assert_eq!(heard.greeters.len(), 1);
    }
}
