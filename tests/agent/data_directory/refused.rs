//! What is refused, with everything left as it was.

use std::fs;

use dbmig_wire::{AgentError, ErrorKind, MakePrimary, MakeStandby};

use super::server::{Pair, Server, all};
use crate::process::{ask, text};

fn refuses(server: &Server, call: MakePrimary, kind: ErrorKind, says: &str) {
    let before = all(&server.data);
    let error: AgentError = ask(call).unwrap_err();
    assert_eq!(error.kind, kind, "{error:?}");
    assert!(error.message.contains(says) && error.message.contains(server.data.to_str().unwrap()), "{error:?}");
    assert_eq!(all(&server.data), before);
}

#[test]
fn a_directory_that_is_not_the_expected_standby_is_left_as_it_is() {
    let pair = Pair::new();
    let (standby, primary) = (&pair.standby, &pair.primary);
    let any_state = |server: &Server| MakePrimary { must_be_clean: false, ..server.to_primary() };
    // One that runs, and what a copy of its files would show.
    let error = ask(any_state(standby)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy);
    assert!(error.message.contains("a PostgreSQL server runs on"), "{error:?}");
    assert_eq!(ask(any_state(primary)).unwrap_err().kind, ErrorKind::Changed);
    primary.sql("CHECKPOINT");
    standby.stop("fast");

    let other = MakePrimary { system_identifier: "7".to_owned(), ..standby.to_primary() };
    refuses(standby, other, ErrorKind::Changed, "expected was 7");
    for operation in ["", "a/b", "..", "a b"] {
        let error = ask(MakePrimary { operation: operation.to_owned(), ..standby.to_primary() }).unwrap_err();
        assert_eq!(error.kind, ErrorKind::BadRequest, "{error:?}");
    }
    let not_made = all(&standby.data);
    ask(standby.to_standby()).unwrap();
    assert_eq!(all(&standby.data), not_made, "a standby already");

    primary.stop("fast");
    refuses(primary, primary.to_primary(), ErrorKind::Changed, "is no standby's, and not made a primary's by this operation");
    let error = ask(primary.to_standby()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Changed);
    assert!(error.message.contains("nothing of this operation is kept"), "{error:?}");
    // A standby's file alone makes none of it.
    primary.write("standby.signal", "");
    refuses(primary, any_state(primary), ErrorKind::Changed, "is shut down: no standby left it so");

    // Made a primary's by another operation.
    ask(standby.to_primary()).unwrap();
    let other = MakePrimary { operation: "promote-other".to_owned(), ..standby.to_primary() };
    refuses(standby, other, ErrorKind::Changed, "not made a primary's by this operation");
    let other = MakeStandby { operation: "promote-other".to_owned(), path: text(&standby.data) };
    assert_eq!(ask(other).unwrap_err().kind, ErrorKind::Changed);
    fs::write(standby.data.join(".dbmig-promote-7f3a/note.json"), "{").unwrap();
    assert_eq!(ask(standby.to_standby()).unwrap_err().kind, ErrorKind::Changed);
}

#[test]
fn a_base_backup_that_no_server_has_begun_on_is_left_as_it_is() {
    let pair = Pair::new();
    let backup = pair.primary.back_up("backup", 5434);
    let call = MakePrimary { must_be_clean: false, ..backup.to_primary() };
    refuses(&backup, call, ErrorKind::Changed, "is in production: no standby left it so");
    let backup = pair.standby.back_up("second", 5435);
    let call = MakePrimary { must_be_clean: false, ..backup.to_primary() };
    refuses(&backup, call, ErrorKind::Changed, "is a base backup that no server has begun on");
}
