//! What runs in the pods of `bench watch`: compiled by itself, static, and sparing, so that the writers
//! take little of the processor that the readers are measured on. Argument: a folder. As long as it has no file `go-1` (then `go-2`,
//! and so on) it says hello five times a second; the file says when to begin (milliseconds since 1970), how many lines and how many per second.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Between two writes. Lines that are due by then are written at once, as a program with a buffer does.
const PAUSE: Duration = Duration::from_millis(10);

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).unwrap_or_default());
    let pod = std::env::var("HOSTNAME").unwrap_or_default();
    let stdout = std::io::stdout();
    let stdout: BorrowedFd<'_> = stdout.as_fd();
    let mut out = File::from(stdout.try_clone_to_owned()?);
    for round in 1.. {
        let go = loop {
            let told = fs::read_to_string(folder.join(format!("go-{round}"))).unwrap_or_default();
            let numbers: Vec<u64> = told.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            if let [begin, lines, rate] = numbers[..] {
                break (begin, lines, rate);
            }
            writeln!(out, "@hello {pod}")?;
            sleep(Duration::from_millis(200));
        };
        write_round(&mut out, &pod, round, go)?;
    }
    Ok(())
}

fn write_round(out: &mut File, pod: &str, round: u64, (begin, lines, rate): (u64, u64, u64)) -> std::io::Result<()> {
    let (mut written, mut text) = (0, String::new());
    while written < lines {
        let due = (now().as_millis() as u64).saturating_sub(begin) * rate / 1000;
        text.clear();
        while written < due.min(lines) {
            written += 1;
            let _ = writeln!(text, "@bench {pod} {round} {written} {} ............", now().as_micros());
        }
        out.write_all(text.as_bytes())?;
        sleep(PAUSE);
    }
    Ok(())
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
