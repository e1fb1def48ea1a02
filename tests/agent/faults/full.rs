//! Volumes that are full, or get full, while files are built or moved on them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use dbmig_wire::{AgentError, Change, Copy, ErrorKind, Message, Punch, Rebuild, Replace, Restore, Rule, Stat, Swap};
use serde_json::Value;
use tempfile::TempDir;

use super::content::{lines, names, reference, write};
use crate::mount::{Mount, PAGE};
use crate::process::{agent, ask, error, give, last, line, run, text};

const VOLUME: u64 = 24 << 20;

/// A file system of each kind.
fn volumes() -> [Mount; 2] {
    [Mount::tmpfs(VOLUME), Mount::ext4(VOLUME)]
}

/// Bytes that are free when `need` are needed, from none to almost enough.
pub(super) fn levels(need: u64) -> [u64; 6] {
    [0, PAGE, need / 10, need / 2, need / 10 * 9, need / 100 * 99]
}

/// The failure is one of space and names the place and numbers.
pub(super) fn is_full(error: &AgentError, place: &Path) {
    assert_eq!(error.kind, ErrorKind::NoSpace, "{error:?}");
    assert!(error.message.contains(&text(place)) && error.message.contains("bytes"), "{error:?}");
}

fn rebuild(volume: &Path, keep: &[(&str, &str)]) -> Rebuild {
    let rule = |(table, condition): &(&str, &str)| Rule::Where {
        table: (*table).to_owned(),
        condition: (*condition).to_owned(),
        allow_empty: false,
    };
    Rebuild {
        database: text(&volume.join("app")),
        target: text(&volume.join("app.dbmig-new")),
        rules: keep.iter().map(rule).collect(),
        temp: text(volume),
        afterwards: Vec::new(),
        leave_free_bytes: 0,
    }
}

#[test]
fn a_rebuild_on_a_full_volume_leaves_only_the_old_file() {
    // The second takes a copy of its own for a table without rowids.
    let (one, two) = (("t", "id % 2 = 0"), ("w", "n % 3 > 0"));
    for volume in volumes() {
        let app = volume.path().join("app");
        drop(write(&app, 3));
        let before = fs::read(&app).unwrap();
        let (once, twice) = (rebuild(volume.path(), &[one]), rebuild(volume.path(), &[one, two]));
        let bytes = |call: &Rebuild| ask(call.clone()).unwrap().bytes;
        let (stage, new) = (bytes(&once), bytes(&twice));
        for (call, need, plain) in [
            (once, stage, "DELETE FROM t WHERE NOT id % 2 = 0"),
            (twice, stage + new, "DELETE FROM t WHERE NOT id % 2 = 0; DELETE FROM w WHERE NOT n % 3 > 0"),
        ] {
            let expected = reference(&app, plain);
            for level in levels(need) {
                fs::remove_file(&call.target).unwrap();
                volume.leave(level);
                is_full(&ask(call.clone()).unwrap_err(), volume.path());
                assert!(fs::read(&app).unwrap() == before);
                assert_eq!(names(volume.path()).retain_own(), ["app", "filler"]);
                volume.make_room();
                ask(call.clone()).unwrap();
                assert_eq!(lines(Path::new(&call.target)), expected);
            }
        }
    }
}

trait RetainOwn {
    fn retain_own(self) -> Self;
}

impl RetainOwn for Vec<String> {
    /// Without what a fresh ext4 has.
    fn retain_own(mut self) -> Self {
        self.retain(|name| name != "lost+found");
        self
    }
}

#[test]
fn a_change_that_does_not_fit_leaves_only_the_old_file() {
    let volume = Mount::tmpfs(VOLUME);
    let app = volume.path().join("app");
    drop(write(&app, 1));
    let before = fs::read(&app).unwrap();
    let small = ask(rebuild(volume.path(), &[])).unwrap().bytes;
    let sql = "INSERT INTO big (rowid, v) VALUES (-1, zeroblob(2000000))".to_owned();
    let call = Rebuild { afterwards: vec![Change { sql, rows: 1 }], ..rebuild(volume.path(), &[]) };
    for level in [small, small + PAGE, small + 1_000_000] {
        fs::remove_file(&call.target).unwrap();
        volume.leave(level);
        is_full(&ask(call.clone()).unwrap_err(), volume.path());
        assert!(fs::read(&app).unwrap() == before);
        assert_eq!(names(volume.path()), ["app", "filler"]);
        volume.make_room();
        ask(call.clone()).unwrap();
    }
}

#[test]
fn a_copy_to_a_full_volume_leaves_what_was_there() {
    let source = TempDir::new().unwrap();
    let from = source.path().join("app");
    drop(write(&from, 2));
    let bytes = fs::read(&from).unwrap();
    for volume in volumes() {
        let to = volume.path().join("copy");
        fs::write(&to, "what was there").unwrap();
        let call = Copy { from: text(&from), to: text(&to), replace: true, like: None, expect_sha256: None };
        for level in levels(bytes.len() as u64) {
            volume.leave(level);
            is_full(&ask(call.clone()).unwrap_err(), volume.path());
            assert_eq!(fs::read(&to).unwrap(), b"what was there");
            assert_eq!(names(volume.path()).retain_own(), ["copy", "filler"]);
            volume.make_room();
        }
        ask(call).unwrap();
        assert!(fs::read(&to).unwrap() == bytes);
        assert_eq!(names(volume.path()).retain_own(), ["copy"]);
    }
}

#[test]
fn a_receive_on_a_full_volume_keeps_what_came_and_goes_on() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[usize::from(number % 7 == 0)]).collect();
    for volume in volumes() {
        let path = volume.path().join("app.dbmig-new");
        let receive = |from: usize| -> Output {
            let args = ["receive", &text(&path), &from.to_string(), &(bytes.len() - from).to_string()];
            // Nobody reads what does not fit.
            let mut child = agent(&args).spawn().unwrap();
            let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), &bytes[from..]);
            child.wait_with_output().unwrap()
        };
        for level in levels(bytes.len() as u64) {
            volume.leave(level);
            let full = error(&receive(0));
            is_full(&full, volume.path());
            let have = fs::metadata(&path).map_or(0, |file| file.len()) as usize;
            assert!(full.message.contains(&format!("byte {have},")), "{full:?}");
            assert!(have < bytes.len() && fs::read(&path).unwrap_or_default() == bytes[..have]);
            assert!(have as u64 + (64 << 10) > level, "{have} bytes came, {level} had room");
            volume.make_room();
            assert_eq!(last(&receive(have)), Message::Done(Value::from(bytes.len())));
            assert!(fs::read(&path).unwrap() == bytes);
            fs::remove_file(&path).unwrap();
        }
    }
}

/// The old and the new file on volumes of their own.
struct Two {
    volume: Mount,
    _elsewhere: TempDir,
    app: PathBuf,
    old: Vec<u8>,
    new: Vec<u8>,
    sha256: String,
    from: PathBuf,
}

impl Two {
    fn new(volume: Mount, (old, new): (u32, u32)) -> Self {
        let elsewhere = TempDir::new().unwrap();
        let (app, from) = (volume.path().join("app"), elsewhere.path().join("app.dbmig-new"));
        drop(write(&app, old));
        drop(write(&from, new));
        let facts = ask(Stat { paths: vec![text(&from)], hash: true }).unwrap().files.remove(0).unwrap();
        let (old, new) = (fs::read(&app).unwrap(), fs::read(&from).unwrap());
        Self { volume, _elsewhere: elsewhere, app, old, new, sha256: facts.sha256.unwrap(), from }
    }

    fn at(&self, suffix: &str) -> String {
        format!("{}.dbmig-{suffix}", text(&self.app))
    }

    fn inode(&self) -> u64 {
        fs::metadata(&self.app).unwrap().ino()
    }

    fn replace(&self) -> Replace {
        Replace {
            database: text(&self.app),
            from: text(&self.from),
            beside: self.at("beside"),
            expect_sha256: self.sha256.clone(),
            expect_inode: self.inode(),
            like: (0, 0, 0o600),
        }
    }

    fn names(&self) -> Vec<String> {
        names(self.volume.path()).retain_own()
    }
}

#[test]
fn a_replace_that_can_never_fit_leaves_the_old_file() {
    for volume in volumes() {
        let two = Two::new(volume, (1, 3));
        for level in levels((two.new.len() - two.old.len()) as u64) {
            two.volume.leave(level);
            is_full(&ask(two.replace()).unwrap_err(), &two.app);
            assert!(fs::read(&two.app).unwrap() == two.old);
            assert_eq!(two.names(), ["app", "filler"]);
            two.volume.make_room();
        }
        ask(two.replace()).unwrap();
        assert!(fs::read(&two.app).unwrap() == two.new);
    }
}

#[test]
fn a_replace_whose_old_file_has_another_name_does_not_count_on_its_room() {
    let two = Two::new(Mount::tmpfs(VOLUME), (3, 2));
    fs::hard_link(&two.app, two.at("old")).unwrap();
    two.volume.leave(two.new.len() as u64 / 2);
    is_full(&ask(two.replace()).unwrap_err(), &two.app);
    assert!(fs::read(&two.app).unwrap() == two.old);
    two.volume.make_room();
    ask(two.replace()).unwrap();
    assert!(fs::read(&two.app).unwrap() == two.new);
}

#[test]
fn a_replace_by_a_smaller_file_needs_no_free_byte() {
    for volume in volumes() {
        let two = Two::new(volume, (3, 2));
        two.volume.leave(0);
        ask(two.replace()).unwrap();
        assert!(fs::read(&two.app).unwrap() == two.new);
        assert_eq!(two.names(), ["app", "filler"]);
    }
}

#[test]
fn swap_and_restore_need_no_free_byte() {
    for volume in volumes() {
        let two = Two::new(volume, (2, 1));
        let (new, inode) = (two.at("new"), two.inode());
        fs::copy(&two.from, &new).unwrap();
        two.volume.leave(0);
        let swap = Swap {
            database: text(&two.app),
            new,
            old: Some(two.at("old")),
            expect_bytes: two.new.len() as u64,
            expect_sha256: two.sha256.clone(),
            expect_inode: inode,
        };
        ask(swap).unwrap();
        assert!(fs::read(&two.app).unwrap() == two.new);
        let restore = Restore { database: text(&two.app), old: two.at("old"), set_aside: two.at("aside") };
        ask(restore).unwrap();
        assert!(fs::read(&two.app).unwrap() == two.old && two.inode() == inode);
        assert_eq!(two.names(), ["app", "app.dbmig-aside", "filler"]);
    }
}

#[test]
fn punch_needs_no_free_byte_for_many_small_holes() {
    for volume in volumes() {
        let app = volume.path().join("app");
        // Every other of the pages that hold long values: each hole splits what the file system keeps in one piece.
        write(&app, 6).execute_batch("DELETE FROM big WHERE rowid % 2 = 0").unwrap();
        let expected = lines(&app);
        volume.leave(0);
        let punched = ask(Punch { database: text(&app), batch_ms: 50, wait_ms: 5_000 }).unwrap();
        assert!(punched.holes > 100 && punched.freed_bytes > 1_000_000, "{punched:?}");
        assert!(volume.free() > 1_000_000);
        assert_eq!(lines(&app), expected);
    }
}

#[test]
fn a_job_whose_journal_lies_on_the_volume_that_it_fills_tells_so() {
    let volume = Mount::tmpfs(VOLUME);
    let app = volume.path().join("app");
    drop(write(&app, 3));
    let call = rebuild(volume.path(), &[]);
    let need = ask(call.clone()).unwrap().bytes;
    for (number, level) in (0..).zip(levels(need)) {
        fs::remove_file(&call.target).unwrap();
        volume.leave(level);
        let job = |verb: &str, rest: &[&str]| agent(&[&[verb, &text(volume.path()), &format!("job-{number}")], rest].concat());
        assert_eq!(last(&run(&mut job("start", &[]), &line(call.clone()))), Message::Done(Value::Null));
        let follower = give(&mut job("follow", &["0"]), b"");
        if level == 0 {
            // Not even the end of the journal finds room before there is some.
            std::thread::sleep(std::time::Duration::from_millis(300));
            volume.leave(PAGE);
        }
        let output = follower.wait_with_output().unwrap();
        is_full(&error(&output), volume.path());
        volume.make_room();
        ask(call.clone()).unwrap();
    }
}

#[test]
fn a_job_without_room_for_its_journals_name_does_not_start() {
    let volume = TempDir::new().unwrap();
    let mounted = Mount::tmpfs_with(&format!("size={VOLUME},nr_inodes=2"));
    let folder = mounted.path();
    fs::write(folder.join("last"), "").unwrap();
    let job = |verb: &str, rest: &[&str]| agent(&[&[verb, &text(folder), "work"], rest].concat());
    let stat = Stat { paths: vec![text(volume.path())], hash: false };
    let refused = error(&run(&mut job("start", &[]), &line(stat.clone())));
    assert_eq!(refused.kind, ErrorKind::NoSpace, "{refused:?}");
    fs::remove_file(folder.join("last")).unwrap();
    assert_eq!(names(folder), Vec::<String>::new());
    // The journal takes the last inode, and the mark that somebody follows finds none.
    let refused = error(&run(&mut job("start", &[]), &line(stat.clone())));
    assert_eq!(refused.kind, ErrorKind::NoSpace, "{refused:?}");
    let remount = std::process::Command::new("mount").args(["-o", "remount,nr_inodes=20"]).arg(folder).status().unwrap();
    assert!(remount.success());
    assert_eq!(last(&run(&mut job("start", &[]), &line(stat))), Message::Done(Value::Null));
    assert!(matches!(last(&run(&mut job("follow", &["0"]), b"")), Message::Done(_)));
}
