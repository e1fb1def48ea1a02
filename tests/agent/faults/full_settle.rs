//! Volumes without room for what SQLite itself must write: a WAL's frames, and temporary files.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dbmig_wire::{Measure, Message, Query, Rebuild, Request, Restore, Settle, Verify};
use rusqlite::Connection;
use tempfile::TempDir;

use super::content::{lines, names, reference, write};
use super::full::{is_full, levels};
use crate::mount::{Mount, PAGE};
use crate::process::{agent, ask, error, last, line, run, text};

#[test]
fn a_wal_that_does_not_fit_into_the_database_stays() {
    const CHANGES: &str = "INSERT INTO big SELECT zeroblob(17000) FROM n LIMIT 200";
    for volume in [Mount::tmpfs(24 << 20), Mount::ext4(24 << 20)] {
        let from = TempDir::new().unwrap();
        let source = from.path().join("app");
        let writer = write(&source, 1);
        let (expected, before) = (reference(&source, CHANGES), fs::metadata(&source).unwrap().len());
        writer.execute_batch(&format!("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; {CHANGES}")).unwrap();
        let app = volume.path().join("app");
        let length = |path: &Path| fs::metadata(path).unwrap().len();
        let put = || {
            for name in ["app", "app-wal"] {
                fs::copy(from.path().join(name), volume.path().join(name)).unwrap();
            }
        };
        put();
        ask(Settle { database: text(&app) }).unwrap();
        let need = length(&app) - before;
        assert!(need > 3_000_000 && length(&from.path().join("app-wal")) > need);
        for level in levels(need) {
            put();
            volume.leave(level);
            is_full(&ask(Settle { database: text(&app) }).unwrap_err(), volume.path());
            assert!(length(&volume.path().join("app-wal")) > need, "nothing of it is lost");
            volume.make_room();
            assert!(ask(Settle { database: text(&app) }).unwrap().checkpointed);
            assert_eq!(lines(&app), expected);
        }
    }
}

#[test]
fn a_hot_journal_is_rolled_back_without_a_free_byte() {
    for volume in [Mount::tmpfs(24 << 20), Mount::ext4(24 << 20)] {
        let from = TempDir::new().unwrap();
        let source = from.path().join("app");
        let writer = write(&source, 2);
        let expected = lines(&source);
        writer
            .execute_batch("PRAGMA cache_size = 5; PRAGMA synchronous = FULL; BEGIN; UPDATE big SET v = zeroblob(17000)")
            .unwrap();
        for name in ["app", "app-journal"] {
            fs::copy(from.path().join(name), volume.path().join(name)).unwrap();
        }
        volume.leave(0);
        let app = volume.path().join("app");
        assert!(ask(Settle { database: text(&app) }).unwrap().rolled_back);
        assert_eq!(lines(&app), expected);
    }
}

/// More violated foreign keys than fit into memory, so that counting them takes a temporary file.
fn violations(path: &Path) -> Connection {
    let connection = write(path, 1);
    connection
        .execute_batch(
            "PRAGMA foreign_keys = OFF; CREATE TABLE p (id TEXT PRIMARY KEY);
             CREATE TABLE c (p TEXT REFERENCES p); INSERT INTO c SELECT 'a long key of a row that is not there ' || a.i FROM n a, n b WHERE b.i <= 20",
        )
        .unwrap();
    connection
}

#[test]
fn a_verify_without_room_for_temporary_files_says_so_and_leaves_none() {
    let dir = TempDir::new().unwrap();
    let (app, new, temp) = (dir.path().join("app"), dir.path().join("app.dbmig-new"), Mount::tmpfs(16 << 20));
    drop(violations(&app));
    let rebuild = Rebuild {
        database: text(&app),
        target: text(&new),
        rules: Vec::new(),
        temp: text(dir.path()),
        afterwards: Vec::new(),
        leave_free_bytes: 0,
    };
    let tables = ask(rebuild).unwrap().tables;
    let call = Verify { database: text(&app), target: text(&new), rules: Vec::new(), afterwards: Vec::new(), tables };
    let proof = ask(call.clone()).unwrap();
    let before = (fs::read(&app).unwrap(), fs::read(&new).unwrap());
    let with_temp = || run(agent(&["ask"]).env("SQLITE_TMPDIR", temp.path()), &line(call.clone()));
    for level in [0, PAGE, 100_000] {
        temp.leave(level);
        is_full(&error(&with_temp()), temp.path());
        assert!((fs::read(&app).unwrap(), fs::read(&new).unwrap()) == before);
        assert_eq!(names(temp.path()), ["filler"]);
        temp.make_room();
    }
    assert_eq!(last(&with_temp()), Message::Done(serde_json::to_value(proof).unwrap()));
}

/// Asks in a container whose root and `/tmp` are read-only, and which has a folder at `/mnt`.
fn confined(folder: &Path, call: impl Into<Request>) -> Output {
    let mut command = Command::new("unshare");
    // Binary and database may themselves be below such a folder: both are reached in another way.
    let only_reading = r#"exec 9<"$0"; mount --bind "$1" /mnt
        for folder in /tmp /var/tmp; do mount -t tmpfs -o ro none $folder; done; exec /proc/self/fd/9 ask"#;
    command.args(["--mount", "sh", "-c", only_reading, env!("CARGO_BIN_EXE_dbmig-agent")]).arg(folder).current_dir("/proc");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    run(command.env_remove("TMPDIR").env_remove("SQLITE_TMPDIR"), &line(call))
}

#[test]
fn without_any_folder_for_temporary_files_they_go_beside_the_database() {
    let dir = TempDir::new().unwrap();
    let (app, new) = (dir.path().join("app"), dir.path().join("app.dbmig-new"));
    drop(violations(&app));
    fs::copy(&app, &new).unwrap();
    let sort = "SELECT r FROM (SELECT row_number() OVER (ORDER BY p DESC) AS r FROM c) WHERE r > 119999".to_owned();
    let (seen_app, seen_new) = ("/mnt/app".to_owned(), "/mnt/app.dbmig-new".to_owned());
    let read = confined(dir.path(), Query { database: seen_app.clone(), sql: sort, most: 1 });
    assert_eq!(last(&read), Message::Done(serde_json::json!([[120_000]])));
    let tables = ask(Measure { database: text(&app), rules: Vec::new(), quiescent: true }).unwrap().tables;
    let call = Verify { database: seen_app, target: seen_new, rules: Vec::new(), afterwards: Vec::new(), tables };
    let verified = confined(dir.path(), call);
    assert!(matches!(last(&verified), Message::Done(_)), "{:?}", last(&verified));
    assert_eq!(names(dir.path()), ["app", "app.dbmig-new"]);
}

#[test]
fn a_restore_without_room_for_temporary_files_leaves_everything() {
    let (dir, temp) = (TempDir::new().unwrap(), Mount::tmpfs(32 << 20));
    let (app, old) = (dir.path().join("app"), dir.path().join("app.dbmig-old"));
    drop(write(&old, 6));
    fs::copy(&old, &app).unwrap();
    // Everything was written since, and must be told from everything that was there.
    Connection::open(&app).unwrap().execute_batch("UPDATE big SET rowid = -rowid, v = zeroblob(17000) || rowid").unwrap();
    let before = (fs::read(&app).unwrap(), fs::read(&old).unwrap());
    let call = Restore { database: text(&app), old: text(&old), set_aside: text(&dir.path().join("app.dbmig-aside")) };
    let with_temp = || run(agent(&["ask"]).env("SQLITE_TMPDIR", temp.path()), &line(call.clone()));
    for level in [0, PAGE, 500_000] {
        temp.leave(level);
        let refused = error(&with_temp());
        is_full(&refused, temp.path());
        assert!((fs::read(&app).unwrap(), fs::read(&old).unwrap()) == before);
        assert_eq!(names(dir.path()), ["app", "app.dbmig-old"]);
        temp.make_room();
    }
    assert!(with_temp().status.success());
    assert!(fs::read(&app).unwrap() == before.1);
    assert!(ask(call).unwrap().already);
}
