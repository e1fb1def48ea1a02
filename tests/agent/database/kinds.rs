//! Every kind of table, index and file setting comes through a rebuild as it was.

use dbmig_wire::Rule;
use rusqlite::Connection;

use super::compare::differences;
use super::{Case, told};

fn keep(table: &str, condition: &str) -> Rule {
    Rule::Where { table: table.to_owned(), condition: condition.to_owned(), allow_empty: false }
}

/// Makes the old file by `sql`, rebuilds it, and compares it with what `reference` makes of a copy.
fn same(sql: &str, rules: &[Rule], reference: &str) {
    let case = Case::new();
    case.open().execute_batch(sql).unwrap();
    case.rebuild(rules);
    assert_eq!(differences(&case.old(), &case.new_file(), reference), Vec::<String>::new(), "{sql}");
}

const SERIES: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)";

#[test]
fn every_page_size_encoding_and_auto_vacuum_is_kept() {
    for size in [512, 1024, 4096, 65536] {
        for auto_vacuum in [0, 1, 2] {
            for encoding in ["UTF-8", "UTF-16le", "UTF-16be"] {
                let sql = format!(
                    "PRAGMA page_size = {size}; PRAGMA auto_vacuum = {auto_vacuum}; PRAGMA encoding = '{encoding}';
                     PRAGMA user_version = -7; PRAGMA application_id = 305419896;
                     CREATE TABLE t (a TEXT, b); CREATE INDEX i ON t (a DESC, b); CREATE TABLE u (x INTEGER PRIMARY KEY, y);
                     {SERIES} INSERT INTO t SELECT 'wörd ' || (i * 7919 % 3000), zeroblob(i % 40) FROM n;
                     INSERT INTO t SELECT hex(randomblob(4000)), randomblob(70000) FROM t LIMIT 9;
                     {SERIES} INSERT INTO u SELECT i * 3, i FROM n; DELETE FROM t WHERE rowid % 3 = 0;"
                );
                same(
                    &sql,
                    &[keep("t", "rowid % 2 = 0"), keep("u", "y > 2000")],
                    "DELETE FROM t WHERE rowid % 2 <> 0; DELETE FROM u WHERE y <= 2000",
                );
            }
        }
    }
}

#[test]
fn rowids_stay_where_nothing_but_the_row_knows_them() {
    let sql = format!(
        "CREATE TABLE plain (a); CREATE TABLE hidden (rowid TEXT, _rowid_, oid, a); CREATE INDEX h ON hidden (a);
         {SERIES} INSERT INTO plain SELECT i FROM n; DELETE FROM plain WHERE a % 5 <> 0; INSERT INTO plain (rowid, a) VALUES (-9223372036854775808, 1), (9223372036854775807, 2);
         {SERIES} INSERT INTO hidden SELECT 'r' || i, NULL, i, i % 10 FROM n; DELETE FROM hidden WHERE oid % 4 = 0;"
    );
    same(&sql, &[], "");
    same(
        &sql,
        &[keep("hidden", "a = 3"), keep("plain", "a % 2 = 0")],
        "DELETE FROM hidden WHERE a <> 3; DELETE FROM plain WHERE a % 2 <> 0",
    );
}

#[test]
fn tables_without_rowid_lose_only_what_a_rule_drops() {
    let sql = format!(
        "CREATE TABLE w (a TEXT, b INTEGER, c, PRIMARY KEY (b DESC, a)) WITHOUT ROWID; CREATE INDEX wi ON w (c);
         CREATE UNIQUE INDEX wp ON w (c, a) WHERE c > 100;
         {SERIES} INSERT INTO w SELECT 'k' || (i % 70), i, i * 3.5 FROM n; INSERT INTO w VALUES (x'00', 0, hex(zeroblob(9000)));
         CREATE TRIGGER never AFTER DELETE ON w BEGIN SELECT raise(ABORT, 'fired'); END;"
    );
    same(&sql, &[], "");
    same(&sql, &[keep("w", "b % 3 = 1 OR c IS NULL")], "DELETE FROM w WHERE NOT (b % 3 = 1 OR c IS NULL)");
}

#[test]
fn values_keep_their_storage_class_in_columns_of_any_affinity() {
    let mut values =
        vec!["NULL", "1", "-1", "1.0", "1.5", "9e999", "-9e999", "9223372036854775807", "'1'", "'abc'", "x'31'", "''", "x''"];
    values.extend(["-0.0", "1e300", "281474976710656", "'9223372036854775808'"]);
    let rows: Vec<String> = values.iter().map(|value| format!("({value},{value},{value},{value},{value},{value})")).collect();
    let sql = format!(
        "CREATE TABLE t (a INTEGER, b REAL, c TEXT, d NUMERIC, e BLOB, f); CREATE INDEX i ON t (b, a); INSERT INTO t VALUES {};
         CREATE TABLE s (a ANY, b REAL, c INT) STRICT; INSERT INTO s VALUES ('1', 1, 1), (1.0, 2.5, 2), (x'00', 3, NULL);
         ALTER TABLE t ADD COLUMN g DEFAULT 'later'; INSERT INTO t (g) VALUES ('now');
         PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'c TEXT', 'c INTEGER') WHERE name = 't';",
        rows.join(",")
    );
    same(&sql, &[], "");
}

#[test]
fn generated_columns_expressions_and_partial_indexes_are_kept() {
    let sql = format!(
        "CREATE TABLE g (a INT, v AS (a * 2) VIRTUAL, b TEXT COLLATE NOCASE, s AS (b || a) STORED, c CHECK (c > 0) DEFAULT (1 + 1));
         CREATE INDEX gv ON g (v); CREATE UNIQUE INDEX ge ON g (a + 1, lower(b)); CREATE INDEX gp ON g (b) WHERE a > 50 AND b IS NOT NULL;
         {SERIES} INSERT INTO g (a, b) SELECT i, 'Name ' || (i % 13) FROM n;"
    );
    same(&sql, &[keep("g", "v % 3 = 0")], "DELETE FROM g WHERE v % 3 <> 0");
}

#[test]
fn names_of_every_kind_are_kept() {
    let sql = r#"CREATE TABLE "a""b" ([x y] INT, "select" TEXT, `t``k` UNIQUE, 'str'); CREATE TABLE [group] (a PRIMARY KEY, "rowid");
        CREATE INDEX "in""dex" ON "a""b" ("select", [x y]); CREATE TABLE "wörter 表" (a); CREATE TABLE "" (a);
        INSERT INTO "a""b" VALUES (1, 'b', 3, 4), (2, 'a', 5, 6); INSERT INTO [group] VALUES (1, 2); INSERT INTO "wörter 表" VALUES ('ü');
        CREATE VIEW "v w" AS SELECT * FROM [group]; CREATE TEMP TABLE gone (a);"#;
    same(sql, &[keep("A\"B", "[x y] = 2")], r#"DELETE FROM "a""b" WHERE [x y] <> 2"#);
}

#[test]
fn sequences_statistics_views_triggers_and_foreign_keys_are_kept_and_never_act() {
    let sql = format!(
        "CREATE TABLE p (id INTEGER PRIMARY KEY AUTOINCREMENT, a); CREATE TABLE c (id INTEGER PRIMARY KEY, p REFERENCES p ON DELETE CASCADE);
         CREATE TABLE log (a); CREATE TRIGGER tr AFTER INSERT ON p BEGIN INSERT INTO log VALUES (new.id); END;
         CREATE VIEW vw AS SELECT * FROM p; {SERIES} INSERT INTO p (a) SELECT i FROM n; DELETE FROM p WHERE id > 2900;
         INSERT INTO c SELECT id, id FROM p LIMIT 50; CREATE INDEX pa ON p (a); ANALYZE;"
    );
    same(&sql, &[], "");
    same(&sql, &[keep("log", "a <= 10")], "DELETE FROM log WHERE a > 10");
}

/// What these two tables keep their content in, as another SQLite wrote it: the agent's own may have been built without their module.
const FTS_3_AND_4: &str = include_str!("fts.sql");

#[test]
fn virtual_tables_come_along_without_their_module() {
    let sql = format!(
        "CREATE VIRTUAL TABLE f USING fts5(a, b); CREATE VIRTUAL TABLE r USING rtree(id, x0, x1);
         {SERIES} INSERT INTO f SELECT 'word' || (i % 50), 'text ' || i FROM n; {SERIES} INSERT INTO r SELECT i, i, i + 1 FROM n;
         {FTS_3_AND_4}
         PRAGMA writable_schema = ON;
         INSERT INTO sqlite_schema VALUES ('table', 'strange', 'strange', 0, 'CREATE VIRTUAL TABLE strange USING nobody_knows(a)');"
    );
    same(&sql, &[], "");
    let case = Case::new();
    case.open().execute_batch(&sql).unwrap();
    case.rebuild(&[]);
    let new = Connection::open(case.new_file()).unwrap();
    let count = |sql: &str| new.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM f WHERE f MATCH 'word7'"), 60);
    new.execute_batch("INSERT INTO f(f) VALUES ('integrity-check')").unwrap();
    assert_eq!(count("SELECT sum(rtreecheck('r') = 'ok')"), 1);
    if count("SELECT count(*) FROM pragma_module_list WHERE name = 'fts4'") == 1 {
        new.execute_batch("INSERT INTO f3(f3) VALUES ('integrity-check'); INSERT INTO f4(f4) VALUES ('integrity-check')")
            .unwrap();
        assert_eq!(count("SELECT count(*) FROM f3 WHERE f3 MATCH 'old'"), 1);
        assert_eq!(count("SELECT count(*) FROM f4 WHERE f4 MATCH '1234'"), 1);
    }
}

#[test]
fn a_collation_that_only_the_application_knows_stands_in_no_copys_way() {
    let case = Case::new();
    let old = case.open();
    old.execute_batch("CREATE TABLE t (a, b); INSERT INTO t VALUES ('x', 1), ('a', 2);
        CREATE INDEX i ON t (a COLLATE NOCASE) WHERE lower(a) > 'b';
        PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(replace(sql, 'NOCASE', 'SWEDISH'), 'lower', 'upside') WHERE name = 'i'").unwrap();
    drop(old);
    let call = dbmig_wire::Inspect { database: super::text(&case.old()), full_check: false, quiescent: true };
    let facts = dbmig_agent::database::inspect(&call, &super::Quiet).unwrap();
    assert_eq!(facts.unreadable, None);
    let content = facts.content.unwrap();
    assert_eq!(content.obstacles, ["collation SWEDISH (index i on t)", "function upside (index i on t)"]);
    assert_eq!(content.damage, Vec::<String>::new());
}

#[test]
fn a_wal_database_stays_one_and_leaves_no_side_files() {
    let case = Case::new();
    let old = case.open();
    old.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)").unwrap();
    drop(old);
    case.rebuild(&[]);
    assert_eq!(differences(&case.old(), &case.new_file(), ""), Vec::<String>::new());
    let names: Vec<_> = std::fs::read_dir(case.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let new = Connection::open(case.new_file()).unwrap();
    let mode: String = new.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_schema_larger_than_a_page_is_kept() {
    let tables: Vec<String> =
        (0..60).map(|n| format!("CREATE TABLE t{n} (a, {}); CREATE INDEX i{n} ON t{n} (a);", columns(n))).collect();
    for size in [512, 4096] {
        same(&format!("PRAGMA page_size = {size}; {} INSERT INTO t7 (a) VALUES (1)", tables.concat()), &[], "");
    }
}

fn columns(count: usize) -> String {
    (0..count).map(|n| format!("a_rather_long_name_of_column_{n}")).chain(["z".to_owned()]).collect::<Vec<_>>().join(", ")
}

#[test]
fn empty_databases_and_tables_are_kept() {
    same("PRAGMA user_version = 3", &[], "");
    same("CREATE TABLE t (a UNIQUE); CREATE TABLE w (a PRIMARY KEY) WITHOUT ROWID", &[], "");
}

#[test]
fn an_application_can_go_on_writing_to_the_new_file() {
    let case = Case::new();
    for auto_vacuum in [0, 1, 2] {
        let _ = std::fs::remove_file(case.old());
        let sql = format!(
            "PRAGMA page_size = 512; PRAGMA auto_vacuum = {auto_vacuum}; CREATE TABLE t (a INTEGER PRIMARY KEY, b); CREATE INDEX i ON t (b);
             CREATE TABLE u (x); {SERIES} INSERT INTO t SELECT i, hex(zeroblob(i % 900)) FROM n; INSERT INTO u SELECT b FROM t;"
        );
        case.open().execute_batch(&sql).unwrap();
        case.try_rebuild(&[keep("u", "length(x) > 900")], &[]).unwrap_or_else(|error| panic!("{}", told(&error)));
        let new = Connection::open(case.new_file()).unwrap();
        new.execute_batch(&format!(
            "CREATE TABLE more (a, b); {SERIES} INSERT INTO more SELECT i, randomblob(i) FROM n; DELETE FROM t WHERE a % 2; DROP TABLE u;
             UPDATE t SET b = b || b; CREATE INDEX late ON more (b); PRAGMA incremental_vacuum; VACUUM"
        ))
        .unwrap();
        let check: String = new.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}
