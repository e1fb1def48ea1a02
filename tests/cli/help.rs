//! What `--help` says, word for word.

use super::{call, installed_as};

fn help(args: &[&str]) -> String {
    let called = call(args);
    assert_eq!((called.code, called.stderr.as_str()), (Some(0), ""));
    called.stdout
}

#[test]
fn the_root_lists_commands_connection_flags_and_exit_codes() {
    insta::assert_snapshot!(help(&["--help"]));
}

#[test]
fn the_short_help_of_the_root_is_short() {
    insta::assert_snapshot!(help(&["-h"]));
}

#[test]
fn vacuum_explains_every_flag() {
    insta::assert_snapshot!(before_connection(&help(&["vacuum", "--help"])));
}

#[test]
fn repair_explains_every_flag() {
    insta::assert_snapshot!(before_connection(&help(&["repair", "--help"])));
}

#[test]
fn the_words_of_other_tools_explain_what_they_stand_for() {
    for word in ["force", "stamp", "unlock"] {
        insta::assert_snapshot!(format!("{word}_explains_every_flag"), before_connection(&help(&[word, "--help"])));
    }
}

#[test]
fn run_explains_every_flag() {
    insta::assert_snapshot!(before_connection(&help(&["run", "--help"])));
}

#[test]
fn rollback_explains_every_flag() {
    insta::assert_snapshot!(before_connection(&help(&["rollback", "--help"])));
}

#[test]
fn start_explains_every_flag() {
    insta::assert_snapshot!(before_connection(&help(&["start", "--help"])));
}

#[test]
fn finish_explains_every_flag() {
    insta::assert_snapshot!(before_connection(&help(&["finish", "--help"])));
}

#[test]
fn promote_explains_every_flag() {
    insta::assert_snapshot!(before_connection(&help(&["promote", "--help"])));
}

#[test]
fn route_explains_every_flag() {
    insta::assert_snapshot!(before_connection(&help(&["route", "--help"])));
}

#[test]
fn resume_explains_every_flag() {
    insta::assert_snapshot!(before_connection(&help(&["resume", "--help"])));
}

#[test]
fn undo_explains_every_flag() {
    insta::assert_snapshot!(before_connection(&help(&["undo", "--help"])));
}

#[test]
fn history_explains_every_flag() {
    insta::assert_snapshot!(before_connection(&help(&["history", "--help"])));
}

#[test]
fn cleanup_explains_every_flag() {
    insta::assert_snapshot!(before_connection(&help(&["cleanup", "--help"])));
}

#[test]
fn version_explains_every_flag() {
    insta::assert_snapshot!(before_connection(&help(&["version", "--help"])));
}

#[test]
fn completion_explains_its_ways() {
    insta::assert_snapshot!(before_connection(&help(&["completion", "--help"])));
}

#[test]
fn every_exit_code_is_in_the_help() {
    let text = help(&["--help"]);
    for (exit, meaning) in dbmig::exit::Exit::ALL {
        assert!(text.contains(&format!("{:>3}  {meaning}", exit.code())), "{meaning}");
    }
}

#[test]
fn the_usage_is_that_of_kubectl_whatever_the_file_is_called() {
    let (_folder, other) = installed_as("other-name");
    let output = std::process::Command::new(other).arg("-h").env_clear().output().expect("the program starts");
    assert!(String::from_utf8_lossy(&output.stdout).contains("Usage: kubectl dbmig "));
}

/// The connection flags are the same everywhere and shown by the root's snapshot.
fn before_connection(text: &str) -> String {
    let (own, rest) = text.split_once("\nConnection:\n").expect("connection flags are there");
    let examples = rest.split_once("\nExamples:\n").map(|(_, examples)| format!("\nExamples:\n{examples}")).unwrap_or_default();
    format!("{own}{examples}")
}
