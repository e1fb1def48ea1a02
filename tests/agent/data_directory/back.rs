//! And back to a standby, while it can still be one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use dbmig_wire::{ClusterRole, ControlState, ErrorKind};

use super::server::{Pair, all};
use crate::process::ask;

#[test]
fn one_on_which_no_server_ran_is_what_it_was_and_streams_again() {
    let pair = Pair::with_standby_at_rest();
    let standby = &pair.standby;
    fs::set_permissions(standby.data.join("standby.signal"), fs::Permissions::from_mode(0o644)).unwrap();
    standby.write("recovery.signal", "somebody's");
    let before = all(&standby.data);
    ask(standby.to_primary()).unwrap();
    assert_ne!(all(&standby.data), before);
    pair.primary.sql("INSERT INTO t VALUES (4)");
    let back = ask(standby.to_standby()).unwrap();
    assert_eq!((back.role, back.names_primary), (ClusterRole::Standby, true));
    assert_eq!(all(&standby.data), before);
    assert_eq!(ask(standby.to_standby()).unwrap(), back, "a second call finds it done");
    assert_eq!(all(&standby.data), before);
    standby.start();
    pair.streams();
    // And all of it once more, with the same operation.
    standby.stop("fast");
    ask(standby.to_primary()).unwrap();
    standby.start();
    standby.becomes_primary();
    assert_eq!(standby.timeline(), "2");
}

#[test]
fn a_directory_without_settings_of_its_own_has_none_again() {
    let pair = Pair::with_standby_at_rest();
    let standby = &pair.standby;
    fs::remove_file(standby.data.join("postgresql.auto.conf")).unwrap();
    let before = all(&standby.data);
    assert!(!standby.read().unwrap().names_primary);
    ask(standby.to_primary()).unwrap();
    assert!(standby.data.join("postgresql.auto.conf").exists());
    ask(standby.to_standby()).unwrap();
    assert_eq!(all(&standby.data), before);
}

#[test]
fn one_on_which_a_server_ran_stays_a_primary() {
    let pair = Pair::with_standby_at_rest();
    let standby = &pair.standby;
    ask(standby.to_primary()).unwrap();
    standby.start();
    standby.becomes_primary();
    let refused = |state: ControlState| {
        let before = all(&standby.data);
        assert_eq!(standby.read().unwrap().control.state, state);
        let error = ask(standby.to_standby()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Changed);
        assert!(error.message.contains("is on timeline 2, and was on 1"), "{error:?}");
        assert_eq!(all(&standby.data), before, "nothing was done");
    };
    refused(ControlState::InProduction);
    standby.stop("fast");
    refused(ControlState::ShutDown);
    standby.start();
    standby.sql("INSERT INTO t VALUES (5)");
    standby.kill();
    refused(ControlState::InProduction);
    // Not even with a standby's file put there by hand.
    standby.write("standby.signal", "");
    refused(ControlState::InProduction);
}

#[test]
fn one_on_which_a_server_went_on_without_a_new_timeline_stays_a_primary() {
    let pair = Pair::with_standby_at_rest();
    let standby = &pair.standby;
    ask(standby.to_primary()).unwrap();
    // Somebody takes away what makes it begin a timeline.
    fs::remove_file(standby.data.join("recovery.signal")).unwrap();
    let lost = ask(standby.to_primary()).unwrap_err();
    assert_eq!(lost.kind, ErrorKind::Changed, "{lost:?}");
    standby.start();
    assert_eq!((standby.is_in_recovery(), standby.timeline()), (false, "1".to_owned()));
    standby.stop("fast");
    let before = all(&standby.data);
    let error = ask(standby.to_standby()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed);
    assert!(error.message.contains("is shut down, and was shut down in recovery"), "{error:?}");
    assert_eq!(all(&standby.data), before);
}

#[test]
fn one_whose_server_never_got_through_recovery_streams_again() {
    let pair = Pair::with_standby_at_rest();
    let standby = &pair.standby;
    ask(standby.to_primary()).unwrap();
    // Fewer than the WAL's primary had: recovery is refused (a chart with other values than the old release's does that).
    assert!(!standby.starts_with("-c max_connections=20"));
    assert!(standby.log().contains("insufficient parameter settings"), "{}", standby.log());
    ask(standby.to_standby()).unwrap();
    standby.start();
    pair.streams();
}
