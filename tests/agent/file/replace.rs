//! Replace: whenever it dies, on a volume with room for both files and on one without, a repeated call ends it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use dbmig_wire::{ErrorKind, Replace, Stat};
use tempfile::TempDir;

use crate::process::{agent, ask, database, line, run, text};

/// A tmpfs, gone with the value even when the test fails.
struct Mount(TempDir);

impl Drop for Mount {
    fn drop(&mut self) {
        // A failing test tells its own reason.
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

struct Place {
    volume: Mount,
    _elsewhere: TempDir,
    app: PathBuf,
    old_bytes: Vec<u8>,
    new_bytes: Vec<u8>,
    call: Replace,
}

fn place(mib: u32) -> Place {
    let volume = Mount(TempDir::new().unwrap());
    let size = format!("size={mib}m");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(volume.0.path()).status().unwrap();
    assert!(mounted.success(), "this test needs to mount a tmpfs");
    let elsewhere = TempDir::new().unwrap();
    let (app, from) = (volume.0.path().join("app"), elsewhere.path().join("app.dbmig-new"));
    drop(database(&app, 4096, 5000, 5000));
    drop(database(&from, 4096, 4000, 4000));
    let facts = ask(Stat { paths: vec![text(&from)], hash: true }).unwrap().files.remove(0).unwrap();
    let call = Replace {
        database: text(&app),
        from: text(&from),
        beside: format!("{}.dbmig-beside", text(&app)),
        expect_sha256: facts.sha256.unwrap(),
        expect_inode: fs::metadata(&app).unwrap().ino(),
        like: (64535, 64536, 0o640),
    };
    let (old_bytes, new_bytes) = (fs::read(&app).unwrap(), fs::read(&from).unwrap());
    Place { volume, _elsewhere: elsewhere, app, old_bytes, new_bytes, call }
}

impl Place {
    fn is_replaced(&self) {
        assert!(fs::read(&self.app).unwrap() == self.new_bytes);
        let seen = fs::metadata(&self.app).unwrap();
        assert_eq!((seen.uid(), seen.gid(), seen.mode() & 0o7777), (64535, 64536, 0o640));
        assert_eq!(fs::read_dir(self.volume.0.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(fs::read(&self.call.from).unwrap() == self.new_bytes);
    }
}

#[test]
fn a_replace_that_dies_anywhere_goes_on_with_room_and_without() {
    for (mib, has_room) in [(16, true), (3, false)] {
        for point in 1..=4 {
            let place = place(mib);
            let died = run(agent(&["ask"]).env("DBMIG_DIE_AT", format!("replace:{point}")), &line(place.call.clone()));
            assert_eq!(died.status.code(), None, "it died at {point}");
            match fs::read(&place.app) {
                Ok(there) => assert!(if point == 4 { there == place.new_bytes } else { there == place.old_bytes }),
                Err(_) => assert!(!has_room && (2..4).contains(&point), "{mib} MiB, {point}"),
            }
            let again = ask(place.call.clone()).unwrap_or_else(|error| panic!("{mib} MiB, {point}: {error:?}"));
            assert_eq!(again.already, point == 4);
            place.is_replaced();
            assert!(ask(place.call.clone()).unwrap().already);
        }
    }
}

#[test]
fn a_replace_of_something_unexpected_changes_nothing() {
    let place = place(16);
    let sha = Replace { expect_sha256: "00".repeat(32), ..place.call.clone() };
    let inode = Replace { expect_inode: place.call.expect_inode + 1_000_000, ..place.call.clone() };
    let name = Replace { beside: format!("{}.mine", place.call.database), ..place.call.clone() };
    let same = Replace { beside: place.call.from.clone(), ..place.call.clone() };
    let refused =
        [(sha, ErrorKind::Changed), (inode, ErrorKind::Changed), (name, ErrorKind::BadRequest), (same, ErrorKind::BadRequest)];
    for (call, kind) in refused {
        assert_eq!(ask(call).unwrap_err().kind, kind);
        assert!(fs::read(&place.call.from).unwrap() == place.new_bytes);
        assert!(fs::read(&place.app).unwrap() == place.old_bytes);
        assert_eq!(fs::read_dir(place.volume.0.path()).unwrap().count(), 1);
    }
}
