//! What the agent is called with, and its exit codes: 0 done, 1 failed, 2 usage. Does no work itself.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use dbmig_wire::{BEAT_SECONDS, ErrorKind, Hello, Message, Request};
use rustix::process::{WaitOptions, getegid, geteuid, wait};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Explain, Result, fail};
use crate::job::{self, Job};
use crate::output::Output;
use crate::{dispatch, file, journal, relay};

/// Longest request line that is read, in bytes; migration scripts travel in it.
const LONGEST_REQUEST: u64 = 64 << 20;

const USAGE: &str = "usage: dbmig-agent hash | ask | start DIR JOB | follow DIR JOB LINE | stop DIR JOB | send PATH OFFSET | receive PATH OFFSET BYTES | relay HOST:PORT | hold SECONDS";

/// Runs what the arguments (without the program's name) ask for.
pub fn run(args: &[OsString]) -> ExitCode {
    let Some(words) = args.iter().map(|arg| arg.to_str()).collect::<Option<Vec<_>>>() else {
        return usage("an argument is not UTF-8");
    };
    match words.as_slice() {
        ["hash"] => hash(),
        ["ask"] => ask(),
        ["start", dir, name] => on_job(dir, name, |job, _| {
            job::start(job, &read_request()?)?;
            Ok(Message::Done(Value::Null))
        }),
        ["follow", dir, name, line] => match line.parse() {
            Ok(line) => on_job(dir, name, |job, output| job::follow(job, line, output)),
            Err(_) => usage("LINE is not a number"),
        },
        ["stop", dir, name] => on_job(dir, name, |job, output| {
            job::stop(job, output)?;
            Ok(Message::Done(Value::Null))
        }),
        ["run-job", dir, name] => match Job::new(dir, name) {
            Ok(job) => code(&journal::run(&job, read_request())),
            Err(error) => usage(&error.message),
        },
        ["send", path, offset] => match offset.parse() {
            Ok(offset) => sent(file::send(path, offset)),
            Err(_) => usage("OFFSET is not a number"),
        },
        ["receive", path, offset, bytes] => match (offset.parse(), bytes.parse()) {
            (Ok(offset), Ok(bytes)) => received(file::receive(path, offset, bytes)),
            _ => usage("OFFSET or BYTES is not a number"),
        },
        ["relay", address] => relay::run(address),
        ["hold", seconds] => match seconds.parse() {
            Ok(seconds) => hold(Duration::from_secs(seconds)),
            Err(_) => usage("SECONDS is not a number"),
        },
        _ => usage("the arguments are not understood"),
    }
}

fn usage(why: &str) -> ExitCode {
    // Nobody may read stderr; the exit code says it too.
    let _ = writeln!(io::stderr(), "{why}; {USAGE}");
    ExitCode::from(2)
}

fn code(end: &Message) -> ExitCode {
    match end {
        Message::Done(_) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn end(outcome: Result<Message>) -> Message {
    outcome.unwrap_or_else(Message::Failed)
}

fn on_job(dir: &str, name: &str, work: impl FnOnce(&Job, &Output) -> Result<Message>) -> ExitCode {
    let output = Output::new();
    let job = match Job::new(dir, name) {
        Ok(job) => job,
        Err(error) => return usage(&error.message),
    };
    let message = end(work(&job, &output));
    output.finish(&message);
    code(&message)
}

fn hash() -> ExitCode {
    let hello = (|| {
        let exe = File::open("/proc/self/exe").explain(|| "cannot open the running executable".to_owned())?;
        let proof = file::digest(&exe, &|_| Ok(()))?;
        Ok::<_, dbmig_wire::AgentError>(Hello {
            sha256: proof.sha256,
            bytes: proof.bytes,
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
        })
    })();
    let line = hello
        .and_then(|hello| serde_json::to_vec(&hello).map_err(|_| fail(ErrorKind::Other, "the answer cannot be written as JSON")));
    let output = Output::new();
    match line {
        Ok(mut line) => {
            line.push(b'\n');
            output.send_line(&line);
            if output.still_read().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            output.finish(&Message::Failed(error));
            ExitCode::FAILURE
        }
    }
}

/// Its stdout is the file's bytes, so what went wrong is told on stderr.
fn sent(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The reader compares digests, so nothing depends on this line.
            let _ = writeln!(io::stderr(), "{}", error.message);
            ExitCode::FAILURE
        }
    }
}

fn received(outcome: Result<u64>) -> ExitCode {
    let message = end(outcome.map(|length| Message::Done(Value::from(length))));
    Output::new().finish(&message);
    code(&message)
}

fn ask() -> ExitCode {
    let output = Arc::new(Output::new());
    let beating = Arc::clone(&output);
    thread::spawn(move || {
        while beating.still_read().is_ok() {
            thread::sleep(Duration::from_secs(BEAT_SECONDS) / 10);
            beating.beat_when_due();
        }
    });
    let outcome = read_request().and_then(|request| dispatch::answer(&request, &*output));
    let message = end(outcome.map(Message::Done));
    output.finish(&message);
    code(&message)
}

/// Reads the one request line. A line without its line feed was cut off on the way and is not acted on.
fn read_request() -> Result<Request> {
    let mut line = Vec::new();
    io::stdin().lock().take(LONGEST_REQUEST).read_until(b'\n', &mut line).explain(|| "cannot read the request".to_owned())?;
    if line.last() != Some(&b'\n') {
        return Err(fail(
            ErrorKind::BadRequest,
            format!("the request ended after {} bytes without a line feed; nothing was done", line.len()),
        ));
    }
    serde_json::from_slice(&line).map_err(|error| {
        fail(
            ErrorKind::BadRequest,
            format!("the request of {} bytes is not understood at column {}; nothing was done", line.len() - 1, error.column()),
        )
    })
}

/// Sleeps, and takes leave of dead children: as process 1 of a container it inherits those of every exec. Ends at once when
/// asked to, which the kernel does for no process 1 by itself.
fn hold(limit: Duration) -> ExitCode {
    for signal in [SIGTERM, SIGINT] {
        // Without it the container still ends, when its grace period is over.
        let _ = flag::register_conditional_shutdown(signal, 0, Arc::new(AtomicBool::new(true)));
    }
    let begun = Instant::now();
    while let Some(left) = limit.checked_sub(begun.elapsed()) {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        thread::sleep(left.min(Duration::from_secs(1)));
        if left.is_zero() {
            break;
        }
    }
    ExitCode::SUCCESS
}
