//! Where results and talk go, and in what form.

use std::process::Stdio;

use super::{Called, call, dbmig};

#[test]
fn version_is_one_object_in_json_and_yaml() {
    let json = call(&["version", "--client", "-o", "json"]);
    assert_eq!((json.code, json.stderr.as_str()), (Some(0), ""));
    let object: serde_json::Value = serde_json::from_str(&json.stdout).expect("valid JSON");
    assert_eq!(object["apiVersion"], "dbmig.dev/v1alpha1");
    assert_eq!(object["kind"], "Version");
    assert_eq!(object["clientVersion"], env!("CARGO_PKG_VERSION"));
    let yaml = call(&["version", "--client", "-o", "yaml"]);
    let same: serde_json::Value = serde_saphyr::from_str(&yaml.stdout).expect("valid YAML");
    assert_eq!(object, same);
}

#[test]
fn version_has_a_line_for_people_and_a_name_for_scripts() {
    let text = call(&["version", "--client"]).stdout;
    assert!(text.starts_with(&format!("Client Version:   {} (", env!("CARGO_PKG_VERSION"))), "{text}");
    assert_eq!(call(&["version", "--client", "-o", "name"]).stdout, format!("version/{}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(call(&["--version"]).stdout, format!("kubectl-dbmig {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_server_that_does_not_answer_is_no_error_for_version() {
    let called = call(&["version", "--server", "http://127.0.0.1:1", "-o", "json"]);
    assert_eq!((called.code, called.stderr.as_str()), (Some(0), ""));
    let object: serde_json::Value = serde_json::from_str(&called.stdout).expect("valid JSON");
    assert_eq!(object.get("serverVersion"), None);
}

#[test]
fn a_reader_that_goes_away_ends_the_output_quietly() {
    for args in [&["--help"][..], &["completion", "bash"], &["version", "--client", "-o", "json"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = dbmig().args(args).stdout(writer).stderr(Stdio::piped()).output().expect("the program starts");
        let called = Called::from(output);
        assert_eq!((called.code, called.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_stdout_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device that is always full");
    let output = dbmig().args(["version", "--client"]).stdout(full).stderr(Stdio::piped()).output().expect("the program starts");
    let called = Called::from(output);
    assert_eq!(called.code, Some(1));
    assert!(called.stderr.starts_with("error: cannot write the result to stdout: No space left on device"), "{}", called.stderr);
}

#[test]
fn colours_come_when_forced_and_never_against_the_users_wish() {
    let wrong = |name: &str, value: &str| {
        let output = dbmig().args(["vacuum", "x", "--username", "u"]).env(name, value).output().expect("the program starts");
        Called::from(output).stderr
    };
    assert!(wrong("CLICOLOR_FORCE", "1").contains("\u{1b}["));
    assert!(!wrong("CLICOLOR_FORCE", "0").contains("\u{1b}["));
    assert!(!wrong("TERM", "xterm").contains("\u{1b}["));
    let both =
        dbmig().args(["vacuum", "--kep"]).env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1").output().expect("the program starts");
    assert!(!Called::from(both).stderr.contains('\u{1b}'));
}
