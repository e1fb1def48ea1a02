//! Command lines that make no sense: exit code 2, an explanation on stderr, nothing on stdout.

use super::call;

/// The first line of the explanation.
fn refused(args: &[&str]) -> String {
    let called = call(args);
    assert_eq!((called.code, called.stdout.as_str()), (Some(2), ""), "{args:?}: {}", called.stderr);
    called.stderr.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn nothing_at_all_shows_the_help_on_stderr() {
    assert!(refused(&[]).starts_with("Get a database migration"));
}

#[test]
fn unknown_words_and_flags_are_named() {
    insta::assert_snapshot!(refused(&["vacum", "x"]), @"error: unrecognized subcommand 'vacum'");
    insta::assert_snapshot!(refused(&["vacuum", "x", "--kep", "t: a"]), @"error: unexpected argument '--kep' found");
}

#[test]
fn a_target_is_one_or_two_words() {
    insta::assert_snapshot!(refused(&["vacuum"]), @"error: the following required arguments were not provided:");
    insta::assert_snapshot!(refused(&["vacuum", "a", "b", "c"]), @"error: unexpected value 'c' for '<TYPE/NAME>...' found; no more were expected");
}

#[test]
fn a_version_stands_behind_its_target() {
    insta::assert_snapshot!(refused(&["force", "4"]), @"error: 2 values required by '<TYPE/NAME> <VERSION>...'; only 1 was provided");
    insta::assert_snapshot!(refused(&["stamp", "3f2a", "deploy/keeper", "--yes"]), @"error: the target comes before the version");
}

#[test]
fn bad_values_say_what_is_accepted() {
    let bad = |flag: &str, value: &str| refused(&["vacuum", "x", flag, value]);
    insta::assert_snapshot!(bad("--keep", "events"), @"error: invalid value 'events' for '--keep <'TABLE: CONDITION'>': no colon after the table's name; write it as 'TABLE: CONDITION', for example 'events: created_at > 1700000000'");
    insta::assert_snapshot!(bad("--timeout", "5 minutes"), @"error: invalid value '5 minutes' for '--timeout <DURATION>': not a duration: write it like 30s, 5m, 1h30m or 500ms; a bare number counts seconds");
    insta::assert_snapshot!(bad("--request-timeout", "-1"), @"error: unexpected argument '-1' found");
    insta::assert_snapshot!(bad("--request-timeout", "soon"), @"error: invalid value 'soon' for '--request-timeout <DURATION>': not a duration: write it like 30s, 5m, 1h30m or 500ms; a bare number counts seconds");
    insta::assert_snapshot!(bad("--scratch", "pvc:"), @"error: invalid value 'pvc:' for '--scratch <pvc[:CLASS]|node|local>': expected pvc, pvc:CLASS, node or local");
    insta::assert_snapshot!(bad("--keep-old", "node"), @"error: invalid value 'node' for '--keep-old <pvc[:CLASS]|local|none>': expected pvc, pvc:CLASS, local or none");
    insta::assert_snapshot!(bad("--profile", "downmeter"), @"error: invalid value 'downmeter' for '--profile <NAME>'");
    insta::assert_snapshot!(bad("-v", "11"), @"error: invalid value '11' for '--v <LEVEL>': 11 is not in 0..=10");
    insta::assert_snapshot!(bad("--as-user-extra", "key"), @"error: invalid value 'key' for '--as-user-extra <KEY=VALUE>': write it as KEY=VALUE");
}

#[test]
fn an_unknown_output_format_is_refused_in_kubectls_words() {
    insta::assert_snapshot!(refused(&["version", "-o", "xml"]), @r#"error: invalid value 'xml' for '--output <FORMAT>': unable to match a printer suitable for the output format "xml", allowed formats are: json,name,table,wide,yaml"#);
}

#[test]
fn punching_holes_removes_no_rows() {
    insta::assert_snapshot!(refused(&["vacuum", "x", "--punch", "--keep", "t: a"]), @"error: the argument '--punch' cannot be used with '--keep <'TABLE: CONDITION'>'");
}

#[test]
fn basic_authentication_is_refused_for_every_command() {
    let called = call(&["version", "--client", "--username", "admin", "--password", "hunter2"]);
    assert_eq!((called.code, called.stdout.as_str()), (Some(2), ""));
    assert!(!called.stderr.contains("hunter2"));
    let (error, next) = called.stderr.split_once("\n\n").expect("an error and what to do");
    assert_eq!(error, "error: --username and --password are not supported: Kubernetes dropped basic authentication in 1.19");
    assert_eq!(next, "next: pass --token TOKEN, or name a user of the kubeconfig with --user\n");
}

#[test]
fn kubectls_ways_of_writing_flags_are_understood() {
    for flags in [
        &["-v6"][..],
        &["--v=6"],
        &["-v", "6"],
        &["-n=x"],
        &["-nx"],
        &["--insecure-skip-tls-verify"],
        &["--insecure-skip-tls-verify=false"],
        &["--request-timeout", "0"],
        &["--request-timeout=1h30m"],
        &["--as-group", "a", "--as-group", "b", "--as", "u", "--as-uid", "1", "--as-user-extra", "k=v"],
        &["--cache-dir", "x", "--disable-compression=true", "--tls-server-name", "n"],
        &["-s", "https://127.0.0.1:1"],
    ] {
        let called = call(&[&["version", "--client"], flags].concat());
        assert_eq!(called.code, Some(0), "{flags:?}: {}", called.stderr);
        let called = call(&[flags, &["version", "--client"]].concat());
        assert_eq!(called.code, Some(0), "{flags:?} before the command: {}", called.stderr);
    }
}

#[cfg(unix)]
#[test]
fn words_that_are_no_text_are_refused_without_a_crash() {
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    for args in [[odd, odd], [std::ffi::OsStr::new("vacuum"), odd]] {
        let output = super::dbmig().args(args).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(2));
    }
}
