//! Send, receive, and reading the text files of a folder.

use std::fs;
use std::os::unix::fs::MetadataExt;

use dbmig_wire::{ErrorKind, Message, Read};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{agent, ask, error, last, run, text};

#[test]
fn send_writes_the_bytes_from_an_offset_on() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "0123456789").unwrap();
    for (offset, wanted) in [("0", "0123456789"), ("7", "789"), ("10", ""), ("11", "")] {
        let sent = run(&mut agent(&["send", &text(&path), offset]), b"");
        assert!(sent.status.success());
        assert_eq!(sent.stdout, wanted.as_bytes());
    }
    let missing = run(&mut agent(&["send", &text(&dir.path().join("b")), "0"]), b"");
    assert_eq!((missing.status.code(), missing.stdout.len()), (Some(1), 0));
}

#[test]
fn receive_goes_on_where_it_was_cut_off_and_nowhere_else() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.dbmig-new");
    let receive = |offset: &str, bytes: &str, input: &[u8]| run(&mut agent(&["receive", &text(&path), offset, bytes]), input);
    assert_eq!(last(&receive("0", "10", b"0123")), Message::Done(Value::from(4)), "the stream ended early");
    for wrong in ["0", "3", "5"] {
        assert_eq!(error(&receive(wrong, "1", b"x")).kind, ErrorKind::Changed);
    }
    assert_eq!(last(&receive("4", "6", b"456789more")), Message::Done(Value::from(10)));
    assert_eq!(fs::read(&path).unwrap(), b"0123456789");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600, "nobody else reads what is in a database");
}

#[test]
fn receive_writes_to_no_foreign_name() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("app.sqlite");
    assert_eq!(error(&run(&mut agent(&["receive", &text(&path), "0", "0"]), b"")).kind, ErrorKind::BadRequest);
    assert!(!path.exists());
}

#[test]
fn read_takes_the_first_folder_that_has_a_matching_file() {
    let dir = TempDir::new().unwrap();
    let folder = |name: &str| dir.path().join(name);
    for (name, files) in [("a", vec!["x.txt"]), ("b", vec!["2.up.sql", "1.up.sql", "1.down.sql"]), ("c", vec!["3.up.sql"])] {
        fs::create_dir(folder(name)).unwrap();
        for file in files {
            fs::write(folder(name).join(file), format!("text of {file}")).unwrap();
        }
    }
    let read = |names: &[&str]| {
        let folders = names.iter().map(|name| text(&folder(name))).collect();
        let files = ask(Read { folders, suffix: ".up.sql".to_owned(), depth: 0, parent: None }).unwrap();
        files.into_iter().map(|file| (file.name, file.text)).collect::<Vec<_>>()
    };
    let of = |name: &str| (name.to_owned(), format!("text of {name}"));
    assert_eq!(read(&["absent", "a/x.txt", "a", "b", "c"]), [of("1.up.sql"), of("2.up.sql")]);
    assert_eq!(read(&["absent", "a"]), []);

    // Folders within it, where that is asked for; hidden ones are another sight of the same files.
    for below in ["b/2026_init", "b/..data"] {
        fs::create_dir(folder(below)).unwrap();
        fs::write(folder(below).join("0.up.sql"), "text of 0.up.sql").unwrap();
    }
    let deep = Read { folders: vec![text(&folder("b"))], suffix: ".up.sql".to_owned(), depth: 1, parent: None };
    let names: Vec<String> = ask(deep).unwrap().into_iter().map(|file| file.name).collect();
    assert_eq!(names, ["1.up.sql", "2.up.sql", "2026_init/0.up.sql"]);
}

/// A Django project: its apps' migrations, and neither its other files nor those of packages.
#[test]
fn read_takes_only_what_is_in_folders_of_a_name() {
    let dir = TempDir::new().unwrap();
    for path in [
        "manage.py",
        "polls/models.py",
        "polls/migrations/0001_initial.py",
        "apps/shop/migrations/0001_initial.py",
        "migrations/0001_own.py",
        "venv/lib/python3/site-packages/auth/migrations/0001_initial.py",
    ] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let read = |depth| {
        let (folders, parent) = (vec![text(dir.path())], Some("migrations".to_owned()));
        let files = ask(Read { folders, suffix: ".py".to_owned(), depth, parent }).unwrap();
        files.into_iter().map(|file| file.name).collect::<Vec<_>>()
    };
    let all = ["apps/shop/migrations/0001_initial.py", "migrations/0001_own.py", "polls/migrations/0001_initial.py"];
    assert_eq!(read(6), all);
    assert_eq!(read(2), all[1..]);
}
