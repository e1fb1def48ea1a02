//! Find, stat, remove, copy.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use dbmig_wire::{Copy, ErrorKind, Find, Remove, Stat};
use tempfile::TempDir;

use crate::process::{ask, database, text};

fn copy(dir: &TempDir, from: &str, to: &str) -> Copy {
    let at = |name: &str| text(&dir.path().join(name));
    Copy { from: at(from), to: at(to), replace: false, like: None, expect_sha256: None }
}

fn names(dir: &TempDir) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn find_sees_databases_only_and_follows_no_link() {
    let dir = TempDir::new().unwrap();
    let deep = dir.path().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    drop(database(&deep.join("app.db"), 4096, 10, 10));
    drop(database(&deep.join("app.db.dbmig-new"), 4096, 10, 10));
    fs::write(dir.path().join("text"), vec![b'x'; 5000]).unwrap();
    symlink(&deep, dir.path().join("loop")).unwrap();
    let found = ask(Find { roots: vec![text(dir.path()), text(&deep)] }).unwrap();
    assert_eq!(found.iter().map(|found| found.path.clone()).collect::<Vec<_>>(), [text(&deep.join("app.db"))]);
}

#[test]
fn stat_tells_facts_in_order_and_none_for_what_is_not_there() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "abc").unwrap();
    fs::hard_link(&path, dir.path().join("b")).unwrap();
    let reply = ask(Stat { paths: vec![text(&dir.path().join("x")), text(&path)], hash: true }).unwrap();
    assert!(reply.files[0].is_none());
    let facts = reply.files[1].as_ref().unwrap();
    assert_eq!((facts.bytes, facts.links), (3, 2));
    assert_eq!(facts.sha256.as_deref(), Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    assert!(reply.volume.total_bytes > 0 && reply.volume.block_bytes > 0 && !reply.volume.read_only);
}

#[test]
fn remove_refuses_a_foreign_name_before_it_removes_anything() {
    let dir = TempDir::new().unwrap();
    let (ours, foreign) = (dir.path().join("a.dbmig-old"), dir.path().join("a"));
    fs::write(&ours, "").unwrap();
    fs::write(&foreign, "").unwrap();
    let refused = ask(Remove { paths: vec![text(&ours), text(&foreign)] }).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::BadRequest);
    assert!(ours.exists() && foreign.exists());
    let gone = ask(Remove { paths: vec![text(&ours), text(&ours)] }).unwrap();
    assert_eq!(gone.paths, [text(&ours)]);
}

#[test]
fn a_copy_keeps_bytes_holes_and_mode() {
    let dir = TempDir::new().unwrap();
    let source = File::create(dir.path().join("from")).unwrap();
    source.set_len(8 << 20).unwrap();
    source.write_all_at(&[7; 5000], 3 << 20).unwrap();
    source.set_permissions(fs::Permissions::from_mode(0o640)).unwrap();
    source.sync_all().unwrap();
    let proof = ask(copy(&dir, "from", "to")).unwrap();
    let to = dir.path().join("to");
    assert!(fs::read(&to).unwrap() == fs::read(dir.path().join("from")).unwrap());
    let seen = fs::metadata(&to).unwrap();
    assert!(seen.blocks() * 512 < 1 << 20, "holes stay holes");
    assert_eq!((seen.mode() & 0o7777, proof.bytes), (0o640, 8 << 20));
    assert_eq!(names(&dir), ["from", "to"]);
}

#[test]
fn a_copy_replaces_only_when_told_and_gets_the_owner_asked_for() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("from"), "new").unwrap();
    fs::write(dir.path().join("to"), "old").unwrap();
    assert_eq!(ask(copy(&dir, "from", "to")).unwrap_err().kind, ErrorKind::Changed);
    assert_eq!(fs::read(dir.path().join("to")).unwrap(), b"old");
    let like = Some((64535, 64536, 0o604));
    ask(Copy { replace: true, like, ..copy(&dir, "from", "to") }).unwrap();
    let seen = fs::metadata(dir.path().join("to")).unwrap();
    assert_eq!((seen.uid(), seen.gid(), seen.mode() & 0o7777), (64535, 64536, 0o604));
    assert_eq!(fs::read(dir.path().join("to")).unwrap(), b"new");
}

#[test]
fn a_source_of_another_digest_is_not_copied() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("from"), "new").unwrap();
    let refused = ask(Copy { expect_sha256: Some("00".repeat(32)), ..copy(&dir, "from", "to") }).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Changed);
    assert_eq!(names(&dir), ["from"]);
}

#[test]
fn a_copy_that_does_not_fit_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "none"]).arg(dir.path()).status().unwrap();
    assert!(mounted.success(), "this test needs to mount a tmpfs");
    fs::write(dir.path().join("from"), vec![7; 3 << 20]).unwrap();
    let refused = ask(copy(&dir, "from", "to")).unwrap_err();
    let left = names(&dir);
    assert!(Command::new("umount").arg(dir.path()).status().unwrap().success());
    assert_eq!(refused.kind, ErrorKind::NoSpace);
    assert_eq!(left, ["from"]);
}
