//! What a cut-over proves: rows are compared while writers still write, and whatever differs is found all the same, whenever it came about.

use super::{STEPS, finish, last, may_write};
use crate::support::{Moving, Namespace, Run, Running, Side};

/// The step at which writers lose their rights, after a moment's wait: everything has been compared once by then.
const FREEZE: usize = 3;

/// A large value that lies apart from its row, which every row of the table has at first.
fn document(moving: &Moving<'_>, id: u32) -> String {
    moving.sql(Side::Target, &format!("SELECT md5(d::text) FROM api.documents AS d WHERE id = {id}"))
}

/// It ended because rows differ, said which ones, and left the writers their rights and pgcopydb at work.
fn found(moving: &Moving<'_>, run: &Run, keys: &str, what: &str) {
    assert!(run.code == 7 && run.stderr.contains(&format!("differ from key {keys}")), "{what}: {} {}", run.code, run.stderr);
    assert!(may_write(moving, Side::Source), "{what}");
    moving.follows();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_compared_before_writers_stop_are_proven_by_what_was_written_since() {
    let space = Namespace::new("finish").await;
    let Some(moving) = Moving::new(&space) else { return };
    let moving = moving.megabytes(12).up();
    moving.writers(1).job().follows();
    let words = ["finish", "job/db-upgrade", "--yes", "--max-downtime", "5m"];
    let begun = || {
        let mut running = Running::start(space.dbmig_command(&words));
        running.reaches(FREEZE, STEPS);
        running
    };

    // Wrong before: nobody has to stop for that.
    let right = document(&moving, 700);
    moving.sql(Side::Target, "UPDATE api.documents SET title = 'wrong' WHERE id = 700");
    let run = finish(&space, &["--dry-run"]);
    assert!(run.code == 0 && run.stderr.contains("wrong already: api.documents"), "{} {}", run.code, run.stderr);
    let run = finish(&space, &words[2..]);
    found(&moving, &run, "700 to 700", "a row that was wrong before");
    assert!(run.stderr.contains("writers have not been stopped"), "{}", run.stderr);
    moving.sql(Side::Target, "UPDATE api.documents SET title = 'document 700' WHERE id = 700");
    assert_eq!(document(&moving, 700), right);

    // Wrong after it has been found right: changed on the target alone, by pgcopydb, not there, and not there with another one in its place.
    for (side, sql, keys, what, repair) in [
        (
            Side::Target,
            "UPDATE api.documents SET title = 'wrong' WHERE id = 800",
            "800 to 800",
            "a row that was changed on the target",
            "DELETE FROM api.documents WHERE id = 800",
        ),
        (
            Side::Source,
            "UPDATE api.documents SET title = 'changed' WHERE id = 900",
            "900 to 900",
            "a row whose large value pgcopydb loses",
            "DELETE FROM api.documents WHERE id = 900",
        ),
        (
            Side::Target,
            "DELETE FROM api.documents WHERE id = 1000",
            "1000 to 1000",
            "a row that is gone",
            "DELETE FROM api.documents WHERE id = 1000",
        ),
        (
            Side::Target,
            "DELETE FROM api.documents WHERE id = 1001; INSERT INTO api.documents (id, title) VALUES (900001, 'another')",
            "1 to 900001",
            "a row in place of another",
            "DELETE FROM api.documents WHERE id IN (1001, 900001)",
        ),
    ] {
        let mut running = begun();
        running.paused(|| moving.sql(side, sql));
        found(&moving, &running.ends(), keys, what);
        for side in [Side::Source, Side::Target] {
            moving.sql(side, repair);
        }
        assert_eq!(document(&moving, 700), right);
    }

    // Whoever goes on after the plugin has died knows what was compared, and what to compare once more.
    let mut running = begun();
    running.kill();
    moving.sql(Side::Target, "UPDATE api.documents SET title = 'wrong' WHERE id = 1100");
    let run = space.dbmig(&["resume", &last(&space), "--yes"]);
    found(&moving, &run, "1100 to 1100", "a row that was changed between two processes");
    moving.sql(Side::Target, "UPDATE api.documents SET title = 'document 1100' WHERE id = 1100");

    let mut running = begun();
    running.kill();
    let run = space.dbmig(&["resume", &last(&space), "--yes"]);
    assert!(run.code == 0 && run.stderr.contains("compared before"), "{} {}", run.code, run.stderr);
    assert_eq!(moving.content(Side::Target), moving.content(Side::Source));
    assert_eq!(moving.numbers(Side::Target), moving.acks().written.into_iter().collect::<Vec<_>>());
}
