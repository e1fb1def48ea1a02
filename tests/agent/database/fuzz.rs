//! Random schemas, values and rules from fixed seeds, rebuilt and compared with plain SQL.

use dbmig_wire::Rule;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::Case;
use super::compare::differences;

const CASES: u64 = 150;

#[test]
fn random_databases_come_through_as_plain_sql_would_leave_them() {
    for seed in 0..CASES {
        let mut random = SmallRng::seed_from_u64(seed);
        let case = Case::new();
        let old = case.open();
        let tables = make(&old, &mut random);
        drop(old);
        let (rules, reference) = rules(&tables, &mut random);
        case.rebuild(&rules);
        assert_eq!(differences(&case.old(), &case.new_file(), &reference), Vec::<String>::new(), "seed {seed}, rules {rules:?}");
    }
}

fn make(old: &rusqlite::Connection, random: &mut SmallRng) -> Vec<String> {
    let size = 512 << random.random_range(0..5);
    let encoding = ["UTF-8", "UTF-16le", "UTF-16be"][random.random_range(0..3)];
    let auto_vacuum = random.random_range(0..3);
    old.execute_batch(&format!("PRAGMA page_size = {size}; PRAGMA encoding = '{encoding}'; PRAGMA auto_vacuum = {auto_vacuum}"))
        .unwrap();
    let names: Vec<String> = (0..random.random_range(1..4)).map(|n| format!("t {n}")).collect();
    names.iter().for_each(|name| table(old, name, random));
    names.iter().for_each(|name| fill(old, name, random));
    names
}

fn table(old: &rusqlite::Connection, name: &str, random: &mut SmallRng) {
    const TYPES: [&str; 7] = ["", "INTEGER", "REAL", "TEXT", "NUMERIC", "BLOB", "TEXT COLLATE NOCASE"];
    let mut column = |at: usize| format!("c{at} {}", TYPES[random.random_range(0..TYPES.len())]);
    let columns: Vec<String> = (1..4).map(&mut column).collect();
    let (key, end) = match random.random_range(0..4) {
        0 => ("k INTEGER PRIMARY KEY", ""),
        1 => ("k PRIMARY KEY", " WITHOUT ROWID"),
        2 => ("k INTEGER PRIMARY KEY AUTOINCREMENT", ""),
        _ => ("k", ""),
    };
    old.execute_batch(&format!("CREATE TABLE \"{name}\" ({key}, {}){end}", columns.join(", "))).unwrap();
    for at in 0..random.random_range(0..3) {
        let (a, b) = (random.random_range(1..4), random.random_range(1..4));
        let (unique, way) = (["", "UNIQUE "][random.random_range(0..2)], ["", " DESC"][random.random_range(0..2)]);
        let partial = ["", " WHERE c1 IS NOT NULL", " WHERE typeof(c2) = 'integer'"][random.random_range(0..3)];
        old.execute_batch(&format!("CREATE {unique}INDEX \"{name} {at}\" ON \"{name}\" (c{a}{way}, c{b}, k){partial}")).unwrap();
    }
}

fn fill(old: &rusqlite::Connection, name: &str, random: &mut SmallRng) {
    old.execute_batch("BEGIN").unwrap();
    let mut insert = old.prepare(&format!("INSERT OR IGNORE INTO \"{name}\" VALUES (?1, ?2, ?3, ?4)")).unwrap();
    for _ in 0..random.random_range(0..800) {
        let values = [key(random), value(random), value(random), value(random)];
        let _ = insert.execute(rusqlite::params_from_iter(values));
    }
    old.execute_batch(&format!("DELETE FROM \"{name}\" WHERE k % 7 = 0; COMMIT")).unwrap();
}

fn key(random: &mut SmallRng) -> rusqlite::types::Value {
    let range = [50, 100_000, i64::MAX][random.random_range(0..3)];
    rusqlite::types::Value::Integer(random.random_range(-range..range))
}

fn value(random: &mut SmallRng) -> rusqlite::types::Value {
    use rusqlite::types::Value;
    let length = [0, 3, 30, 300, 9000][random.random_range(0..5)];
    let length = if random.random_range(0..8) == 0 { length } else { length.min(20) };
    match random.random_range(0..6) {
        0 => Value::Null,
        1 => Value::Integer(random.random_range(-300..300)),
        2 => Value::Integer(random.random::<i64>() >> random.random_range(0..63)),
        3 => Value::Real(f64::from_bits(random.random())),
        4 => Value::Text((0..length).map(|_| ['a', 'B', 'ö', '7', '表'][random.random_range(0..5)]).collect()),
        _ => Value::Blob((0..length).map(|_| random.random()).collect()),
    }
}

fn rules(tables: &[String], random: &mut SmallRng) -> (Vec<Rule>, String) {
    const CONDITIONS: [&str; 4] = ["k % 3 = 1", "c1 > c2 OR c3 IS NULL", "typeof(c2) IN ('text', 'blob')", "k > 0"];
    let mut reference = String::new();
    let mut rules = Vec::new();
    for table in tables {
        if random.random_range(0..3) > 0 {
            let condition = CONDITIONS[random.random_range(0..CONDITIONS.len())].to_owned();
            reference += &format!("DELETE FROM \"{table}\" WHERE ({condition}) IS NOT TRUE;");
            rules.push(Rule::Where { table: table.clone(), condition, allow_empty: true });
        }
    }
    (rules, reference)
}
