//! Holes in free-list leaf pages.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use dbmig_wire::{ErrorKind, Punch, Punched};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::process::{agent, ask, content, database, give, integrity, line, text};

fn call(path: &Path) -> Punch {
    Punch { database: text(path), batch_ms: 20, wait_ms: 5_000 }
}

fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

fn sync(path: &Path) {
    fs::File::open(path).unwrap().sync_all().unwrap();
}

#[test]
fn every_page_size_gives_blocks_back_and_keeps_every_row() {
    for page_size in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("app.sqlite");
        let connection = database(&path, page_size, 4000, 400);
        sync(&path);
        let (rows, before, bytes) = (content(&connection), allocated(&path), fs::metadata(&path).unwrap().len());
        let punched: Punched = ask(call(&path)).unwrap();
        assert!(punched.freed_bytes > 1_000_000, "{page_size}: {punched:?}");
        assert_eq!(before - allocated(&path), punched.freed_bytes);
        assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
        assert_eq!(content(&connection), rows);
        assert_eq!(integrity(&connection), "ok");
        connection.execute_batch("INSERT INTO t SELECT id+10000, v FROM t").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), bytes, "free pages are used again");
        assert_eq!(integrity(&connection), "ok");
        assert_eq!(content(&connection).len(), 800);
    }
}

#[test]
fn punching_twice_frees_nothing_more() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("app.sqlite");
    let _connection = database(&path, 4096, 4000, 400);
    sync(&path);
    ask(call(&path)).unwrap();
    assert_eq!(ask(call(&path)).unwrap().freed_bytes, 0);
}

#[test]
fn a_wal_is_merged_first() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("app.sqlite");
    let connection = database(&path, 4096, 4000, 4000);
    connection.execute_batch("PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; DELETE FROM t WHERE id>400").unwrap();
    let rows = content(&connection);
    assert!(ask(call(&path)).unwrap().freed_bytes > 1_000_000);
    assert_eq!(content(&connection), rows);
    assert_eq!(integrity(&connection), "ok");
}

#[test]
fn a_reader_of_an_older_state_in_a_wal_keeps_its_pages() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("app.sqlite");
    let writer = database(&path, 4096, 4000, 4000);
    writer.execute_batch("PRAGMA journal_mode=wal").unwrap();
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let old = content(&reader);
    writer.execute_batch("DELETE FROM t WHERE id>400").unwrap();
    let refused = ask(Punch { wait_ms: 100, ..call(&path) }).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Busy);
    assert_eq!(content(&reader), old);
}

#[test]
fn a_locked_database_is_busy() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("app.sqlite");
    let writer = database(&path, 4096, 4000, 400);
    writer.execute_batch("BEGIN IMMEDIATE; UPDATE t SET v=x'00' WHERE id=1").unwrap();
    let refused = ask(Punch { wait_ms: 100, ..call(&path) }).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Busy, "{}", refused.message);
}

#[test]
fn the_write_lock_is_held_while_holes_are_made() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("app.sqlite");
    let other = database(&path, 4096, 4000, 400);
    other.busy_timeout(std::time::Duration::ZERO).unwrap();
    let child = give(agent(&["ask"]).env("DBMIG_PAUSE_AT", "punch:held"), &line(Punch { batch_ms: 60_000, ..call(&path) }));
    let stat = format!("/proc/{}/stat", child.id());
    while !fs::read_to_string(&stat).unwrap().contains(") T ") {
        std::thread::yield_now();
    }
    let refused = other.execute_batch("BEGIN IMMEDIATE").unwrap_err();
    assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
    assert_eq!(content(&other).len(), 400, "readers read");
    assert!(Command::new("kill").args(["-CONT", &child.id().to_string()]).status().unwrap().success());
    assert!(child.wait_with_output().unwrap().status.success());
    other.execute_batch("BEGIN IMMEDIATE; ROLLBACK").unwrap();
}

#[test]
fn a_hot_journal_is_refused_and_left() {
    let dir = TempDir::new().unwrap();
    let (path, copy) = (dir.path().join("app.sqlite"), dir.path().join("copy.sqlite"));
    let writer = database(&path, 4096, 4000, 400);
    writer.execute_batch("PRAGMA cache_size=5; PRAGMA synchronous=full; BEGIN; UPDATE t SET v=randomblob(400)").unwrap();
    // What a killed writer leaves behind.
    fs::copy(&path, &copy).unwrap();
    fs::copy(dir.path().join("app.sqlite-journal"), dir.path().join("copy.sqlite-journal")).unwrap();
    let before = fs::read(&copy).unwrap();
    assert_eq!(ask(call(&copy)).unwrap_err().kind, ErrorKind::Unsettled);
    assert!(fs::read(&copy).unwrap() == before && dir.path().join("copy.sqlite-journal").exists());
}

#[test]
fn a_free_list_that_does_not_fit_is_refused() {
    // Byte of the header, and a number that is wrong there: first trunk, count of free pages.
    for (at, wrong) in [(32, 1_u32), (32, 99_999_999), (36, 3), (36, 4_000_000)] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("app.sqlite");
        drop(database(&path, 4096, 4000, 400));
        OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&wrong.to_be_bytes(), at).unwrap();
        let before = fs::read(&path).unwrap();
        assert_eq!(ask(call(&path)).unwrap_err().kind, ErrorKind::Corrupt, "{at} {wrong}");
        assert!(fs::read(&path).unwrap() == before);
    }
}

#[test]
fn a_trunk_page_that_lies_is_refused() {
    // Word of the first trunk page: next trunk, count, first leaf.
    for (word, wrong) in [(0, None), (1, Some(1023_u32)), (2, Some(1)), (2, Some(0)), (2, Some(90_000_000))] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("app.sqlite");
        drop(database(&path, 4096, 4000, 400));
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let mut trunk = [0; 4];
        file.read_exact_at(&mut trunk, 32).unwrap();
        // A list that bites its tail.
        let wrong = wrong.unwrap_or(u32::from_be_bytes(trunk));
        let at = u64::from(u32::from_be_bytes(trunk) - 1) * 4096 + word * 4;
        file.write_all_at(&wrong.to_be_bytes(), at).unwrap();
        let before = fs::read(&path).unwrap();
        assert_eq!(ask(call(&path)).unwrap_err().kind, ErrorKind::Corrupt, "word {word}");
        assert!(fs::read(&path).unwrap() == before);
    }
}

#[test]
fn what_is_no_database_is_named_so() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("x");
    fs::write(&path, vec![1; 4096]).unwrap();
    assert_eq!(ask(call(&path)).unwrap_err().kind, ErrorKind::NotSqlite);
    assert_eq!(ask(call(&dir.path().join("y"))).unwrap_err().kind, ErrorKind::NotFound);
}

#[test]
fn a_writer_that_never_rests_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("app.sqlite");
    let writer = database(&path, 4096, 3000, 300);
    let punching = std::thread::spawn({
        let path = path.clone();
        move || (0..200).filter(|_| ask(Punch { batch_ms: 1, ..call(&path) }).is_ok()).count()
    });
    let mut round = 0_u32;
    let mut expected = content(&writer);
    while !punching.is_finished() {
        round += 1;
        let base = 10_000 + round % 7 * 100;
        writer
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; DELETE FROM t WHERE id BETWEEN {base} AND {base}+99;
                 INSERT INTO t SELECT {base}+value, randomblob(4000) FROM (WITH RECURSIVE n(value) AS
                 (SELECT 0 UNION ALL SELECT value+1 FROM n WHERE value<{}) SELECT value FROM n); COMMIT",
                round % 60
            ))
            .unwrap();
        expected = content(&writer);
    }
    assert_eq!(punching.join().unwrap(), 200);
    let fresh = Connection::open(&path).unwrap();
    assert_eq!(integrity(&fresh), "ok");
    assert_eq!(content(&fresh), expected);
    assert!(round > 20, "the writer ran beside the punching");
}

#[test]
fn a_disk_with_no_byte_free_gets_room() {
    let dir = TempDir::new().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "none"]).arg(dir.path()).status().unwrap();
    assert!(mounted.success(), "this test needs to mount a tmpfs");
    let path = dir.path().join("app.sqlite");
    let connection = database(&path, 4096, 4000, 400);
    let filler = fs::File::create(dir.path().join("filler")).unwrap();
    while std::io::Write::write(&mut &filler, &[1; 4096]).is_ok_and(|written| written > 0) {}
    let punched = ask(call(&path)).unwrap();
    connection.execute_batch("INSERT INTO t SELECT id+10000, v FROM t").unwrap();
    let (rows, sound) = (content(&connection).len(), integrity(&connection));
    drop((connection, filler));
    assert!(Command::new("umount").arg(dir.path()).status().unwrap().success());
    assert!(punched.freed_bytes > 1_000_000);
    assert_eq!((rows, sound.as_str()), (800, "ok"));
}

#[test]
fn a_file_system_without_holes_is_named_unsupported() {
    let dir = TempDir::new().unwrap();
    let mounted = Command::new("mount").args(["-t", "ramfs", "none"]).arg(dir.path()).status().unwrap();
    assert!(mounted.success(), "this test needs to mount a ramfs");
    let path = dir.path().join("app.sqlite");
    drop(database(&path, 4096, 4000, 400));
    let before = fs::read(&path).unwrap();
    let refused = ask(call(&path)).unwrap_err();
    let after = fs::read(&path).unwrap();
    assert!(Command::new("umount").arg(dir.path()).status().unwrap().success());
    assert_eq!(refused.kind, ErrorKind::Unsupported, "{}", refused.message);
    assert!(before == after);
}
