//! Extended attributes and ACLs go along when a file takes another's place.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dbmig_wire::{Copy, ErrorKind, Message, Replace, Restore, Stat, Swap};
use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};
use tempfile::TempDir;

use crate::mount::Mount;
use crate::process::{agent, ask, database, line, messages, run, text};

/// `user::rw-,user:64535:rw-,group::r--,mask::rw-,other::---`, as Linux keeps it (`posix_acl_xattr.h`): a version, then of
/// each entry tag, rights and id.
fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(0x01, 6, u32::MAX), (0x02, 6, 64535), (0x04, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 0, u32::MAX)];
    let entry = |(tag, rights, id): (u16, u16, u32)| [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat();
    [2_u32.to_le_bytes().to_vec(), entries.map(entry).concat()].concat()
}

const ACL: &str = "system.posix_acl_access";
const LABEL: &[u8] = b"system_u:object_r:container_file_t:s0:c1,c2\0";

fn get(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    getxattr(path, name, &mut value[..]).ok().map(|length| value[..length].to_vec())
}

fn set(path: &Path, name: &str, value: &[u8]) {
    setxattr(path, name, value, XattrFlags::empty()).unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Names of all attributes, sorted.
fn listed(path: &Path) -> Vec<String> {
    let mut list = vec![0; 4096];
    let length = listxattr(path, &mut list[..]).unwrap();
    let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut names: Vec<String> = names.map(|name| String::from_utf8(name.to_vec()).unwrap()).collect();
    names.sort();
    names
}

fn dress(path: &Path) {
    set(path, ACL, &acl());
    set(path, "user.owner", b"team a");
    set(path, "user.empty", b"");
    set(path, "security.selinux", LABEL);
}

fn is_dressed(path: &Path) {
    assert_eq!(get(path, ACL).unwrap(), acl());
    assert_eq!(get(path, "user.owner").unwrap(), b"team a");
    assert_eq!(get(path, "user.empty").unwrap(), b"");
    assert_eq!(get(path, "security.selinux").unwrap(), LABEL);
    assert_eq!(listed(path), ["security.selinux", ACL, "user.empty", "user.owner"]);
    assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o660, "the ACL's mask is what the mode shows");
}

fn digest(path: &Path) -> (u64, String) {
    let facts = ask(Stat { paths: vec![text(path)], hash: true }).unwrap().files.remove(0).unwrap();
    (facts.bytes, facts.sha256.unwrap())
}

/// A dressed database and a new file for it beside.
fn swap_on(folder: &Path) -> Swap {
    let (app, new) = (folder.join("app"), folder.join("app.dbmig-new"));
    drop(database(&app, 4096, 100, 100));
    dress(&app);
    drop(database(&new, 4096, 50, 50));
    // What a folder with a default ACL gives each new file.
    set(&new, ACL, &{
        let mut other = acl();
        other[6 + 8] = 4;
        other
    });
    set(&new, "user.foreign", b"x");
    let (expect_bytes, expect_sha256) = digest(&new);
    let expect_inode = fs::metadata(&app).unwrap().ino();
    let old = Some(text(&folder.join("app.dbmig-old")));
    Swap { database: text(&app), new: text(&new), old, expect_bytes, expect_sha256, expect_inode }
}

#[test]
fn a_swap_and_its_way_back_keep_acls_and_attributes() {
    for volume in [Mount::tmpfs(8 << 20), Mount::ext4(8 << 20)] {
        let (app, old) = (volume.path().join("app"), volume.path().join("app.dbmig-old"));
        let call = swap_on(volume.path());
        let output = run(&mut agent(&["ask"]), &line(call.clone()));
        assert!(!messages(&output).iter().any(|message| matches!(message, Message::Note(_))), "{output:?}");
        assert_ne!(fs::metadata(&app).unwrap().ino(), call.expect_inode);
        is_dressed(&app);
        is_dressed(&old);
        let set_aside = format!("{}.dbmig-aside", text(&app));
        ask(Restore { database: text(&app), old: text(&old), set_aside }).unwrap();
        assert_eq!(fs::metadata(&app).unwrap().ino(), call.expect_inode);
        is_dressed(&app);
    }
}

#[test]
fn a_file_without_attributes_gets_none() {
    let volume = Mount::ext4(8 << 20);
    let call = swap_on(volume.path());
    let app = volume.path().join("app");
    for name in listed(&app) {
        removexattr(&app, name.as_str()).unwrap();
    }
    fs::set_permissions(&app, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    ask(call).unwrap();
    assert_eq!(listed(&app), Vec::<String>::new());
    assert_eq!(fs::metadata(&app).unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn a_copy_and_a_replace_keep_them_even_when_the_old_file_goes_first() {
    let (volume, elsewhere) = (Mount::tmpfs(2 << 20), TempDir::new().unwrap());
    let (app, from) = (volume.path().join("app"), elsewhere.path().join("app.dbmig-new"));
    drop(database(&app, 4096, 3000, 3000));
    dress(&app);
    drop(database(&from, 4096, 2500, 2500));
    let copy = elsewhere.path().join("kept");
    ask(Copy { from: text(&app), to: text(&copy), replace: false, like: None, expect_sha256: None }).unwrap();
    is_dressed(&copy);
    let call = Replace {
        database: text(&app),
        from: text(&from),
        beside: format!("{}.dbmig-beside", text(&app)),
        expect_sha256: digest(&from).1,
        expect_inode: fs::metadata(&app).unwrap().ino(),
        like: (0, 0, 0o660),
    };
    let died = run(agent(&["ask"]).env("DBMIG_DIE_AT", "replace:2"), &line(call.clone()));
    assert!(died.status.code().is_none() && !app.exists(), "it died after the old file had to go");
    ask(call).unwrap();
    assert_eq!(fs::metadata(&app).unwrap().len(), fs::metadata(&from).unwrap().len());
    is_dressed(&app);
}

#[test]
fn a_file_system_without_attributes_is_told_and_stops_nothing() {
    let (dir, plain) = (TempDir::new().unwrap(), Mount::ramfs());
    let (from, to) = (dir.path().join("app"), plain.path().join("copy"));
    drop(database(&from, 4096, 100, 100));
    dress(&from);
    let call = Copy { from: text(&from), to: text(&to), replace: false, like: None, expect_sha256: None };
    let output = run(&mut agent(&["ask"]), &line(call));
    assert!(output.status.success(), "{output:?}");
    let told = messages(&output).into_iter().find_map(|message| match message {
        Message::Note(note) => Some(note),
        _ => None,
    });
    let told = told.expect("a note");
    assert!(told.contains(ACL) && told.contains("user.owner") && told.contains(&text(&to)), "{told}");
    assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap());
}

#[test]
fn an_attribute_too_long_for_the_file_system_is_told_and_stops_nothing() {
    let (source, target) = (Mount::tmpfs(8 << 20), Mount::ext4(8 << 20));
    let (from, to) = (source.path().join("app"), target.path().join("copy"));
    drop(database(&from, 4096, 100, 100));
    dress(&from);
    set(&from, "user.long", &[b'x'; 9000]);
    let call = Copy { from: text(&from), to: text(&to), replace: false, like: None, expect_sha256: None };
    let output = run(&mut agent(&["ask"]), &line(call));
    assert!(output.status.success(), "{output:?}");
    let is_told = |message: &Message| matches!(message, Message::Note(note) if note.ends_with("original: user.long"));
    assert!(messages(&output).iter().any(is_told), "{output:?}");
    is_dressed(&to);
}

#[test]
fn attributes_that_do_not_fit_stop_the_swap_before_it_is_seen() {
    let volume = Mount::ext4(8 << 20);
    let call = swap_on(volume.path());
    let app = volume.path().join("app");
    let before = fs::read(&app).unwrap();
    // More than fits beside the inode: it takes a block of its own.
    set(&app, "user.long", &[b'x'; 2000]);
    removexattr(&call.new, "user.foreign").unwrap();
    removexattr(&call.new, ACL).unwrap();
    volume.leave(0);
    let error = ask(call.clone()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace, "{error:?}");
    assert!(error.message.contains("user.long") && error.message.contains(&text(volume.path())), "{error:?}");
    assert!(fs::read(&app).unwrap() == before && fs::metadata(&app).unwrap().ino() == call.expect_inode);
    assert!(File::open(call.old.as_ref().unwrap()).is_err());
    volume.make_room();
    ask(call).unwrap();
    assert_eq!(get(&app, "user.long").unwrap(), [b'x'; 2000]);
}
