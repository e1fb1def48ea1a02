//! What is no data directory, or a damaged one, and the control files of every version.

use std::fs;
use std::path::Path;

use crc::{CRC_32_ISCSI, Crc};
use dbmig_wire::{DataDirectory, ErrorKind, ReadDataDirectory};
use tempfile::TempDir;

use crate::process::{ask, text};

/// A directory with nothing but what is looked at.
pub(super) fn skeleton(version: &str, control: &[u8]) -> TempDir {
    let folder = TempDir::new().unwrap();
    write_skeleton(folder.path(), version, control);
    folder
}

pub(super) fn write_skeleton(folder: &Path, version: &str, control: &[u8]) {
    for name in ["global", "pg_wal"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    fs::write(folder.join("PG_VERSION"), format!("{version}\n")).unwrap();
    fs::write(folder.join("global/pg_control"), control).unwrap();
}

fn read(folder: &Path) -> Result<DataDirectory, dbmig_wire::AgentError> {
    ask(ReadDataDirectory { path: text(folder) })
}

/// Words of `controls.txt`, and the bytes as the file has them.
pub(super) fn real() -> Vec<([&'static str; 5], Vec<u8>)> {
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
    let of_line = |line: &'static str| {
        let words: Vec<&str> = line.split(' ').collect();
        let mut bytes: Vec<u8> = words[5].as_bytes().chunks(2).map(byte).collect();
        bytes.resize(8192, 0);
        (words[..5].try_into().unwrap(), bytes)
    };
    include_str!("controls.txt").lines().filter(|line| !line.starts_with('#')).map(of_line).collect()
}

/// Another state, with the sum that it then has.
pub(super) fn with_state(control: &[u8], state: u32, sum_at: usize) -> Vec<u8> {
    let mut control = control.to_vec();
    control[16..20].copy_from_slice(&state.to_ne_bytes());
    let sum = Crc::<u32>::new(&CRC_32_ISCSI).checksum(&control[..sum_at]);
    control[sum_at..sum_at + 4].copy_from_slice(&sum.to_ne_bytes());
    control
}

#[test]
fn the_control_file_of_every_version_is_read_and_any_changed_byte_is_seen() {
    let all = real();
    assert_eq!(all.iter().map(|(words, _)| words[0]).collect::<Vec<_>>(), ["11", "12", "13", "14", "15", "16", "17", "18"]);
    for ([version, identifier, state, timeline, redo], bytes) in all {
        let folder = skeleton(version, &bytes);
        let seen = read(folder.path()).unwrap();
        assert_eq!(seen.version, version);
        assert_eq!(seen.major.to_string(), version);
        let control = seen.control;
        assert_eq!((&control.system_identifier[..], &control.checkpoint[..]), (identifier, redo));
        assert_eq!((control.timeline.to_string(), serde_json::json!(control.state)), (timeline.to_owned(), state.into()));
        for at in [0, 9, 16, 24, 48, 200, 279] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            fs::write(folder.path().join("global/pg_control"), damaged).unwrap();
            let error = read(folder.path()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Corrupt, "{version} byte {at}: {error:?}");
        }
    }
}

#[test]
fn what_is_no_data_directory_or_a_damaged_one_is_said() {
    let (_, bytes) = real().swap_remove(4);
    let says = |folder: &Path, kind: ErrorKind, words: &str| {
        let error = read(folder).unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
        assert!(error.message.contains(words), "{error:?}");
    };
    let none = TempDir::new().unwrap();
    says(none.path(), ErrorKind::NotFound, "has no PG_VERSION in it");
    says(&none.path().join("gone"), ErrorKind::NotFound, "has no PG_VERSION in it");
    says(Path::new("data"), ErrorKind::BadRequest, "no absolute path");
    for version in ["9.6", "10", "19", "", "x"] {
        says(skeleton(version, &bytes).path(), ErrorKind::Unsupported, "which is not known here");
    }
    says(skeleton("17", &bytes).path(), ErrorKind::Corrupt, "is of format 1300, that of PostgreSQL 17 is 1700");
    says(skeleton("15", &bytes[..100]).path(), ErrorKind::Corrupt, "has 100 bytes only");
    says(skeleton("15", b"").path(), ErrorKind::Corrupt, "has 0 bytes only");
    says(skeleton("15", &with_state(&bytes, 7, 288)).path(), ErrorKind::Corrupt, "a state that is not known: 7");
    let without = skeleton("15", &bytes);
    fs::remove_file(without.path().join("global/pg_control")).unwrap();
    says(without.path(), ErrorKind::Corrupt, "is not there");
}
