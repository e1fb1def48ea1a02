//! Calls about databases that are killed at random moments: rebuild, verify, settle, punch, replay.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use dbmig_wire::{Change, ErrorKind, KeptRows, Message, Punch, Rebuild, Remove, Replay, Request, Rule, Settle, Verify};
use rusqlite::Connection;
use tempfile::TempDir;

use super::content::{lines, names, reference, write};
use super::series::{self, Kills};
use crate::process::{agent, ask, error, give, integrity, last, line, run, text};

/// A folder with a database, copied from a fixture where the call changes it.
struct Place {
    dir: TempDir,
    app: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self { app: dir.path().join("app.sqlite"), dir }
    }

    fn copy_of(fixture: &Path) -> Self {
        let place = Self::new();
        for name in names(fixture) {
            fs::copy(fixture.join(&name), place.dir.path().join(name)).unwrap();
        }
        place
    }

    fn new_file(&self) -> PathBuf {
        self.dir.path().join("app.sqlite.dbmig-new")
    }

    fn rebuild(&self) -> Rebuild {
        Rebuild {
            database: text(&self.app),
            target: text(&self.new_file()),
            rules: rules(),
            temp: text(self.dir.path()),
            afterwards: vec![Change { sql: "UPDATE t SET b = 'mended' WHERE id = 6".to_owned(), rows: 1 }],
            leave_free_bytes: 0,
        }
    }

    /// Removes what a killed rebuild left, so that the next one of a series starts afresh.
    fn clear(&self) {
        for name in names(self.dir.path()).iter().filter(|name| name.contains(".dbmig-")) {
            fs::remove_file(self.dir.path().join(name)).unwrap();
        }
    }
}

/// One rule that thins a table out while it is copied, and one that takes a copy of its own first.
fn rules() -> Vec<Rule> {
    [("t", "id % 2 = 0"), ("w", "n % 3 > 0")]
        .map(|(table, condition)| Rule::Where { table: table.to_owned(), condition: condition.to_owned(), allow_empty: false })
        .to_vec()
}

const PLAIN: &str = "DELETE FROM t WHERE NOT id % 2 = 0; DELETE FROM w WHERE NOT n % 3 > 0; \
    UPDATE t SET b = 'mended' WHERE id = 6";

fn start(request: impl Into<Request>) -> Child {
    give(&mut agent(&["ask"]), &line(request))
}

#[test]
fn a_killed_rebuild_leaves_the_old_file_and_is_repeated() {
    let place = Place::new();
    drop(write(&place.app, 24));
    let (before, expected) = (fs::read(&place.app).unwrap(), reference(&place.app, PLAIN));
    let fresh = || place.clear();
    let judge = |(): &()| {
        assert!(fs::read(&place.app).unwrap() == before);
        let left = names(place.dir.path()).len() > 1;
        ask(place.rebuild()).unwrap();
        assert!(fs::read(&place.app).unwrap() == before);
        assert_eq!(lines(&place.new_file()), expected);
        assert_eq!(names(place.dir.path()), ["app.sqlite", "app.sqlite.dbmig-new"]);
        left
    };
    series::kill(Kills { times: 20, must_leave: 6, seed: 1 }, fresh, |()| start(place.rebuild()), judge);
}

#[test]
fn what_a_killed_rebuild_left_is_removed_with_its_file() {
    let place = Place::new();
    drop(write(&place.app, 24));
    let stages = Cell::new(0);
    let judge = |(): &()| {
        let left = names(place.dir.path());
        stages.set(stages.get() + u32::from(left.iter().any(|name| name.ends_with("-stage"))));
        let removed = ask(Remove { paths: vec![text(&place.new_file())] }).unwrap();
        assert_eq!(removed.paths.len(), usize::from(left.len() > 1));
        assert_eq!(names(place.dir.path()), ["app.sqlite"]);
        left.len() > 1
    };
    series::kill(Kills { times: 20, must_leave: 6, seed: 7 }, || place.clear(), |()| start(place.rebuild()), judge);
    assert!(stages.get() >= 3, "{} kills left the first stage", stages.get());
}

#[test]
fn a_killed_rebuild_job_is_told_as_died_and_started_again() {
    let place = Place::new();
    let jobs = TempDir::new().unwrap();
    drop(write(&place.app, 24));
    let (before, expected) = (fs::read(&place.app).unwrap(), reference(&place.app, PLAIN));
    let job = |verb: &str, name: &str, rest: &[&str]| -> Command { agent(&[&[verb, &text(jobs.path()), name], rest].concat()) };
    let mut died = 0;
    for round in 0..6 {
        place.clear();
        let (first, second) = (format!("first-{round}"), format!("second-{round}"));
        run(&mut patient(&job("start", &first, &[])), &line(place.rebuild()));
        let begun = Instant::now();
        while names(place.dir.path()).len() == 1 && begun.elapsed() < Duration::from_secs(10) {
            sleep(Duration::from_millis(1));
        }
        sleep(Duration::from_millis(round * 9));
        kill_job(jobs.path(), &first);
        let output = run(&mut job("follow", &first, &["0"]), b"");
        if !output.status.success() {
            assert_eq!(error(&output).kind, ErrorKind::Died);
            died += 1;
        }
        assert!(fs::read(&place.app).unwrap() == before);
        run(&mut job("start", &second, &[]), &line(place.rebuild()));
        let output = run(&mut job("follow", &second, &["0"]), b"");
        assert!(matches!(last(&output), Message::Done(_)), "{:?}", last(&output));
        assert_eq!(lines(&place.new_file()), expected);
        assert_eq!(names(place.dir.path()), ["app.sqlite", "app.sqlite.dbmig-new"]);
    }
    assert!(died >= 3, "only {died} of 6 jobs were killed at work");
}

/// The same where everything else on a busy machine comes first: what it starts is not done before it is killed.
fn patient(command: &Command) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "19"]).arg(command.get_program()).args(command.get_args());
    nice.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    nice
}

/// Kills the process whose arguments name the job, if it still runs.
fn kill_job(folder: &Path, name: &str) {
    let wanted = format!("run-job\0{}\0{name}\0", text(folder));
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().into_string().unwrap();
        if fs::read(entry.path().join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&wanted)) {
            // It may have ended since.
            let _ = Command::new("kill").args(["-9", &pid]).status();
        }
    }
}

#[test]
fn a_killed_verify_leaves_both_files_and_is_repeated() {
    let (place, temp) = (Place::new(), TempDir::new().unwrap());
    drop(write(&place.app, 5));
    let tables: Vec<KeptRows> = ask(place.rebuild()).unwrap().tables;
    let Rebuild { database, target, rules, afterwards, .. } = place.rebuild();
    let call = Verify { database, target, rules, afterwards, tables };
    let proof = ask(call.clone()).unwrap();
    let (old, new) = (fs::read(&place.app).unwrap(), fs::read(place.new_file()).unwrap());
    let judge = |(): &()| {
        assert_eq!(ask(call.clone()).unwrap(), proof);
        assert!(fs::read(&place.app).unwrap() == old && fs::read(place.new_file()).unwrap() == new);
        assert_eq!(names(place.dir.path()), ["app.sqlite", "app.sqlite.dbmig-new"]);
        assert!(names(temp.path()).is_empty());
        false
    };
    let start = |(): &()| give(agent(&["ask"]).env("SQLITE_TMPDIR", temp.path()), &line(call.clone()));
    series::kill(Kills { times: 20, must_leave: 0, seed: 2 }, || (), start, judge);
}

/// What a writer that was killed in the middle of a transaction leaves: the file as it was before, by its journal.
fn hot_journal(fixture: &Path) -> Vec<String> {
    let place = Place::new();
    let writer = write(&place.app, 24);
    let expected = lines(&place.app);
    writer
        .execute_batch(
            "PRAGMA cache_size = 5; PRAGMA synchronous = FULL; BEGIN; UPDATE big SET v = zeroblob(17000); DELETE FROM t",
        )
        .unwrap();
    for name in ["app.sqlite", "app.sqlite-journal"] {
        fs::copy(place.dir.path().join(name), fixture.join(name)).unwrap();
    }
    expected
}

/// What a writer that was killed with everything still in its WAL leaves.
fn unmerged_wal(fixture: &Path) -> Vec<String> {
    const CHANGES: &str = "UPDATE big SET v = zeroblob(17000) WHERE rowid % 3; INSERT INTO big SELECT v FROM big; DELETE FROM w";
    let place = Place::new();
    let writer = write(&place.app, 12);
    let expected = reference(&place.app, CHANGES);
    writer.execute_batch(&format!("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; {CHANGES}")).unwrap();
    for name in ["app.sqlite", "app.sqlite-wal"] {
        fs::copy(place.dir.path().join(name), fixture.join(name)).unwrap();
    }
    expected
}

#[test]
fn a_killed_settle_loses_nothing_of_a_journal_or_wal() {
    for (seed, side, prepare) in [(3, "-journal", hot_journal as fn(&Path) -> Vec<String>), (4, "-wal", unmerged_wal)] {
        let fixture = TempDir::new().unwrap();
        let expected = prepare(fixture.path());
        let call = |place: &Place| Settle { database: text(&place.app) };
        let judge = |place: &Place| {
            // A journal that is done with may be wiped and not gone yet.
            let unfinished =
                fs::read(format!("{}{side}", text(&place.app))).is_ok_and(|file| file.first().is_some_and(|byte| *byte > 0));
            let settled = ask(call(place)).unwrap();
            assert_eq!(settled.rolled_back || settled.checkpointed, unfinished, "{settled:?}");
            assert_eq!(lines(&place.app), expected);
            assert_eq!(names(place.dir.path()), ["app.sqlite"]);
            unfinished
        };
        series::kill(
            Kills { times: 10, must_leave: 3, seed },
            || Place::copy_of(fixture.path()),
            |place| start(call(place)),
            judge,
        );
    }
}

#[test]
fn a_killed_punch_leaves_a_whole_database() {
    let fixture = TempDir::new().unwrap();
    let path = fixture.path().join("app.sqlite");
    // Every other row goes, so that there are many small holes to make.
    write(&path, 10).execute_batch("DELETE FROM big WHERE rowid % 2 = 0").unwrap();
    let expected = lines(&path);
    let call = |place: &Place| Punch { database: text(&place.app), batch_ms: 1, wait_ms: 5_000 };
    let judge = |place: &Place| {
        assert_eq!(lines(&place.app), expected, "as the kill left it");
        let rest = ask(call(place)).unwrap();
        assert_eq!(lines(&place.app), expected);
        assert_eq!(ask(call(place)).unwrap().freed_bytes, 0, "the repeated call made every hole");
        assert_eq!(names(place.dir.path()), ["app.sqlite"]);
        let writer = Connection::open(&place.app).unwrap();
        writer.execute_batch("INSERT INTO big SELECT zeroblob(9000) FROM n LIMIT 100").unwrap();
        assert_eq!(integrity(&writer), "ok");
        rest.freed_bytes > 0
    };
    series::kill(
        Kills { times: 20, must_leave: 4, seed: 5 },
        || Place::copy_of(fixture.path()),
        |place| start(call(place)),
        judge,
    );
}

#[test]
fn a_killed_replay_leaves_nothing_and_is_repeated() {
    let temp = TempDir::new().unwrap();
    let table = |number| {
        format!(
            "CREATE TABLE t{number} (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
             INSERT INTO t{number} SELECT hex(i) FROM n; CREATE INDEX i{number} ON t{number} (a)"
        )
    };
    let call = Replay { scripts: (0..4).map(table).collect() };
    let expected = ask(call.clone()).unwrap();
    assert!(expected.len() == 4 && expected.iter().all(|state| state.error.is_none()));
    let judge = |(): &()| {
        assert_eq!(ask(call.clone()).unwrap(), expected);
        assert!(names(temp.path()).is_empty());
        false
    };
    let start = |(): &()| give(agent(&["ask"]).env("SQLITE_TMPDIR", temp.path()), &line(call.clone()));
    series::kill(Kills { times: 20, must_leave: 0, seed: 6 }, || (), start, judge);
}
