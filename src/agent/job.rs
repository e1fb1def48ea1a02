//! Jobs as seen from outside: start one, follow its journal, ask it to stop. What runs inside is in `journal`.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime};

use dbmig_wire::{ErrorKind, Message, Request};
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use rustix::io::Errno;

use crate::error::{Explain, Result, fail};
use crate::output::Output;

/// How often files are looked at while waiting.
const POLL: Duration = Duration::from_millis(60);

/// Bytes of the journal that are taken from the disk at the start, so that the end can be written on a full one.
const RESERVED: u64 = 64 << 10;

/// A job's name and the folder of its files. The journal's lock (flock) is held by the running job and by nobody
/// else, so the kernel tells whether it lives, even after SIGKILL.
pub(crate) struct Job {
    dir: PathBuf,
    name: String,
}

impl Job {
    /// # Errors
    /// `BadRequest` when the folder is not absolute or the name is no plain file name.
    pub(crate) fn new(dir: &str, name: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !dir.starts_with('/') {
            return Err(fail(ErrorKind::BadRequest, "DIR is not an absolute path"));
        }
        if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(plain) {
            return Err(fail(ErrorKind::BadRequest, "JOB may hold letters, digits, '-', '_' and '.', 100 at most"));
        }
        Ok(Self { dir: PathBuf::from(dir), name: name.to_owned() })
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.dir.join(format!("{}.{kind}", self.name))
    }

    /// Its being there asks the job to stop.
    pub(crate) fn stop_file(&self) -> PathBuf {
        self.path("stop")
    }

    /// Its last change is when somebody followed the job.
    pub(crate) fn alive_file(&self) -> PathBuf {
        self.path("alive")
    }

    fn open_journal(&self) -> Result<File> {
        File::open(self.path("journal")).explain(|| format!("cannot open the journal of job {}", self.name))
    }

    fn touch(&self) -> Result<()> {
        let doing = || format!("cannot mark job {} as followed", self.name);
        let file =
            OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(self.alive_file()).explain(doing)?;
        file.set_modified(SystemTime::now()).explain(doing)
    }
}

/// Starts the job in a session of its own, with nothing of the caller's streams. A job of this name that runs
/// already is left to run.
///
/// # Errors
/// `BadRequest` when a job of this name has ended, `Died` when the new process ends at once.
pub(crate) fn start(job: &Job, request: &Request) -> Result<()> {
    let journal = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(job.path("journal"))
        .explain(|| format!("cannot create the journal of job {}", job.name))?;
    if !try_lock(&journal)? {
        return Ok(());
    }
    let bytes = journal.metadata().explain(|| "cannot look at the journal".to_owned())?.len();
    if bytes > 0 {
        return Err(fail(
            ErrorKind::BadRequest,
            format!("job {} has ended already; follow it, or start it under another name", job.name),
        ));
    }
    // Not every file system can; then the journal takes its room as it grows.
    let _ = fallocate(&journal, FallocateFlags::KEEP_SIZE, 0, RESERVED);
    job.touch()?;
    let mut child = Command::new("/proc/self/exe")
        .arg("run-job")
        .args([job.dir.as_os_str(), job.name.as_ref()])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::from(journal))
        .stderr(Stdio::piped())
        .spawn()
        .explain(|| format!("cannot start job {}", job.name))?;
    hand_over(&mut child, request).explain(|| format!("cannot hand the request to job {}", job.name))?;
    wait_until_detached(&mut child, &job.name)
}

/// A short look of [`follow`] at the lock must not pass for a running job.
fn try_lock(journal: &File) -> Result<bool> {
    for _ in 0..4 {
        match flock(journal, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => thread::sleep(POLL / 2),
            Err(error) => return Err(error).explain(|| "cannot lock the journal".to_owned()),
        }
    }
    Ok(false)
}

fn hand_over(child: &mut Child, request: &Request) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(&line),
        None => Ok(()),
    }
}

/// The job writes one byte to its stderr once it leads a session of its own. Asking the kernel with getsid would not do:
/// it answers 0 for a session that began outside the container.
fn wait_until_detached(child: &mut Child, name: &str) -> Result<()> {
    let mut sign = [0];
    let detached = child.stderr.take().is_some_and(|mut stderr| stderr.read_exact(&mut sign).is_ok());
    if detached {
        return Ok(());
    }
    let status = child.wait().explain(|| format!("cannot ask how job {name} ended"))?;
    Err(fail(ErrorKind::Died, format!("job {name} ended before it began ({status})")))
}

/// Prints the journal from line `from` on and waits for more; answers with the job's last message. Heartbeats are
/// not lines of the journal.
///
/// # Errors
/// `NotFound` without a journal; `Died` when the job's process is gone and the journal has no end. That is also what
/// a job looks like that could not write its end on a full disk: its work may be done, so look before doing it again.
pub(crate) fn follow(job: &Job, from: u64, output: &Output) -> Result<Message> {
    // Says at once that it is heard again, after a connection that was lost.
    output.send(&Message::Beat);
    let mut tail = Tail { journal: job.open_journal()?, unread: Vec::new(), next: 0 };
    loop {
        job.touch()?;
        // Asked before reading, so that what a job wrote last is read.
        let running = is_running(&tail.journal)?;
        for (number, line) in tail.lines()? {
            let message: Option<Message> = serde_json::from_slice(&line).ok();
            if let Some(end @ (Message::Done(_) | Message::Failed(_))) = message {
                return Ok(end);
            }
            if number >= from {
                output.send_line(&line);
            }
        }
        if !running {
            return Err(fail(ErrorKind::Died, format!("job {} is gone and has left no end in its journal", job.name)));
        }
        output.beat_when_due();
        output.still_read()?;
        thread::sleep(POLL);
    }
}

/// Asks the job to end at its next safe point and waits until it has.
///
/// # Errors
/// `NotFound` without a journal.
pub(crate) fn stop(job: &Job, output: &Output) -> Result<()> {
    let journal = job.open_journal()?;
    File::create(job.stop_file()).explain(|| format!("cannot ask job {} to stop", job.name))?;
    while is_running(&journal)? {
        output.beat_when_due();
        output.still_read()?;
        thread::sleep(POLL);
    }
    Ok(())
}

fn is_running(journal: &File) -> Result<bool> {
    match flock(journal, FlockOperation::NonBlockingLockShared) {
        Ok(()) => flock(journal, FlockOperation::Unlock).map(|()| false).explain(|| "cannot unlock the journal".to_owned()),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error).explain(|| "cannot ask whether the job runs".to_owned()),
    }
}

/// Reads whole lines as they come.
struct Tail {
    journal: File,
    unread: Vec<u8>,
    next: u64,
}

impl Tail {
    fn lines(&mut self) -> Result<Vec<(u64, Vec<u8>)>> {
        self.journal.read_to_end(&mut self.unread).explain(|| "cannot read the journal".to_owned())?;
        let Some(end) = self.unread.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let rest = self.unread.split_off(end + 1);
        let whole = std::mem::replace(&mut self.unread, rest);
        let numbered = (self.next..).zip(whole.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec));
        let lines: Vec<_> = numbered.collect();
        self.next += lines.len() as u64;
        Ok(lines)
    }
}
