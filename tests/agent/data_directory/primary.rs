//! A standby's data directory becomes a primary's: a real server on it says so itself.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use dbmig_wire::{ClusterRole, ControlState, ErrorKind, MakePrimary, Message};

use super::server::{OPERATION, Pair, all, version};
use crate::process::{agent, ask, error, line, messages, run};

#[test]
fn a_standby_begins_a_timeline_of_its_own_with_every_row_that_it_had() {
    let pair = Pair::with_standby_at_rest();
    let standby = &pair.standby;
    let before = standby.read().unwrap();
    assert_eq!(before.version, version());
    assert_eq!(before.role, ClusterRole::Standby);
    assert!(before.names_primary && !before.pid_file);
    assert_eq!(before.control.state, ControlState::ShutDownInRecovery);
    assert_eq!(before.control.state.to_string(), standby.control("Database cluster state"));
    assert_eq!(before.control.system_identifier, pair.primary.system_identifier());
    assert_eq!(before.control.timeline, 1);
    assert_eq!(before.control.checkpoint, standby.control("Latest checkpoint's REDO location"));
    fs::set_permissions(standby.data.join("postgresql.auto.conf"), fs::Permissions::from_mode(0o640)).unwrap();

    let after = ask(standby.to_primary()).unwrap();
    assert_eq!(after.role, ClusterRole::Recovering);
    assert!(!after.names_primary);
    assert_eq!(after.control, before.control);
    for (name, mode) in [("postgresql.auto.conf", 0o640), ("recovery.signal", 0o600), (".dbmig-promote-7f3a/note.json", 0o600)] {
        let file = fs::metadata(standby.data.join(name)).unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (after.uid, after.gid, mode), "{name}");
    }
    let files = all(&standby.data);
    assert_eq!(ask(standby.to_primary()).unwrap(), after, "a second call finds it done");
    assert_eq!(ask(standby.to_forget()).unwrap_err().kind, ErrorKind::Changed, "it can still go back");
    assert_eq!(all(&standby.data), files);

    let rows = pair.primary.rows();
    pair.primary.sql("INSERT INTO t SELECT generate_series(1, 500)");
    standby.start();
    standby.becomes_primary();
    assert_eq!(standby.timeline(), "2");
    assert_eq!(standby.rows(), rows);
    standby.sql("INSERT INTO t VALUES (7)");
    pair.primary_serves_alone();
    let done = ask(standby.to_primary()).unwrap();
    assert_eq!((done.role, done.control.timeline), (ClusterRole::Primary, 2), "also once a server has run on it");
    assert!(standby.log().contains("selected new timeline ID: 2"), "{}", standby.log());

    let kept = standby.data.join(format!(".dbmig-{OPERATION}"));
    assert!(kept.exists());
    assert_eq!(ask(standby.to_forget()).unwrap(), done);
    assert!(!kept.exists());
    assert_eq!(ask(standby.to_forget()).unwrap(), done);

    // What recovery was told is of no use to a primary, and may go.
    for setting in ["restore_command", "recovery_target_timeline"] {
        standby.sql(&format!("ALTER SYSTEM RESET {setting}"));
    }
    standby.stop("fast");
    standby.start();
    assert!(!standby.is_in_recovery());
    assert_eq!((standby.timeline(), standby.rows()), ("2".to_owned(), rows + 1));
}

#[test]
fn a_base_backup_of_the_new_primary_takes_what_is_kept_along_and_is_no_standby_to_be_put_back() {
    let pair = Pair::with_standby_at_rest();
    ask(pair.standby.to_primary()).unwrap();
    pair.standby.start();
    pair.standby.becomes_primary();
    pair.standby.stop("fast");
    let replica = pair.standby.copy("replica", 5434);
    assert!(replica.data.join(format!(".dbmig-{OPERATION}")).exists());
    replica.write("standby.signal", "");
    assert_eq!(ask(replica.to_standby()).unwrap_err().kind, ErrorKind::Changed);
}

#[test]
fn a_standby_whose_machine_lost_power_is_taken_only_on_consent_and_loses_no_row() {
    let pair = Pair::new();
    pair.standby.kill();
    let standby = &pair.standby;
    let before = all(&standby.data);
    let seen = standby.read().unwrap();
    assert_eq!((seen.control.state, seen.pid_file), (ControlState::ArchiveRecovery, true));
    let error = ask(standby.to_primary()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed);
    assert!(error.message.contains("is in archive recovery: ") && error.message.ends_with("nothing was done"), "{error:?}");
    assert_eq!(all(&standby.data), before);

    let call = MakePrimary { must_be_clean: false, ..standby.to_primary() };
    let output = run(&mut agent(&["ask"]), &line(call));
    let is_told = |message: &Message| matches!(message, Message::Note(note) if note.contains("postmaster.pid"));
    assert!(messages(&output).iter().any(is_told), "{output:?}");
    assert!(!standby.read().unwrap().pid_file);
    standby.start();
    standby.becomes_primary();
    assert_eq!((standby.timeline(), standby.rows()), ("2".to_owned(), pair.primary.rows()));
    pair.primary_serves_alone();
}

#[test]
fn a_standby_that_was_shut_down_at_once_is_taken_on_consent() {
    let pair = Pair::new();
    pair.standby.stop("immediate");
    let standby = &pair.standby;
    assert_eq!(ask(standby.to_primary()).unwrap_err().kind, ErrorKind::Changed);
    ask(MakePrimary { must_be_clean: false, ..standby.to_primary() }).unwrap();
    standby.start();
    standby.becomes_primary();
    assert_eq!((standby.timeline(), standby.rows()), ("2".to_owned(), pair.primary.rows()));
}

#[test]
fn its_owner_can_do_it_all_without_being_root_and_others_can_do_nothing() {
    let pair = Pair::with_standby_at_rest();
    let standby = &pair.standby;
    let before = all(&standby.data);
    let owner = standby.read().unwrap();
    let other = run(&mut standby.helper_of((65534, 65534)), &line(standby.to_primary()));
    assert_eq!(error(&other).kind, ErrorKind::Permission, "{other:?}");
    assert_eq!(all(&standby.data), before);
    let helper = || standby.helper_of((owner.uid, owner.gid));
    let there = run(&mut helper(), &line(standby.to_primary()));
    assert!(there.status.success(), "{there:?}");
    assert_eq!(standby.read().unwrap().role, ClusterRole::Recovering);
    let back = run(&mut helper(), &line(standby.to_standby()));
    assert!(back.status.success(), "{back:?}");
    assert_eq!(all(&standby.data), before);
    standby.start();
    pair.streams();
}

#[test]
fn settings_that_are_not_of_recovery_hold_after_it() {
    let pair = Pair::with_standby_at_rest();
    let standby = &pair.standby;
    let auto = fs::read_to_string(standby.data.join("postgresql.auto.conf")).unwrap();
    standby.write("more.conf", "maintenance_work_mem = '17MB'\n");
    let odd = "# a comment of ours: restore_command = 'x'\n  WORK_MEM '5MB' # why\ninclude 'more.conf'\n\
        app.restore_command = 'it''s \\'ours\\''\nRestore_Command = 'cp /archive/%f %p'\nrecovery_target_name 'gone'\n\
        recovery_min_apply_delay = '1h'\nPRIMARY_SLOT_NAME='none'\nlog_line_prefix = '%m ''p'' '";
    standby.write("postgresql.auto.conf", format!("{auto}{odd}"));
    assert!(ask(standby.to_primary()).unwrap().role == ClusterRole::Recovering);
    standby.start();
    standby.becomes_primary();
    let settings = [
        ("work_mem", "5MB"),
        ("maintenance_work_mem", "17MB"),
        ("app.restore_command", "it's 'ours'"),
        ("log_line_prefix", "%m 'p'"),
        ("restore_command", "false"),
        ("primary_conninfo", ""),
        ("primary_slot_name", ""),
        ("recovery_target_name", ""),
        ("recovery_min_apply_delay", "0"),
    ];
    for (name, value) in settings {
        assert_eq!(standby.sql(&format!("SHOW {name}")), value, "{name}");
    }
    assert_eq!(standby.timeline(), "2");
}
