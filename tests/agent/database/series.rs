//! The rule for series that have been summed up, and what it does to upmeter-like files.

use dbmig_wire::Rule;

use super::Case;
use super::compare::differences;
use crate::upmeter::{Upmeter, Variant};

pub fn rule(upmeter: &Upmeter) -> Rule {
    let (fine, coarse) = upmeter.tables();
    Rule::SummedUp {
        fine: fine.to_owned(),
        coarse: coarse.to_owned(),
        time: "timeslot".to_owned(),
        slot: 300,
        keys: vec!["group_name".to_owned(), "probe_name".to_owned()],
        older_than: upmeter.now - 86_400,
    }
}

/// The same in plain SQL.
pub fn reference(upmeter: &Upmeter) -> String {
    let (fine, coarse) = upmeter.tables();
    format!(
        "DELETE FROM {fine} WHERE typeof(timeslot) = 'integer' AND timeslot < {} AND EXISTS (SELECT 1 FROM {coarse} c \
         WHERE c.timeslot = {fine}.timeslot - {fine}.timeslot % 300 AND c.group_name = {fine}.group_name \
         AND c.probe_name = {fine}.probe_name)",
        upmeter.now - 86_400
    )
}

#[test]
fn only_summed_up_rows_go_from_odd_files_of_both_schemas() {
    for variant in [Variant::Old, Variant::New] {
        let upmeter = Upmeter { variant, ..Upmeter::new(4, 6, 7).odd() };
        let case = Case::new();
        upmeter.write(&case.old()).unwrap();
        let rebuilt = case.rebuild(&[rule(&upmeter)]);
        assert_eq!(differences(&case.old(), &case.new_file(), &reference(&upmeter)), Vec::<String>::new());
        let fine = rebuilt.tables.iter().find(|table| table.name == upmeter.tables().0).unwrap();
        assert!(fine.kept > 0 && fine.kept < fine.rows / 2, "{fine:?}");
    }
}

/// Tables of every build: the fine one with and without rowid, indexes that hold time and keys or do not, or none at all.
const BUILDS: [&str; 7] = [
    "CREATE TABLE fine (t, a, b, v); CREATE TABLE coarse (t, a, b)",
    "CREATE TABLE fine (t, a, b, v); CREATE TABLE coarse (t, a, b); CREATE INDEX c ON coarse (t, a); CREATE INDEX f ON fine (b, v, a DESC, t)",
    "CREATE TABLE fine (t INTEGER, a TEXT, b, v); CREATE TABLE coarse (t INTEGER, a TEXT, b); CREATE INDEX f ON fine (t, a, b) WHERE v > 5; CREATE INDEX g ON fine (v)",
    "CREATE TABLE fine (t, a, b, v, n INTEGER PRIMARY KEY, UNIQUE (n, t, a, b)); CREATE TABLE coarse (t, a, b)",
    "CREATE TABLE fine (t, a, b, v, n PRIMARY KEY) WITHOUT ROWID; CREATE INDEX f ON fine (t, a, b); CREATE TABLE coarse (t, a, b)",
    "CREATE TABLE fine (t REAL, a, b, v); CREATE TABLE coarse (t, a, b)",
    "CREATE TABLE fine (rowid, oid, _rowid_, t, a, b AS (rowid) VIRTUAL, v); CREATE TABLE coarse (t, a, b)",
];

#[test]
fn series_of_any_build_and_order_lose_what_plain_sql_would_drop() {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};
    const VALUES: [&str; 9] = ["NULL", "1", "1.0", "'1'", "'a'", "'A'", "'ö'", "x'61'", "2.5"];
    for (seed, build) in (0..).zip(BUILDS.iter().cycle().take(63)) {
        let mut random = SmallRng::seed_from_u64(seed);
        let case = Case::new();
        let old = case.open();
        let encoding = ["UTF-8", "UTF-16le", "UTF-16be"][random.random_range(0..3)];
        old.execute_batch(&format!("PRAGMA encoding = '{encoding}'; {build}; BEGIN")).unwrap();
        let mut pick = |of: &[&str]| of[random.random_range(0..of.len())].to_owned();
        for number in 0..400 {
            let time = pick(&["10", "-10", "299", "300", "300.0", "601", "'300'", "NULL", "1200", "5000", "-310"]);
            let (a, b) = (pick(&VALUES), pick(&VALUES));
            let column = if build.contains("VIRTUAL") { "rowid" } else { "b" };
            let (names, values) = (format!("t, a, {column}, v"), format!("{time}, {a}, {b}, {number}"));
            let sql = match build.contains("n ") && build.contains("PRIMARY") {
                true => format!("INSERT INTO fine ({names}, n) VALUES ({values}, {number})"),
                false => format!("INSERT INTO fine ({names}) VALUES ({values})"),
            };
            old.execute_batch(&sql).unwrap();
            let slot = pick(&["0", "300", "300.0", "600", "'300'", "NULL", "-300"]);
            old.execute_batch(&format!("INSERT INTO coarse VALUES ({slot}, {a}, {b})")).unwrap();
        }
        old.execute_batch("COMMIT; DELETE FROM coarse WHERE random() % 3 = 0").unwrap();
        if !build.contains("VIRTUAL") && !build.contains("WITHOUT") {
            old.execute_batch("ALTER TABLE fine ADD COLUMN later DEFAULT 'x'; ALTER TABLE coarse ADD COLUMN later DEFAULT 'x'")
                .unwrap();
        }
        let later = if build.contains("VIRTUAL") || build.contains("WITHOUT") { "" } else { " AND c.later = fine.later" };
        drop(old);
        let mut keys = vec!["a".to_owned(), "B".to_owned()];
        keys.extend((!later.is_empty()).then(|| "later".to_owned()));
        let (fine, coarse, time) = ("fine".to_owned(), "coarse".to_owned(), "t".to_owned());
        let rule = Rule::SummedUp { fine, coarse, time, slot: 300, keys, older_than: 1000 };
        let rebuilt = case.rebuild(std::slice::from_ref(&rule));
        let reference = format!(
            "DELETE FROM fine WHERE typeof(t) = 'integer' AND t < 1000 AND EXISTS \
             (SELECT 1 FROM coarse c WHERE c.t = fine.t - fine.t % 300 AND c.a = fine.a AND c.b = fine.b{later})"
        );
        assert_eq!(differences(&case.old(), &case.new_file(), &reference), Vec::<String>::new(), "seed {seed}: {build}");
        let kept = &rebuilt.tables.iter().find(|table| table.name == "fine").unwrap();
        assert_eq!(kept.kept < kept.rows, !build.contains("t REAL"), "seed {seed}");
    }
}
