//! The protocol of `kubectl_complete-dbmig`, and the ways to install it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Called, call, installed_as};

fn call_as(program: &Path, args: &[&str]) -> Called {
    Command::new(program).args(args).env_clear().stdin(std::process::Stdio::null()).output().expect("the program starts").into()
}

#[cfg(unix)]
#[test]
fn called_by_its_other_name_it_completes() {
    let (folder, program) = installed_as("kubectl-dbmig");
    let link = folder.path().join("kubectl_complete-dbmig");
    std::os::unix::fs::symlink(program, &link).expect("a link");
    let called = call_as(&link, &["vac"]);
    assert_eq!((called.code, called.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        called.stdout,
        "vacuum\tShrink a SQLite database in a pod, even on a full disk and under a crash-looping application\n:4\n"
    );
}

#[test]
fn commands_and_flags_come_with_their_help_and_no_files() {
    let commands = call(&["__complete", ""]).stdout;
    let names: Vec<_> = commands.lines().map(|line| line.split('\t').next().unwrap_or_default()).collect();
    assert_eq!(
        names,
        [
            "vacuum",
            "watch",
            "logs",
            "status",
            "events",
            "doctor",
            "repair",
            "force",
            "stamp",
            "unlock",
            "run",
            "rollback",
            "start",
            "finish",
            "promote",
            "route",
            "resume",
            "undo",
            "history",
            "cleanup",
            "version",
            "completion",
            ":4"
        ]
    );
    let flag = call(&["__complete", "undo", "--y"]).stdout;
    assert_eq!(flag, "--yes\tDo not ask\n:4\n");
    assert_eq!(call(&["__complete", "vacuum", "x", "--profile", ""]).stdout, "upmeter\nnone\n:4\n");
}

#[test]
fn no_words_and_nonsense_offer_nothing_but_the_directive() {
    assert!(call(&["__complete"]).stdout.ends_with("\n:4\n"));
    for words in [
        &["__complete", "no-such-command", "x"][..],
        &["__complete", "vacuum", "x", "--no-such-flag", ""],
        &["__complete", "--", "--", "x"],
    ] {
        let called = call(words);
        assert_eq!((called.code, called.stderr.as_str(), called.stdout.as_str()), (Some(0), "", ":4\n"), "{words:?}");
    }
}

#[test]
fn each_script_registers_and_names_kubectls_way() {
    for (shell, registers) in [("bash", "complete -F "), ("zsh", "compdef "), ("fish", "complete -c ")] {
        let called = call(&["completion", shell]);
        assert_eq!((called.code, called.stderr.as_str()), (Some(0), ""));
        assert!(called.stdout.contains(registers) && called.stdout.contains("kubectl_complete-dbmig"), "{shell}");
    }
}

#[cfg(unix)]
#[test]
fn bash_completes_with_the_script() {
    let (folder, _) = installed_as("kubectl-dbmig");
    let words = "COMP_WORDS=(kubectl-dbmig history --no); COMP_CWORD=2";
    let script =
        format!("source <(kubectl-dbmig completion bash); {words}; _kubectl_dbmig; printf '%s\\n' \"${{COMPREPLY[@]}}\"");
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let output =
        Command::new("bash").args(["--norc", "-c", &script]).env_clear().env("PATH", path).output().expect("bash starts");
    let called = Called::from(output);
    assert_eq!((called.stderr.as_str(), called.stdout.as_str()), ("", "--no-headers\n"));
}

#[cfg(unix)]
#[test]
fn install_makes_a_link_that_moves_with_the_folder_and_works_once_and_again() {
    let (folder, program) = installed_as("kubectl-dbmig");
    for said in ["made ", ""] {
        let called = call_as(&program, &["completion", "install", "--yes"]);
        assert_eq!(called.code, Some(0), "{}", called.stderr);
        assert!(called.stderr.starts_with(said));
    }
    let link = folder.path().join("kubectl_complete-dbmig");
    assert_eq!(fs::read_link(&link).expect("a link"), Path::new("kubectl-dbmig"));
    assert!(call_as(&link, &["vers"]).stdout.starts_with("version\t"));
}

#[test]
fn install_never_replaces_what_is_something_else() {
    let (folder, program) = installed_as("kubectl-dbmig");
    let place = folder.path().join(format!("kubectl_complete-dbmig{}", std::env::consts::EXE_SUFFIX));
    fs::write(&place, "mine").expect("a file");
    let called = call_as(&program, &["completion", "install", "--yes"]);
    assert_eq!(called.code, Some(4), "{}", called.stderr);
    assert_eq!(fs::read_to_string(&place).expect("still there"), "mine");
}

#[test]
fn install_refuses_without_a_terminal_and_without_yes() {
    let (folder, program) = installed_as("kubectl-dbmig");
    let called = call_as(&program, &["completion", "install"]);
    assert_eq!((called.code, called.stdout.as_str()), (Some(4), ""));
    assert!(called.stderr.contains("there is no terminal") && called.stderr.contains("\nnext: pass --yes"), "{}", called.stderr);
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
}
