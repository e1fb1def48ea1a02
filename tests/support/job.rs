//! The helper binary's processes, as the machine sees them that runs the throwaway cluster and its pods.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, setpriority_process};

/// Longer than a process takes to come or to go.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often is looked for a process: one that is waited for is kept from its work until it is found, and each look reads all of /proc.
const LOOK: Duration = Duration::from_millis(40);
/// How long a process runs between two looks at how far it is.
const SLICE: Duration = Duration::from_millis(1);

/// A process of the helper binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Job(Pid);

impl Job {
    /// Processes that see the folder as one of their volumes and were called with this word: `ask`, `follow`, `stop`, or the name of a job.
    pub(crate) fn all(word: &str, folder: &Path) -> Vec<Self> {
        let numbers = fs::read_dir("/proc").expect("Linux").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        numbers.filter_map(Pid::from_raw).map(Self).filter(|job| job.is(word) && job.sees(folder)).collect()
    }

    /// Waits for such a process, and halts it; `None` when `over` says that it won't come.
    pub(crate) fn halted(word: &str, folder: &Path, mut over: impl FnMut() -> bool) -> Option<Self> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(job) = Self::all(word, folder).first().copied() {
                job.signal(Signal::STOP);
                job.hurries(false);
                if job.is(word) {
                    return Some(job);
                }
            }
            if over() {
                return None;
            }
            sleep(LOOK);
        }
        None
    }

    /// Lets a halted process go on until it has read or written so many bytes, and halts it again; false when it ended before that.
    pub(crate) fn advance(&self, counter: &str, bytes: u64) -> bool {
        self.advance_until(|| self.counted(counter).is_some_and(|seen| seen >= bytes))
    }

    /// Lets a halted process go on until something is so, and halts it again; false when it ended before that.
    pub(crate) fn advance_until(&self, is_so: impl Fn() -> bool) -> bool {
        // Whoever has to wait for a core in between lets it get too far. Without the right to hurry, that is rarer than not.
        let _ = setpriority_process(None, -19);
        let came = loop {
            if self.has_ended() {
                break false;
            }
            if is_so() {
                break true;
            }
            self.signal(Signal::CONT);
            sleep(SLICE);
            self.signal(Signal::STOP);
        };
        let _ = setpriority_process(None, 0);
        came
    }

    /// It has not read or written so many bytes yet.
    pub(crate) fn is_before(&self, counter: &str, bytes: u64) -> bool {
        self.counted(counter).is_some_and(|seen| seen < bytes)
    }

    /// Ends it without a chance to say anything.
    pub(crate) fn kill(&self) {
        assert!(!self.has_ended(), "the process to be killed has ended already");
        self.signal(Signal::KILL);
    }

    /// Waits until it has ended.
    pub(crate) fn ends(&self) {
        let end = Instant::now() + PATIENCE;
        while !self.has_ended() {
            assert!(Instant::now() < end, "{self:?} does not end");
            sleep(LOOK);
        }
    }

    /// It has ended, one way or another.
    pub(crate) fn has_ended(&self) -> bool {
        self.counted("wchar").is_none()
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.hurries(true);
        self.signal(Signal::CONT);
    }

    /// On a busy machine a process that is halted at a moment of its work must not get far before we are heard again.
    fn hurries(&self, yes: bool) {
        let threads = fs::read_dir(format!("/proc/{}/task", self.number())).into_iter().flatten();
        let threads = threads.filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?));
        for thread in threads {
            // It may have ended just now.
            let _ = setpriority_process(Some(thread), if yes { 0 } else { 19 });
        }
    }

    fn signal(&self, signal: Signal) {
        // It may have ended just now; whoever needs to know looks.
        let _ = kill_process(self.0, signal);
    }

    fn is(&self, word: &str) -> bool {
        let line = fs::read(format!("/proc/{}/cmdline", self.number())).unwrap_or_default();
        let words: Vec<&str> = line.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok()).collect();
        match words.as_slice() {
            [_, way @ ("ask" | "follow" | "stop"), ..] => *way == word,
            [_, "run-job", _, job, ..] => job.strip_prefix(word).is_some_and(|attempt| attempt.starts_with('-')),
            _ => false,
        }
    }

    fn number(&self) -> i32 {
        self.0.as_raw_nonzero().get()
    }

    fn sees(&self, folder: &Path) -> bool {
        let volumes = Path::new("/proc").join(self.number().to_string()).join("root/dbmig/volumes");
        let wanted = fs::metadata(folder).expect("the volume is there");
        fs::read_dir(volumes).is_ok_and(|volumes| {
            let mut seen = volumes.filter_map(|volume| fs::metadata(volume.ok()?.path()).ok());
            seen.any(|volume| (volume.dev(), volume.ino()) == (wanted.dev(), wanted.ino()))
        })
    }

    /// A counter of /proc/PID/io; `None` once the process has ended.
    fn counted(&self, counter: &str) -> Option<u64> {
        let all = fs::read_to_string(format!("/proc/{}/io", self.number())).ok()?;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.number())).ok()?;
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        let line = all.lines().find_map(|line| line.strip_prefix(counter)?.strip_prefix(": "))?;
        if matches!(state, 'Z' | 'X') { None } else { line.parse().ok() }
    }
}
