//! Calls about whole files that are killed at random moments: copy, swap, restore, replace.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use dbmig_wire::{Copy, ErrorKind, Replace, Restore, Stat, Swap};
use rusqlite::Connection;
use tempfile::TempDir;

use super::content::{lines, names, reference, write};
use super::series::{self, Kills};
use crate::mount::Mount;
use crate::process::{agent, ask, give, line, text};

/// Bytes of the old and of the new file, and what is in the new one.
struct Files {
    old: Vec<u8>,
    new: Vec<u8>,
    sha256: String,
    content: Vec<String>,
}

impl Files {
    fn new(mib: u32) -> Self {
        let dir = TempDir::new().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        drop(write(&old, mib));
        fs::copy(&old, &new).unwrap();
        let plain = "DELETE FROM t WHERE id % 2 = 0; DELETE FROM w";
        Connection::open(&new).unwrap().execute_batch(plain).unwrap();
        let content = reference(&old, plain);
        let facts = ask(Stat { paths: vec![text(&new)], hash: true }).unwrap().files.remove(0).unwrap();
        Self { old: fs::read(old).unwrap(), new: fs::read(new).unwrap(), sha256: facts.sha256.unwrap(), content }
    }
}

struct Place {
    dir: TempDir,
    app: PathBuf,
    inode: u64,
}

impl Place {
    /// The old file in place with a mode of its own, the new one beside it.
    fn new(files: &Files) -> Self {
        let dir = TempDir::new().unwrap();
        let app = dir.path().join("app");
        fs::write(&app, &files.old).unwrap();
        fs::set_permissions(&app, fs::Permissions::from_mode(0o640)).unwrap();
        fs::write(dir.path().join("app.dbmig-new"), &files.new).unwrap();
        Self { inode: fs::metadata(&app).unwrap().ino(), dir, app }
    }

    fn at(&self, suffix: &str) -> String {
        format!("{}.dbmig-{suffix}", text(&self.app))
    }

    fn swap(&self, files: &Files) -> Swap {
        Swap {
            database: text(&self.app),
            new: self.at("new"),
            old: Some(self.at("old")),
            expect_bytes: files.new.len() as u64,
            expect_sha256: files.sha256.clone(),
            expect_inode: self.inode,
        }
    }
}

#[test]
fn a_killed_copy_leaves_its_target_and_is_repeated() {
    let files = Files::new(2);
    for (seed, replace) in [(1, false), (2, true)] {
        let make = || {
            let place = Place::new(&files);
            if replace {
                fs::write(place.dir.path().join("copy"), "what was there").unwrap();
            }
            place
        };
        let call = |place: &Place| Copy {
            from: text(&place.app),
            to: text(&place.dir.path().join("copy")),
            replace,
            like: None,
            expect_sha256: None,
        };
        let judge = |place: &Place| {
            let copy = place.dir.path().join("copy");
            let left = place.dir.path().join("copy.dbmig-part").exists();
            let done = match fs::read(&copy) {
                Ok(there) if there == b"what was there" => false,
                Ok(there) => there == files.old && !left,
                Err(_) => false,
            };
            assert!(done || copy.exists() == replace);
            match ask(call(place)) {
                // A plain copy does not write over what it finished itself.
                Err(error) => assert!(done && !replace && error.kind == ErrorKind::Changed, "{error:?}"),
                Ok(_) => assert!(replace || !done),
            }
            assert!(fs::read(&copy).unwrap() == files.old && fs::read(&place.app).unwrap() == files.old);
            assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o7777, 0o640);
            assert_eq!(names(place.dir.path()), ["app", "app.dbmig-new", "copy"]);
            left
        };
        series::kill(
            Kills { times: 10, must_leave: 3, seed },
            make,
            |place| give(&mut agent(&["ask"]), &line(call(place))),
            judge,
        );
    }
}

#[test]
fn a_killed_swap_leaves_one_whole_file_and_is_repeated() {
    let files = Files::new(4);
    let judge = |place: &Place| {
        let there = fs::read(&place.app).unwrap();
        let swapped = fs::metadata(&place.app).unwrap().ino() != place.inode;
        assert!(there == if swapped { &files.new[..] } else { &files.old[..] });
        assert_eq!(ask(place.swap(&files)).unwrap().already, swapped);
        assert!(fs::read(&place.app).unwrap() == files.new && fs::read(place.at("old")).unwrap() == files.old);
        assert_eq!(lines(&place.app), files.content);
        assert_eq!(fs::metadata(&place.app).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(names(place.dir.path()), ["app", "app.dbmig-old"]);
        !swapped
    };
    series::kill(
        Kills { times: 20, must_leave: 6, seed: 3 },
        || Place::new(&files),
        |place| give(&mut agent(&["ask"]), &line(place.swap(&files))),
        judge,
    );
}

#[test]
fn a_killed_restore_leaves_one_whole_file_and_is_repeated() {
    let files = Files::new(6);
    // As after a swap, and the application has written since.
    let make = || {
        let place = Place::new(&files);
        fs::rename(&place.app, place.at("old")).unwrap();
        fs::rename(place.at("new"), &place.app).unwrap();
        let writer = Connection::open(&place.app).unwrap();
        writer.execute_batch("UPDATE t SET b = b || 'x'; INSERT INTO t (b) VALUES ('since')").unwrap();
        place
    };
    let call = |place: &Place| Restore { database: text(&place.app), old: place.at("old"), set_aside: place.at("aside") };
    let judge = |place: &Place| {
        let restored = fs::metadata(&place.app).unwrap().ino() == place.inode;
        let taken_out = fs::read(if restored { PathBuf::from(place.at("aside")) } else { place.app.clone() }).unwrap();
        let done = ask(call(place)).unwrap();
        assert_eq!(done.already, restored);
        assert!(done.written_since.iter().any(|table| table.name == "t" && table.rows > 2_000), "{done:?}");
        assert!(fs::read(&place.app).unwrap() == files.old && fs::read(place.at("aside")).unwrap() == taken_out);
        assert_eq!(names(place.dir.path()), ["app", "app.dbmig-aside"]);
        !restored
    };
    series::kill(
        Kills { times: 20, must_leave: 6, seed: 4 },
        make,
        |place| give(&mut agent(&["ask"]), &line(call(place))),
        judge,
    );
}

#[test]
fn a_killed_replace_goes_on_with_room_for_both_and_without() {
    let files = Files::new(2);
    let (new, bytes) = (TempDir::new().unwrap(), files.new.len() as u64);
    let from = new.path().join("app.dbmig-new");
    fs::write(&from, &files.new).unwrap();
    for (seed, room) in [(5, 3 * bytes), (6, files.old.len() as u64 + bytes / 4)] {
        let volume = Mount::tmpfs(room.next_multiple_of(4096) + (2 << 20));
        let app = volume.path().join("app");
        let make = || {
            for name in names(volume.path()) {
                fs::remove_file(volume.path().join(name)).unwrap();
            }
            fs::write(&app, &files.old).unwrap();
            fs::metadata(&app).unwrap().ino()
        };
        let call = |inode: &u64| Replace {
            database: text(&app),
            from: text(&from),
            beside: format!("{}.dbmig-beside", text(&app)),
            expect_sha256: files.sha256.clone(),
            expect_inode: *inode,
            like: (0, 0, 0o640),
        };
        let judge = |inode: &u64| {
            let left = names(volume.path()) != ["app"];
            if let Ok(there) = fs::read(&app) {
                assert!(there == files.old || there == files.new);
            }
            assert!(fs::read(&from).unwrap() == files.new, "the complete copy stays");
            ask(call(inode)).unwrap();
            assert!(fs::read(&app).unwrap() == files.new && fs::read(&from).unwrap() == files.new);
            assert_eq!(fs::metadata(&app).unwrap().mode() & 0o7777, 0o640);
            assert_eq!(names(volume.path()), ["app"]);
            left
        };
        series::kill(
            Kills { times: 10, must_leave: 2, seed },
            make,
            |inode| give(&mut agent(&["ask"]), &line(call(inode))),
            judge,
        );
    }
}
