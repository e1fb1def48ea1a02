//! Faults around a cut-over. Whatever happens before the switch, writers have their rights back, and every acknowledged row is where they write.

use serde_json::Value;

use super::{STEPS, finish, last, may_write};
use crate::support::{Harm, Moving, Namespace, Proxy, Running, Side};

/// What `status` says of the Job, and its exit code.
fn status(space: &Namespace) -> (Value, i32) {
    let run = space.dbmig(&["status", "job/db-upgrade", "-o", "json"]);
    (serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {} {}", run.stdout, run.stderr)), run.code)
}

/// The writers may write to the source, and what was acknowledged is there.
fn unharmed(moving: &Moving<'_>, what: &str) {
    assert!(may_write(moving, Side::Source), "{what}");
    let acks = moving.acks();
    let there = moving.numbers(Side::Source);
    assert!(
        acks.written.iter().all(|number| there.binary_search(number).is_ok()),
        "{what}: an acknowledged row is not on the source"
    );
}

/// A cut-over that can't get through says so and has given the rights back; else `undo` does.
fn taken_back(space: &Namespace, moving: &Moving<'_>, mut running: Running, what: &str) {
    let ended = running.ends();
    if ended.code == 8 {
        // What it needs was away for longer than patience lasts.
        space.wait_for("undo gets through", || space.dbmig(&["undo", &last(space), "--yes"]).code == 0);
    }
    assert!(matches!(ended.code, 1 | 6 | 7 | 8), "{what}: {} {}", ended.code, ended.stderr);
    unharmed(moving, what);
}

/// Slots on the source, and whether somebody reads them.
fn slots(moving: &Moving<'_>) -> String {
    moving.sql(Side::Source, "SELECT slot_name, active FROM pg_replication_slots")
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_and_faults_on_the_way_leave_the_source_as_it_was() {
    let space = Namespace::new("finish").await;
    let Some(moving) = Moving::new(&space) else { return };
    let moving = moving.up();
    moving.writers(1).job();
    let mut watching = Running::start(space.dbmig_command(&["watch", "job/db-upgrade", "--plain"]));
    moving.follows();
    watching.prints(": follows: ");
    watching.interrupt();
    assert_eq!(watching.ends().code, 0, "{}", watching.said());
    let (said, _) = status(&space);
    let copy = &said["copies"][0];
    let number = |path: &str| copy.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path}: {said:#}"));
    assert!(number("/tables/all") > 5 && number("/bytes/all") > 1 << 20 && number("/indexes/all") > 5, "{said:#}");
    for part in ["tables", "bytes"] {
        assert_eq!(copy[part]["done"], copy[part]["all"], "{said:#}");
    }
    assert_eq!((copy["slot"]["name"].as_str(), copy["slot"]["active"].as_bool()), (Some("pgcopydb"), Some(true)), "{said:#}");
    number("/lagBytes");

    // Somebody has rehearsed, and left its end behind.
    let sentinel = |end: &str| {
        space.kubectl(&["exec", "job/db-upgrade", "--", "pgcopydb", "stream", "sentinel", "set", "endpos", end]);
    };
    sentinel("FFFFFF/0");
    let (said, code) = status(&space);
    assert!(code == 3 && said["verdict"]["text"].as_str().unwrap().contains("told to end at FFFFFF/0"), "{code} {said:#}");
    let run = finish(&space, &["--yes"]);
    assert!(run.code == 4 && run.stderr.contains("FFFFFF/0"), "{} {}", run.code, run.stderr);
    sentinel("0/0");

    moving.sql(Side::Source, "ALTER ROLE admin PASSWORD 'another'");
    let run = finish(&space, &["--yes"]);
    assert!(run.code == 1 && run.stderr.contains("password"), "{} {}", run.code, run.stderr);
    moving.sql(Side::Source, "ALTER ROLE admin PASSWORD 'admin-secret'");
    unharmed(&moving, "a wrong password");

    // A row that differs would send it back in any case; that its connections are cut on the way changes nothing.
    moving.follows();
    moving.sql(Side::Target, "UPDATE api.accounts SET name = 'somebody else' WHERE id = 42");
    let proxy = Proxy::new(&space).await;
    let words = ["finish", "job/db-upgrade", "--yes", "--max-downtime", "5m"];
    let mut running = Running::start(space.dbmig_command_as(&proxy.kubeconfig(), &words));
    for step in [2, 4] {
        running.reaches(step, STEPS);
        proxy.harm(Harm::Reset);
    }
    taken_back(&space, &moving, running, "cut connections");
    assert!(proxy.harmed() > 0);
    moving.sql(Side::Target, "UPDATE api.accounts SET name = 'account 42' WHERE id = 42");
    moving.follows();

    let mut running = Running::start(space.dbmig_command(&words));
    running.reaches(4, STEPS);
    moving.crash(Side::Source);
    taken_back(&space, &moving, running, "the source was restarted");
    // pgcopydb does not get over that: its slot stays, and keeps what is written from now on.
    space.wait_for("nobody reads its slot", || slots(&moving) == "pgcopydb|f");
    let (said, code) = status(&space);
    assert!(code == 3 && said["verdict"]["text"].as_str().unwrap().contains("nobody reads slot pgcopydb"), "{code} {said:#}");
    let run = finish(&space, &["--yes"]);
    assert!(run.code == 4 && run.stderr.contains("nobody reads slot"), "{} {}", run.code, run.stderr);
    unharmed(&moving, "an orphan slot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_target_and_a_killed_pod_leave_the_source_as_it_was() {
    let space = Namespace::new("finish").await;
    let Some(moving) = Moving::new(&space) else { return };
    let moving = moving.on(Side::Target, "256Mi").up();
    moving.writers(1).job().follows();
    let begun = || Running::start(space.dbmig_command(&["finish", "job/db-upgrade", "--yes", "--max-downtime", "60s"]));

    let mut running = begun();
    running.reaches(3, STEPS);
    let full = "dd if=/dev/zero of=/data/filler bs=64k 2>&1; true";
    assert!(moving.in_pod(&Side::Target.pod(), full).contains("No space"));
    moving.sql(Side::Source, "INSERT INTO api.events SELECT i, repeat(md5(i::text), 100) FROM generate_series(1, 20000) AS i");
    taken_back(&space, &moving, running, "the target's disk is full");

    // Once more from the beginning, with room.
    space.kubectl(&["exec", &Side::Target.pod(), "--", "rm", "/data/filler"]);
    space.kubectl(&["delete", "job", "db-upgrade", "--cascade=foreground", "--grace-period=1"]);
    space.wait_for("its slot can be dropped", || {
        moving.try_sql(Side::Source, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots").code == 0
    });
    space.wait_for("the target is as it was", || {
        let sql = "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin; SELECT lo_unlink(oid) FROM pg_largeobject_metadata; \
                   DROP SCHEMA IF EXISTS api, kubectl_dbmig, pgcopydb CASCADE";
        moving.try_sql(Side::Target, sql).code == 0
    });
    moving.sql(Side::Source, "DROP SCHEMA IF EXISTS kubectl_dbmig CASCADE");
    moving.job().follows();

    let mut running = begun();
    running.reaches(4, STEPS);
    space.kubectl(&["delete", "pods", "-l", "app=db-upgrade,job-name", "--grace-period=0", "--force"]);
    taken_back(&space, &moving, running, "the Job's pod was killed");
    space.wait_for("nobody reads its slot", || slots(&moving) == "pgcopydb|f");
}
