//! What is done to the files of versions that no server is here of. A PostgreSQL 11 has run on files like these.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dbmig_wire::{ClusterRole, DataDirectory, ErrorKind, MakePrimary, MakeStandby, ReadDataDirectory};
use tempfile::TempDir;

use super::control::{real, skeleton, with_state, write_skeleton};
use super::server::{OPERATION, all};
use crate::mount::Mount;
use crate::process::{agent, ask, line, run, text};

const OF_STANDBY: &str =
    "# of the old release\nstandby_mode = 'on'\nprimary_conninfo = 'host=alpha user=repl'\ntrigger_file = '/tmp/now'\n";
const OF_PRIMARY: &str = "standby_mode = 'off'\nrestore_command = 'false'\nrecovery_target_timeline = 'latest'\n";

/// Version 11, shut down in recovery.
fn version_11() -> TempDir {
    let (words, bytes) = real().swap_remove(0);
    assert_eq!(words[0], "11");
    let folder = skeleton("11", &with_state(&bytes, 2, 280));
    fs::write(folder.path().join("recovery.conf"), OF_STANDBY).unwrap();
    fs::set_permissions(folder.path().join("recovery.conf"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(folder.path().join("postgresql.auto.conf"), "restore_command = 'mine'\n").unwrap();
    folder
}

fn read(folder: &Path) -> DataDirectory {
    ask(ReadDataDirectory { path: text(folder) }).unwrap()
}

fn to_primary(folder: &Path) -> MakePrimary {
    let (path, system_identifier) = (text(folder), read(folder).control.system_identifier);
    MakePrimary { path, operation: OPERATION.to_owned(), system_identifier, must_be_clean: true }
}

fn to_standby(folder: &Path) -> MakeStandby {
    MakeStandby { path: text(folder), operation: OPERATION.to_owned() }
}

#[test]
fn the_recovery_conf_of_version_11_is_replaced_and_put_back_files_only() {
    let folder = version_11();
    let data = folder.path();
    let before = all(data);
    assert_eq!((read(data).role, read(data).names_primary), (ClusterRole::Standby, true));
    for place in ["primary:1", "primary:2", "primary:3", "primary:4", ""] {
        if !place.is_empty() {
            let died = run(agent(&["ask"]).env("DBMIG_DIE_AT", place), &line(to_primary(data)));
            assert!(died.status.code().is_none());
            assert_eq!(fs::read_to_string(data.join("recovery.conf")).unwrap(), OF_STANDBY, "{place}");
        }
        let seen = ask(to_primary(data)).unwrap();
        assert_eq!((seen.role, seen.names_primary), (ClusterRole::Recovering, false));
        assert_eq!(fs::read_to_string(data.join("recovery.conf")).unwrap(), OF_PRIMARY);
        assert_eq!(ask(to_primary(data)).unwrap(), seen);
        assert_eq!(ask(to_standby(data)).unwrap().role, ClusterRole::Standby);
        assert_eq!(all(data), before, "{place}");
    }
}

#[test]
fn a_version_11_that_has_ended_recovery_is_done_and_never_put_back_files_only() {
    let folder = version_11();
    let data = folder.path();
    ask(to_primary(data)).unwrap();
    // As the server does at the end of recovery.
    fs::rename(data.join("recovery.conf"), data.join("recovery.done")).unwrap();
    assert_eq!(ask(to_primary(data)).unwrap_err().kind, ErrorKind::Changed, "without a new timeline it was not ours");
    fs::write(data.join("pg_wal/00000003.history"), "").unwrap();
    assert_eq!(ask(to_primary(data)).unwrap().role, ClusterRole::Primary);
    let before = all(data);
    let error = ask(to_standby(data)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed);
    assert!(error.message.contains("is on timeline 3, and was on 2"), "{error:?}");
    assert_eq!(all(data), before);
}

#[test]
fn a_version_11_that_only_restores_is_no_standby_files_only() {
    for (conf, role) in [
        ("restore_command = 'cp'\n", ClusterRole::Recovering),
        ("standby_mode = off\nprimary_conninfo = ''\n", ClusterRole::Recovering),
        ("STANDBY_MODE yes\n", ClusterRole::Standby),
    ] {
        let folder = version_11();
        fs::write(folder.path().join("recovery.conf"), conf).unwrap();
        assert_eq!(read(folder.path()).role, role, "{conf}");
        assert_eq!(ask(to_primary(folder.path())).is_ok(), role == ClusterRole::Standby, "{conf}");
    }
}

#[test]
fn a_full_volume_leaves_a_standby_and_the_call_is_repeated_files_only() {
    let volume = Mount::tmpfs(256 << 10);
    let data = volume.path();
    let (words, bytes) = real().swap_remove(6);
    assert_eq!(words[0], "17");
    write_skeleton(data, "17", &with_state(&bytes, 2, 288));
    fs::write(data.join("standby.signal"), "").unwrap();
    fs::write(data.join("postgresql.auto.conf"), "primary_conninfo = 'host=alpha'\n").unwrap();
    volume.leave(0);
    let error = ask(to_primary(data)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace, "{error:?}");
    assert!(error.message.contains("0 bytes are free"), "{error:?}");
    assert_eq!((read(data).role, read(data).names_primary), (ClusterRole::Standby, true));
    volume.make_room();
    // Room for what is kept, not for what takes its place.
    volume.leave(2 * 4096);
    let error = ask(to_primary(data)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace, "{error:?}");
    assert_eq!((read(data).role, read(data).names_primary), (ClusterRole::Standby, true));
    volume.make_room();
    assert_eq!(ask(to_primary(data)).unwrap().role, ClusterRole::Recovering);
    assert_eq!(ask(to_standby(data)).unwrap().role, ClusterRole::Standby);
    let mut names: Vec<_> = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["PG_VERSION", "global", "pg_wal", "postgresql.auto.conf", "standby.signal"]);
}
