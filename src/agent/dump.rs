//! Keeps what a database's own tool writes out; must not know which tool it is.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};

use dbmig_wire::{AgentError, Dump, ErrorKind, Progress, Proof, Unit, hex};
use sha2::{Digest, Sha256};

use crate::error::{Explain, Result, fail};
use crate::file::{digest, lacking, new_part, put_in_place};
use crate::report::Report;

/// Bytes read at once.
const CHUNK: usize = 1 << 20;
/// The end of what a program says on stderr that is told, in bytes.
const STDERR: usize = 8 << 10;
/// Lines of it that are told.
const MOST_LINES: usize = 10;
/// Where a last line is looked for, in bytes from the end.
const TAIL: u64 = 4 << 10;

/// Answers [`Dump`].
///
/// # Errors
/// `NotFound` when a program is not there, `NoSpace` when the file does not fit, `Unproven` when it reads back differently or is not
/// whole, `Other` with the last lines of a program that failed. What was at `to` is as it was then.
pub fn dump(call: &Dump, report: &dyn Report) -> Result<Proof> {
    let to = Path::new(&call.to);
    let (part, file) = new_part(to)?;
    let kept = write(call, &file, report).and_then(|written| prove(call, &part, &file, &written, report)).and_then(|proof| {
        put_in_place(&part, to)?;
        Ok(proof)
    });
    kept.map_err(|error| {
        // The first failure is the one to tell; a left-over is overwritten by the next try.
        let _ = std::fs::remove_file(&part);
        lacking(error, &part, None)
    })
}

/// Runs the program to its end; what came out of it.
fn write(call: &Dump, mut file: &File, report: &dyn Report) -> Result<Proof> {
    let mut running = Running::start(call, &call.command, Stdio::piped())?;
    let mut stdout = running.child.stdout.take().ok_or_else(|| fail(ErrorKind::Other, "a program has no stdout"))?;
    let (mut hash, mut bytes, mut chunk) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        let read = match stdout.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.explain(|| format!("cannot read what {} writes", running.name))?,
        };
        if read == 0 {
            break;
        }
        file.write_all(&chunk[..read]).explain(|| format!("cannot write {}", call.to))?;
        hash.update(&chunk[..read]);
        bytes += read as u64;
        report.progress(Progress { phase: format!("writing {}", call.to), done: bytes, total: 0, unit: Unit::Bytes });
        report.check()?;
    }
    running.ends_well(ErrorKind::Other)?;
    Ok(Proof { bytes, sha256: hex(&hash.finalize()) })
}

/// That what was written is on the disk, the same, and whole.
fn prove(call: &Dump, part: &Path, file: &File, written: &Proof, report: &dyn Report) -> Result<Proof> {
    file.sync_all().explain(|| format!("cannot write {}", call.to))?;
    let each = |done| {
        report.progress(Progress { phase: format!("proving {}", call.to), done, total: written.bytes, unit: Unit::Bytes });
        report.check()
    };
    let read = digest(file, &each)?;
    if read != *written {
        let message = format!("{} reads back differently: {} bytes written, {} read", call.to, written.bytes, read.bytes);
        return Err(fail(ErrorKind::Unproven, message));
    }
    if let Some(wanted) = &call.last_line {
        let last = last_line(file, read.bytes).explain(|| format!("cannot read {}", call.to))?;
        if !last.starts_with(wanted.as_str()) {
            return Err(fail(ErrorKind::Unproven, format!("what {} wrote does not end with {wanted:?}", call.command[0])));
        }
    }
    if !call.check.is_empty() {
        let words: Vec<String> = call.check.iter().cloned().chain([part.to_string_lossy().into_owned()]).collect();
        report.progress(Progress {
            phase: format!("reading {} with {}", call.to, words[0]),
            done: 0,
            total: 0,
            unit: Unit::Bytes,
        });
        Running::start(call, &words, Stdio::null())?.ends_well(ErrorKind::Unproven)?;
    }
    Ok(read)
}

fn last_line(file: &File, bytes: u64) -> io::Result<String> {
    let length = bytes.min(TAIL);
    let mut tail = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact_at(&mut tail, bytes - length)?;
    let text = String::from_utf8_lossy(&tail).into_owned();
    Ok(text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned())
}

/// A program at work. It ends when we do not wait for its end.
struct Running {
    child: Child,
    name: String,
    said: Option<JoinHandle<Vec<u8>>>,
}

impl Running {
    fn start(call: &Dump, words: &[String], stdout: Stdio) -> Result<Self> {
        let Some((name, arguments)) = words.split_first() else {
            return Err(fail(ErrorKind::BadRequest, "no program is named"));
        };
        let mut command = Command::new(name);
        command.args(arguments).envs(&call.environment).current_dir("/");
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().explain(|| format!("cannot run {name}"))?;
        let said = child.stderr.take().map(|stderr| thread::spawn(|| end_of(stderr)));
        Ok(Self { child, name: name.clone(), said })
    }

    /// Waits for its end; `kind` is what it means when it fails.
    fn ends_well(&mut self, kind: ErrorKind) -> Result<()> {
        let status = self.child.wait().explain(|| format!("cannot ask how {} ended", self.name))?;
        // A reader that panicked has heard nothing.
        let said = self.said.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&said).into_owned();
        let lines: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        let details = lines[lines.len().saturating_sub(MOST_LINES)..].to_vec();
        Err(AgentError { details, ..fail(kind, format!("{} ended with {}", self.name, in_words(status))) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, which is as well; and nobody is left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn in_words(status: ExitStatus) -> String {
    status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"))
}

/// Reads to the end, so that nobody waits for us, and keeps the last bytes.
fn end_of(mut from: impl Read) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = from.read(&mut piece) {
        kept.extend_from_slice(&piece[..read]);
        let too_many = kept.len().saturating_sub(STDERR);
        kept.drain(..too_many);
    }
    kept
}
