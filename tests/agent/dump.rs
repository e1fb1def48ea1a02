//! What a program writes is kept only when it is whole.

use std::collections::BTreeMap;
use std::fs;

use dbmig_wire::{Dump, ErrorKind};
use tempfile::TempDir;

use crate::process::{ask, text};

fn dump(dir: &TempDir, script: &str) -> Dump {
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let environment = BTreeMap::from([("SECRET".to_owned(), "s3cret".to_owned())]);
    Dump { command, environment, to: text(&dir.path().join("x.sql")), last_line: None, check: Vec::new() }
}

fn names(dir: &TempDir) -> Vec<String> {
    fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn what_a_program_writes_is_kept_and_proven() {
    let dir = TempDir::new().unwrap();
    let whole = "printf \"%s\\n\" $SECRET; i=0; while [ $i -lt 20000 ]; do echo \"row $i\"; i=$((i+1)); done; echo '-- Dump completed on 1'";
    let check = ["grep", "-q", "row 19999"].map(str::to_owned).to_vec();
    let call = Dump { last_line: Some("-- Dump completed".to_owned()), check, ..dump(&dir, whole) };
    let proof = ask(call.clone()).unwrap();
    let kept = fs::read_to_string(&call.to).unwrap();
    assert!(kept.starts_with("s3cret\nrow 0\n") && kept.len() as u64 == proof.bytes);
    assert_eq!(names(&dir), ["x.sql"]);
    // Again, in its place.
    ask(dump(&dir, "echo new")).unwrap();
    assert_eq!(fs::read_to_string(&call.to).unwrap(), "new\n");
}

#[test]
fn what_is_not_whole_is_not_kept_and_what_was_there_stays() {
    let dir = TempDir::new().unwrap();
    ask(dump(&dir, "echo old")).unwrap();
    let complete = |script: &str| Dump { last_line: Some("-- Dump completed".to_owned()), ..dump(&dir, script) };
    let no_check = |check: &[&str]| Dump { check: check.iter().map(|word| (*word).to_owned()).collect(), ..dump(&dir, "echo x") };
    for (call, kind, message, detail) in [
        (
            dump(&dir, "echo half; echo 'server closed the connection' >&2; exit 3"),
            ErrorKind::Other,
            "exit code 3",
            "server closed",
        ),
        (dump(&dir, "echo half; kill -9 $$"), ErrorKind::Other, "signal", ""),
        (complete("echo half"), ErrorKind::Unproven, "does not end with", ""),
        (complete(":"), ErrorKind::Unproven, "does not end with", ""),
        (no_check(&["sh", "-c", "echo 'not an archive' >&2; exit 1"]), ErrorKind::Unproven, "exit code 1", "not an archive"),
        (no_check(&["no-such-program"]), ErrorKind::NotFound, "cannot run no-such-program", ""),
        (Dump { command: vec!["no-such-tool".to_owned()], ..dump(&dir, "") }, ErrorKind::NotFound, "cannot run no-such-tool", ""),
    ] {
        let error = ask(call.clone()).unwrap_err();
        assert_eq!(error.kind, kind, "{call:?}: {error:?}");
        assert!(error.message.contains(message), "{call:?}: {error:?}");
        assert!(detail.is_empty() || error.details.iter().any(|line| line.contains(detail)), "{error:?}");
        assert_eq!((fs::read_to_string(&call.to).unwrap().as_str(), names(&dir).len()), ("old\n", 1), "{call:?}");
    }
}
