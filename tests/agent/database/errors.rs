//! Each way a file or request can be wrong has its own kind, and leaves the old file as it was and no new one.

use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Command;

use dbmig_wire::{Change, ErrorKind, Inspect, Rule};

use super::{Case, Quiet, text, told};

fn keep(table: &str, condition: &str) -> Rule {
    Rule::Where { table: table.to_owned(), condition: condition.to_owned(), allow_empty: false }
}

fn small() -> Case {
    let case = Case::new();
    case.open()
        .execute_batch(
            "CREATE TABLE t (a INTEGER, b TEXT); CREATE INDEX i ON t (b); CREATE VIEW v AS SELECT * FROM t;
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) INSERT INTO t SELECT i, 'text ' || i FROM n",
        )
        .unwrap();
    case
}

/// The rebuild fails with this kind; the old file is untouched and nothing of the new one is left.
fn refused(case: &Case, rules: &[Rule], afterwards: &[Change], kind: ErrorKind) -> String {
    let before = fs::read(case.old()).unwrap();
    let error = case.try_rebuild(rules, afterwards).expect_err("must be refused");
    assert_eq!(error.kind, kind, "{}", told(&error));
    assert_eq!(fs::read(case.old()).unwrap(), before);
    let left: Vec<_> = fs::read_dir(case.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains(".dbmig-")), "{left:?}");
    told(&error)
}

fn inspect_kind(bytes: &[u8]) -> ErrorKind {
    let case = Case::new();
    fs::write(case.old(), bytes).unwrap();
    refused(&case, &[], &[], dbmig_agent::database::inspect(&look(&case), &Quiet).unwrap_err().kind);
    dbmig_agent::database::inspect(&look(&case), &Quiet).unwrap_err().kind
}

fn look(case: &Case) -> Inspect {
    Inspect { database: text(&case.old()), full_check: false, quiescent: true }
}

#[test]
fn foreign_empty_and_encrypted_files_are_told_apart() {
    use rand::{RngExt, SeedableRng};
    let mut random = rand::rngs::SmallRng::seed_from_u64(1);
    let noise: Vec<u8> = (0..8192).map(|_| random.random()).collect();
    assert_eq!(inspect_kind(b""), ErrorKind::NotSqlite);
    assert_eq!(inspect_kind(&b"key = value\n".repeat(512)), ErrorKind::NotSqlite);
    assert_eq!(inspect_kind(&[0; 4096]), ErrorKind::NotSqlite);
    assert_eq!(inspect_kind(&noise), ErrorKind::Encrypted);
    assert_eq!(inspect_kind(&noise[..1000]), ErrorKind::NotSqlite);
    assert_eq!(inspect_kind(b"SQLite format 3\0"), ErrorKind::Corrupt);
    assert_eq!(inspect_kind(&[&b"SQLite format 3\0"[..], &noise[..4080]].concat()), ErrorKind::Corrupt);
    let missing = Case::new();
    let error = dbmig_agent::database::inspect(&look(&missing), &Quiet).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{}", told(&error));
}

#[test]
fn a_file_that_was_cut_short_is_corrupt() {
    let case = small();
    let file = fs::File::options().write(true).open(case.old()).unwrap();
    file.set_len(file.metadata().unwrap().len() - 4096).unwrap();
    assert!(refused(&case, &[], &[], ErrorKind::Corrupt).contains("cut short"));
}

#[test]
fn damage_that_reading_shows_is_corrupt() {
    let (mut refusals, mut proven) = (0, 0);
    for page in 0..20 {
        for (at, byte) in [(0, 0xff), (3, 0xff), (9, 0xff), (5, 0x01)] {
            let case = small();
            let file = fs::File::options().write(true).open(case.old()).unwrap();
            file.write_all_at(&[byte], 4096 * (page + 1) + at).unwrap();
            // Some of these bytes mean nothing; wherever one does, the rebuild or the proof must say so.
            match case.try_rebuild(&[], &[]).map(|rebuilt| case.verify(&[], &[], &rebuilt)) {
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Corrupt, "{}", told(&error));
                    refusals += 1;
                }
                Ok(Err(error)) => {
                    assert_eq!(error.kind, ErrorKind::Unproven, "{}", told(&error));
                    refusals += 1;
                }
                Ok(Ok(_)) => {
                    assert_eq!(super::compare::differences(&small().old(), &case.new_file(), ""), Vec::<String>::new());
                    proven += 1;
                }
            }
        }
    }
    assert!(refusals > 30 && proven > 0, "{refusals} {proven}");
}

#[test]
fn an_index_that_lacks_entries_is_named() {
    let case = small();
    case.open()
        .execute_batch(
            "CREATE TABLE spare (b TEXT); CREATE INDEX other ON spare (b); PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'other') WHERE name = 'i';
             DELETE FROM sqlite_schema WHERE name = 'other'",
        )
        .unwrap();
    assert!(refused(&case, &[], &[], ErrorKind::Corrupt).contains("index i has 0 entries for 2000 rows"));
    let content = dbmig_agent::database::inspect(&look(&case), &Quiet).unwrap().content.unwrap();
    assert_eq!(content.damage, ["index i of table t has 0 entries for 2000 rows"]);
}

#[test]
fn random_damage_never_ends_in_a_panic() {
    use rand::{RngExt, SeedableRng};
    for seed in 0..300 {
        let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
        let case = small();
        let mut bytes = fs::read(case.old()).unwrap();
        for _ in 0..random.random_range(1..30) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        fs::write(case.old(), &bytes).unwrap();
        let _ = dbmig_agent::database::inspect(&look(&case), &Quiet);
        if let Ok(rebuilt) = case.try_rebuild(&[keep("t", "a % 2")], &[]) {
            let _ = case.verify(&[keep("t", "a % 2")], &[], &rebuilt);
        }
    }
}

#[test]
fn rules_that_cannot_be_carried_out_are_bad_requests() {
    let case = small();
    let bad = ["nope > 1", "1); DROP TABLE t; --", "1) OR (1", "a >", "", "a = 'x", "\"bb\" = 1", "random() > 1", "b -- \n)"];
    for condition in bad {
        refused(&case, &[keep("t", condition)], &[], ErrorKind::BadRequest);
    }
    refused(&case, &[keep("missing", "1")], &[], ErrorKind::BadRequest);
    refused(&case, &[keep("v", "1")], &[], ErrorKind::BadRequest);
    refused(&case, &[keep("t", "1"), keep("T", "1")], &[], ErrorKind::BadRequest);
    assert!(refused(&case, &[keep("t", "a < 0")], &[], ErrorKind::BadRequest).contains("keeps none"));
    let empty = Rule::Where { table: "t".to_owned(), condition: "a < 0".to_owned(), allow_empty: true };
    assert_eq!(case.rebuild(&[empty]).tables[0].kept, 0);
}

#[test]
fn changes_happen_together_or_the_rebuild_fails() {
    let change = |sql: &str, rows| Change { sql: sql.to_owned(), rows };
    let case = small();
    let good = [change("UPDATE t SET b = 'x' WHERE a = 1", 1), change("INSERT INTO t VALUES (5000, 'y')", 1)];
    let rebuilt = case.try_rebuild(&[], &good).unwrap();
    case.verify(&[], &good, &rebuilt).unwrap();
    let reference = "UPDATE t SET b = 'x' WHERE a = 1; INSERT INTO t VALUES (5000, 'y')";
    assert_eq!(super::compare::differences(&case.old(), &case.new_file(), reference), Vec::<String>::new());
    fs::remove_file(case.new_file()).unwrap();
    refused(&case, &[], &[good[0].clone(), change("DELETE FROM t WHERE a < 3", 1)], ErrorKind::Changed);
    refused(&case, &[], &[change("DELETE FROM missing", 1)], ErrorKind::BadRequest);
}

#[test]
fn a_new_file_that_differs_is_not_proven() {
    for sql in [
        "DELETE FROM t WHERE a = 7",
        "CREATE INDEX more ON t (a)",
        "PRAGMA user_version = 9",
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = sql || ' ' WHERE name = 't'",
    ] {
        let case = small();
        let rebuilt = case.try_rebuild(&[], &[]).unwrap();
        rusqlite::Connection::open(case.new_file()).unwrap().execute_batch(sql).unwrap();
        let error = case.verify(&[], &[], &rebuilt).expect_err(sql);
        assert_eq!(error.kind, ErrorKind::Unproven, "{}", told(&error));
        assert!(!error.details.is_empty());
    }
}

#[test]
fn a_rule_that_breaks_a_foreign_key_is_not_proven() {
    let case = Case::new();
    case.open()
        .execute_batch(
            "PRAGMA foreign_keys = OFF; CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (p REFERENCES p);
             INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1), (2), (77)",
        )
        .unwrap();
    case.rebuild(&[]);
    let rules = [keep("p", "id = 1")];
    let rebuilt = case.try_rebuild(&rules, &[]).unwrap();
    let error = case.verify(&rules, &[], &rebuilt).unwrap_err();
    assert_eq!(error.details, ["2 rows of table c violate its foreign key to p, 1 did before"]);
}

#[test]
fn a_full_volume_ends_in_no_space_with_numbers() {
    let case = small();
    case.open().execute_batch("INSERT INTO t SELECT a, hex(zeroblob(2000)) FROM t").unwrap();
    let volume = case.folder.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&volume).output().unwrap();
    assert!(
        mount.status.success(),
        "this test mounts a small tmpfs and so needs root: {}",
        String::from_utf8_lossy(&mount.stderr)
    );
    let mut call = case.request(&[], &[]);
    call.target = text(&volume.join("app.sqlite.dbmig-new"));
    let full = dbmig_agent::database::rebuild(&call, &Quiet);
    call.leave_free_bytes = 900_000;
    let kept_free = dbmig_agent::database::rebuild(&call, &Quiet);
    let left = fs::read_dir(&volume).unwrap().count();
    let unmount = Command::new("umount").arg(&volume).status().unwrap();
    assert!(unmount.success());
    for error in [full.unwrap_err(), kept_free.unwrap_err()] {
        assert_eq!(error.kind, ErrorKind::NoSpace, "{}", told(&error));
        assert!(error.message.contains("bytes"), "{}", error.message);
    }
    assert_eq!(left, 0);
}

#[test]
fn a_stop_is_obeyed_and_leaves_nothing() {
    struct Stop;
    impl dbmig_agent::report::Report for Stop {
        fn progress(&self, _: dbmig_wire::Progress) {}
        fn note(&self, _: &str) {}
        fn check(&self) -> dbmig_agent::error::Result<()> {
            Err(dbmig_agent::error::fail(ErrorKind::Stopped, "asked to stop"))
        }
    }
    let case = small();
    let error = dbmig_agent::database::rebuild(&case.request(&[], &[]), &Stop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Stopped);
    assert!(!case.new_file().exists());
}
