//! How the binary is called and how it answers; jobs.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use dbmig_wire::{Environment, ErrorKind, Hello, Message, Punch, Rebuild, Replay, Request, Stat, Variables};
use tempfile::TempDir;

use crate::process::{agent, database, error, give, last, line, messages, run, text};

fn stat(path: &Path) -> Stat {
    Stat { paths: vec![text(path)], hash: true }
}

/// A job that waits for a lock for as long as `writer` holds it.
fn waiting_job(dir: &TempDir) -> (rusqlite::Connection, Request) {
    let path = dir.path().join("app.sqlite");
    let writer = database(&path, 4096, 10, 5);
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    (writer, Punch { database: text(&path), batch_ms: 50, wait_ms: 600_000 }.into())
}

fn job(verb: &str, dir: &TempDir, rest: &[&str]) -> Command {
    let dir = text(dir.path());
    agent(&[&[verb, &dir, "work"], rest].concat())
}

fn start(dir: &TempDir, request: Request) -> Output {
    run(&mut job("start", dir, &[]), &line(request))
}

/// Whose arguments name this test's folder: the detached job.
fn pid_of_job(dir: &TempDir) -> i32 {
    let wanted = format!("run-job\0{}\0", text(dir.path()));
    let has =
        |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&wanted));
    let pids = fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(has).unwrap()
}

fn kill(pid: i32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn hash_tells_the_digest_of_the_running_file() {
    let output = run(&mut agent(&["hash"]), b"");
    let hello: Hello = serde_json::from_slice(&output.stdout).unwrap();
    let sum = Command::new("sha256sum").arg(env!("CARGO_BIN_EXE_dbmig-agent")).output().unwrap();
    assert_eq!(hello.sha256.as_bytes(), &sum.stdout[..64]);
    assert_eq!(hello.bytes, fs::metadata(env!("CARGO_BIN_EXE_dbmig-agent")).unwrap().len());
}

#[test]
fn wrong_arguments_exit_2_with_one_line_on_stderr() {
    let wrong: [&[&str]; 6] = [
        &[],
        &["ask", "more"],
        &["follow", "/x", "y", "z"],
        &["start", "relative", "x"],
        &["stop", "/tmp", "../x"],
        &["hold", "-1"],
    ];
    for args in wrong {
        let output = run(&mut agent(args), b"");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(output.stderr.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn garbage_is_a_clear_failure_and_no_panic() {
    let cases: [&[u8]; 7] = [
        b"",
        b"\n",
        b"{}\n",
        b"\xff\xfe\n",
        b"{\"call\":\"fly\",\"with\":{}}\n",
        b"{\"call\":\"stat\",\"with\":{}}\n",
        b"null\n",
    ];
    for case in cases {
        let output = run(&mut agent(&["ask"]), case);
        let error = error(&output);
        assert_eq!(error.kind, ErrorKind::BadRequest);
        assert!(!error.message.contains("struct"), "{}", error.message);
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn a_request_that_was_cut_off_is_not_acted_on() {
    let mut whole = line(stat(Path::new("/etc/hostname")));
    whole.pop();
    assert_eq!(error(&run(&mut agent(&["ask"]), &whole)).kind, ErrorKind::BadRequest);
}

#[test]
fn a_request_of_more_than_a_megabyte_is_read_whole() {
    let request = Replay { scripts: vec!["-- x\n".repeat(300_000)] };
    let output = run(&mut agent(&["ask"]), &line(request));
    assert_ne!(output.status.code(), Some(2));
    if let Message::Failed(error) = last(&output) {
        assert_ne!(error.kind, ErrorKind::BadRequest);
    }
}

#[test]
fn an_ask_that_nobody_reads_ends() {
    let dir = TempDir::new().unwrap();
    let (_writer, request) = waiting_job(&dir);
    let mut child = give(&mut agent(&["ask"]), &line(request));
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn a_job_outlives_its_start_and_is_followed_to_its_end() {
    let dir = TempDir::new().unwrap();
    let (writer, request) = waiting_job(&dir);
    // `output()` returns only when nobody holds the streams any more: the job does not.
    assert_eq!(last(&start(&dir, request.clone())), Message::Done(serde_json::Value::Null));
    assert_eq!(last(&start(&dir, request.clone())), Message::Done(serde_json::Value::Null));
    let follower = give(&mut job("follow", &dir, &["0"]), b"");
    writer.execute_batch("ROLLBACK").unwrap();
    let output = follower.wait_with_output().unwrap();
    assert!(matches!(last(&output), Message::Done(_)), "{:?}", messages(&output));
    assert_eq!(output.status.code(), Some(0));
    let again = error(&start(&dir, request));
    assert_eq!(again.kind, ErrorKind::BadRequest);
}

/// As in a container, whose processes belong to a session that began outside it: the kernel calls that session 0.
#[test]
fn a_job_starts_where_the_session_began_outside() {
    let dir = TempDir::new().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "sh", "-c", r#""$0" start "$1" work && "$0" follow "$1" work 0"#]);
    command.args([env!("CARGO_BIN_EXE_dbmig-agent"), &text(dir.path())]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = run(&mut command, &line(stat(Path::new("/etc/hostname"))));
    assert_eq!(messages(&output).first(), Some(&Message::Done(serde_json::Value::Null)), "{output:?}");
    assert!(matches!(last(&output), Message::Done(_)), "{output:?}");
}

/// Lines, but for those that say no more than that the one who writes them lives: on a busy machine they may come at any time.
fn without_beats(lines: &[u8]) -> Vec<String> {
    let text = String::from_utf8(lines.to_vec()).unwrap();
    text.lines().filter(|line| *line != "\"beat\"").map(str::to_owned).collect()
}

#[test]
fn following_goes_on_from_the_line_asked_for() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("data");
    fs::write(&file, vec![7; 3 << 20]).unwrap();
    start(&dir, stat(&file).into());
    let all = run(&mut job("follow", &dir, &["0"]), b"").stdout;
    let second = run(&mut job("follow", &dir, &["1"]), b"").stdout;
    let journal = fs::read(dir.path().join("work.journal")).unwrap();
    let first = journal.iter().position(|byte| *byte == b'\n').unwrap();
    assert!(first + 1 < journal.len(), "the journal needs two lines");
    assert_eq!(without_beats(&all), without_beats(&journal));
    assert_eq!(without_beats(&second), without_beats(&journal[first + 1..]));
    let beyond = run(&mut job("follow", &dir, &["1000"]), b"");
    assert!(without_beats(&beyond.stdout).len() == 1 && matches!(last(&beyond), Message::Done(_)));
}

#[test]
fn a_killed_job_is_told_as_died() {
    let dir = TempDir::new().unwrap();
    let (_writer, request) = waiting_job(&dir);
    start(&dir, request);
    kill(pid_of_job(&dir));
    let output = run(&mut job("follow", &dir, &["0"]), b"");
    assert_eq!(error(&output).kind, ErrorKind::Died);
}

#[test]
fn half_a_line_of_a_killed_job_is_not_printed() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("work.journal"), "\"beat\"\n{\"note\":\"ha").unwrap();
    let output = run(&mut job("follow", &dir, &["0"]), b"");
    assert_eq!(without_beats(&output.stdout).len(), 1);
    assert_eq!(error(&output).kind, ErrorKind::Died);
}

#[test]
fn stop_ends_a_job_at_its_next_safe_point() {
    let dir = TempDir::new().unwrap();
    let (_writer, request) = waiting_job(&dir);
    start(&dir, request);
    assert_eq!(last(&run(&mut job("stop", &dir, &[]), b"")), Message::Done(serde_json::Value::Null));
    assert_eq!(error(&run(&mut job("follow", &dir, &["0"]), b"")).kind, ErrorKind::Stopped);
}

#[test]
fn a_job_that_nobody_follows_ends_itself() {
    let dir = TempDir::new().unwrap();
    let (_writer, request) = waiting_job(&dir);
    run(job("start", &dir, &[]).env("DBMIG_ABANDONED_SECONDS", "1"), &line(request));
    while !fs::read_to_string(dir.path().join("work.journal")).unwrap().contains("stopped") {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(error(&run(&mut job("follow", &dir, &["0"]), b"")).kind, ErrorKind::Stopped);
}

#[test]
fn a_job_goes_on_when_its_follower_goes_away() {
    let dir = TempDir::new().unwrap();
    let (writer, request) = waiting_job(&dir);
    start(&dir, request);
    let mut follower = give(&mut job("follow", &dir, &["0"]), b"");
    follower.kill().unwrap();
    follower.wait().unwrap();
    writer.execute_batch("ROLLBACK").unwrap();
    assert!(matches!(last(&run(&mut job("follow", &dir, &["0"]), b"")), Message::Done(_)));
}

#[test]
fn a_waiting_follower_beats() {
    let dir = TempDir::new().unwrap();
    let (writer, request) = waiting_job(&dir);
    start(&dir, request);
    let mut follower = give(&mut job("follow", &dir, &["0"]), b"");
    let mut lines = BufReader::new(follower.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    assert_eq!(first, "\"beat\"\n");
    writer.execute_batch("ROLLBACK").unwrap();
    lines.read_to_string(&mut first).unwrap();
    assert!(follower.wait().unwrap().success());
}

#[test]
fn following_an_unknown_job_is_not_found() {
    let dir = TempDir::new().unwrap();
    for verb in [&["follow", "0"][..], &["stop"]] {
        let output = run(&mut job(verb[0], &dir, &verb[1..]), b"");
        assert_eq!(error(&output).kind, ErrorKind::NotFound);
    }
}

#[test]
fn hold_ends_after_its_seconds() {
    assert!(run(agent(&["hold", "0"]).stderr(Stdio::null()), b"").status.success());
}

/// The kernel gives process 1 of a container no default action, so a `hold` that does nothing about it would stay.
#[test]
fn hold_ends_at_once_when_asked_to_also_as_process_1() {
    for signal in ["-TERM", "-INT"] {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", env!("CARGO_BIN_EXE_dbmig-agent"), "hold", "600"]);
        let mut outer = command.spawn().unwrap();
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let inner = loop {
            let inner = fs::read_to_string(&children).unwrap().trim().to_owned();
            // Asleep: it has begun to wait.
            let stat = fs::read_to_string(format!("/proc/{inner}/stat")).unwrap_or_default();
            if stat.contains("(dbmig-agent) S") {
                break inner;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let status = fs::read_to_string(format!("/proc/{inner}/status")).unwrap();
        assert!(status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")), "{status}");
        let asked = std::time::Instant::now();
        assert!(Command::new("kill").args([signal, &inner]).status().unwrap().success());
        let ended = loop {
            if let Some(status) = outer.try_wait().unwrap() {
                break Some(status);
            }
            if asked.elapsed() > Duration::from_secs(10) {
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if ended.is_none() {
            kill(inner.parse().unwrap());
            outer.wait().unwrap();
        }
        assert!(ended.is_some_and(|status| status.success()), "{signal}: {ended:?}");
    }
}

#[test]
fn a_journal_on_a_full_disk_gets_its_end_when_there_is_room() {
    let dir = TempDir::new().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(dir.path()).status().unwrap();
    assert!(mounted.success(), "this test needs to mount a tmpfs");
    let filler = dir.path().join("filler");
    let full = fs::write(&filler, vec![1; 2 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let started = start(&dir, stat(Path::new("/etc/hostname")).into());
    let follower = give(&mut job("follow", &dir, &["0"]), b"");
    let empty = fs::metadata(dir.path().join("work.journal")).unwrap().len();
    fs::remove_file(filler).unwrap();
    let output = follower.wait_with_output().unwrap();
    assert!(Command::new("umount").arg(dir.path()).status().unwrap().success());
    assert_eq!(last(&started), Message::Done(serde_json::Value::Null));
    assert_eq!(empty, 0);
    assert!(matches!(last(&output), Message::Done(_)), "{:?}", messages(&output));
}

/// A helper pod that was deleted by force may still run for a while: the next one waits until the kernel has its lock back.
#[test]
fn a_rebuild_waits_for_another_one_of_the_same_database() {
    let dir = TempDir::new().unwrap();
    let (path, target) = (dir.path().join("app.sqlite"), dir.path().join("app.sqlite.dbmig-x.new"));
    drop(database(&path, 4096, 10, 5));
    let other = fs::File::open(dir.path()).unwrap();
    other.lock().unwrap();
    let call = Rebuild {
        database: text(&path),
        temp: text(dir.path()),
        target: text(&target),
        rules: Vec::new(),
        afterwards: Vec::new(),
        leave_free_bytes: 0,
    };
    let mut waiting = give(&mut agent(&["ask"]), &line(call));
    std::thread::sleep(Duration::from_millis(500));
    assert!(waiting.try_wait().unwrap().is_none() && !target.exists());
    other.unlock().unwrap();
    assert!(matches!(last(&waiting.wait_with_output().unwrap()), Message::Done(_)));
    assert!(target.exists());
}

#[test]
fn only_variables_that_are_asked_for_leave_the_pod() {
    let mut command = agent(&["ask"]);
    command.env_clear().env("DATABASE_URL", "x=y=z").env("App_Db_Host", "db").env("API_TOKEN", "hunter2");
    let output = run(&mut command, &line(Environment { about: vec!["DATABASE".to_owned(), "DB".to_owned()] }));
    let Message::Done(said) = last(&output) else { panic!("{:?}", last(&output)) };
    let said: Variables = serde_json::from_value(said).unwrap();
    let expected = [("App_Db_Host", "db"), ("DATABASE_URL", "x=y=z")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(said.container, expected.into_iter().collect());
    assert!(!format!("{said:?}").contains("x=y=z"));
}
