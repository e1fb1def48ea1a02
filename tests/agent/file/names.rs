//! Swap and restore: which file has which name, whenever the process dies.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use dbmig_wire::{ErrorKind, Restore, Stat, Swap};
use tempfile::TempDir;

use crate::process::{agent, ask, database, line, run, text};

struct Place {
    _dir: TempDir,
    app: PathBuf,
    new: PathBuf,
    old: PathBuf,
    aside: PathBuf,
    inode: u64,
    old_bytes: Vec<u8>,
    new_bytes: Vec<u8>,
    call: Swap,
}

fn place() -> Place {
    let dir = TempDir::new().unwrap();
    let at = |suffix: &str| dir.path().join(format!("app.sqlite{suffix}"));
    let (app, new, old, aside) = (at(""), at(".dbmig-new"), at(".dbmig-old"), at(".dbmig-aside"));
    drop(database(&app, 4096, 100, 100));
    drop(database(&new, 4096, 50, 50));
    fs::set_permissions(&app, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&app, Some(64535), Some(64536)).unwrap();
    let facts = ask(Stat { paths: vec![text(&new)], hash: true }).unwrap().files.remove(0).unwrap();
    let inode = fs::metadata(&app).unwrap().ino();
    let call = Swap {
        database: text(&app),
        new: text(&new),
        old: Some(text(&old)),
        expect_bytes: facts.bytes,
        expect_sha256: facts.sha256.unwrap(),
        expect_inode: inode,
    };
    let (old_bytes, new_bytes) = (fs::read(&app).unwrap(), fs::read(&new).unwrap());
    Place { _dir: dir, app, new, old, aside, inode, old_bytes, new_bytes, call }
}

impl Place {
    fn restore(&self) -> Restore {
        Restore { database: text(&self.app), old: text(&self.old), set_aside: text(&self.aside) }
    }

    fn is_swapped(&self) {
        assert!(fs::read(&self.app).unwrap() == self.new_bytes && fs::read(&self.old).unwrap() == self.old_bytes);
        let seen = fs::metadata(&self.app).unwrap();
        assert_eq!((seen.uid(), seen.gid(), seen.mode() & 0o7777), (64535, 64536, 0o640));
        assert!(!self.new.exists());
    }

    fn is_untouched(&self) {
        assert_eq!(fs::metadata(&self.app).unwrap().ino(), self.inode);
        assert!(fs::read(&self.app).unwrap() == self.old_bytes && fs::read(&self.new).unwrap() == self.new_bytes);
        assert!(!self.old.exists());
    }
}

#[test]
fn a_swap_keeps_the_old_file_owner_and_mode_and_can_be_repeated() {
    let place = place();
    let first = ask(place.call.clone()).unwrap();
    place.is_swapped();
    let again = ask(place.call.clone()).unwrap();
    assert_eq!((first.already, again.already, first.inode), (false, true, again.inode));
    place.is_swapped();
}

#[test]
fn a_swap_that_dies_anywhere_leaves_one_whole_file_and_goes_on() {
    for point in 1..=7 {
        let place = place();
        let died = run(agent(&["ask"]).env("DBMIG_DIE_AT", format!("swap:{point}")), &line(place.call.clone()));
        assert_eq!(died.status.code(), None, "it died at {point}");
        let there = fs::read(&place.app).unwrap();
        assert!(if point < 6 { there == place.old_bytes } else { there == place.new_bytes }, "{point}");
        assert_eq!(ask(place.call.clone()).unwrap().already, point >= 6);
        place.is_swapped();
    }
}

#[test]
fn a_restore_that_dies_anywhere_leaves_one_whole_file_and_goes_on() {
    for point in 1..=4 {
        let place = place();
        ask(place.call.clone()).unwrap();
        let died = run(agent(&["ask"]).env("DBMIG_DIE_AT", format!("restore:{point}")), &line(place.restore()));
        assert_eq!(died.status.code(), None, "it died at {point}");
        let there = fs::read(&place.app).unwrap();
        assert!(if point < 3 { there == place.new_bytes } else { there == place.old_bytes }, "{point}");
        assert_eq!(ask(place.restore()).unwrap().already, point >= 3);
        assert_eq!(fs::metadata(&place.app).unwrap().ino(), place.inode);
        assert!(fs::read(&place.app).unwrap() == place.old_bytes && fs::read(&place.aside).unwrap() == place.new_bytes);
        assert!(ask(place.restore()).unwrap().already);
    }
}

#[test]
fn a_restore_after_a_swap_that_died_before_its_rename_has_nothing_to_do() {
    let place = place();
    run(agent(&["ask"]).env("DBMIG_DIE_AT", "swap:5"), &line(place.call.clone()));
    assert!(place.old.exists());
    assert!(ask(place.restore()).unwrap().already);
    place.is_untouched();
    assert_eq!(fs::metadata(&place.app).unwrap().nlink(), 1);
}

#[test]
fn a_hot_side_file_of_either_stops_the_swap() {
    for (suffix, of_new) in [("-journal", false), ("-wal", false), ("-journal", true), ("-wal", true)] {
        let place = place();
        let side = format!("{}{suffix}", text(if of_new { &place.new } else { &place.app }));
        fs::write(&side, vec![0xd9; 600]).unwrap();
        assert_eq!(ask(place.call.clone()).unwrap_err().kind, ErrorKind::Unsettled);
        place.is_untouched();
        assert!(fs::exists(side).unwrap());
    }
}

#[test]
fn cold_side_files_go() {
    let place = place();
    let side = |of: &PathBuf, suffix: &str| PathBuf::from(format!("{}{suffix}", text(of)));
    fs::write(side(&place.app, "-journal"), vec![0; 600]).unwrap();
    for of in [&place.app, &place.new] {
        fs::write(side(of, "-wal"), "").unwrap();
        fs::write(side(of, "-shm"), "x").unwrap();
    }
    ask(place.call.clone()).unwrap();
    for suffix in ["-journal", "-wal", "-shm"] {
        assert!(!side(&place.app, suffix).exists() && !side(&place.new, suffix).exists());
    }
}

#[test]
fn a_file_that_is_not_the_expected_one_stops_the_swap() {
    let place = place();
    let sha = Swap { expect_sha256: "00".repeat(32), ..place.call.clone() };
    let bytes = Swap { expect_bytes: 1, ..place.call.clone() };
    let inode = Swap { expect_inode: place.inode + 1_000_000, ..place.call.clone() };
    for call in [sha, bytes, inode] {
        assert_eq!(ask(call).unwrap_err().kind, ErrorKind::Changed);
        place.is_untouched();
    }
    fs::write(&place.old, "foreign").unwrap();
    assert_eq!(ask(place.call.clone()).unwrap_err().kind, ErrorKind::Changed);
    assert_eq!(fs::read(&place.old).unwrap(), b"foreign");
}

#[test]
fn a_database_in_use_is_not_swapped() {
    let place = place();
    let user = rusqlite::Connection::open(&place.app).unwrap();
    user.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
    user.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
    assert_eq!(ask(place.call.clone()).unwrap_err().kind, ErrorKind::Busy);
    assert!(!place.old.exists());
}

#[test]
fn a_swap_on_a_full_disk_works_or_leaves_the_old_file() {
    let dir = TempDir::new().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "none"]).arg(dir.path()).status().unwrap();
    assert!(mounted.success(), "this test needs to mount a tmpfs");
    let place = place();
    let at = |name: &str| dir.path().join(name);
    fs::copy(&place.app, at("app")).unwrap();
    fs::copy(&place.new, at("app.dbmig-new")).unwrap();
    let filler = fs::File::create(at("filler")).unwrap();
    while std::io::Write::write(&mut &filler, &[1; 4096]).is_ok_and(|written| written > 0) {}
    let call = Swap {
        database: text(&at("app")),
        new: text(&at("app.dbmig-new")),
        old: Some(text(&at("app.dbmig-old"))),
        expect_inode: fs::metadata(at("app")).unwrap().ino(),
        ..place.call.clone()
    };
    let swapped = ask(call);
    let there = fs::read(at("app")).unwrap();
    drop(filler);
    assert!(Command::new("umount").arg(dir.path()).status().unwrap().success());
    assert!(there == if swapped.is_ok() { place.new_bytes } else { place.old_bytes });
}
