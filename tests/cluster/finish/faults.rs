//! Faults around a cut-over. Whatever happens before the switch, writers have their rights back, and every acknowledged row is where they write.

use serde_json::Value;

use super::{STEPS, finish, last, may_write};
use crate::support::{Harm, Moving, Namespace, Proxy, Running, Side};

/// What `status` says of the Job, and its exit code.
fn status(space: &Namespace) -> (Value, i32) {
    let run = space.dbmig(&["status", "job/db-upgrade", "-o", "json"]);
    (serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {} {}", run.stdout, run.stderr)), run.code)
}

/// `status` calls this what is wrong.
fn told(space: &Namespace, what: &str) -> bool {
    let (said, code) = status(space);
    code == 3 && said["verdict"]["text"].as_str().is_some_and(|text| text.contains(what))
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

/// From now on a row of the target is not what it is on the source: what is not stopped before is stopped by the comparison, at the latest.
fn differs(moving: &Moving<'_>) {
    moving.sql(Side::Target, "UPDATE api.accounts SET name = 'somebody else' WHERE id = 42");
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
    let mut said = Value::Null;
    space.wait_for("status knows how far it is", || {
        said = status(&space).0;
        said["copies"][0]["lagBytes"].is_u64() && said["copies"][0]["slot"]["active"] == true
    });
    let copy = &said["copies"][0];
    let number = |path: &str| copy.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path}: {said:#}"));
    assert!(number("/tables/all") > 5 && number("/bytes/all") > 1 << 20 && number("/indexes/all") > 5, "{said:#}");
    for part in ["tables", "bytes"] {
        assert_eq!(copy[part]["done"], copy[part]["all"], "{said:#}");
    }
    assert_eq!(copy["slot"]["name"], "pgcopydb", "{said:#}");

    // Somebody has rehearsed, and left its end behind.
    let sentinel = |end: &str| {
        let words = ["exec", "job/db-upgrade", "--", "pgcopydb", "stream", "sentinel", "set", "endpos", end];
        space.wait_for("its file is not locked", || space.try_kubectl(&words).code == 0);
    };
    sentinel("FFFFFF/0");
    space.wait_for("status tells of the end that was left behind", || told(&space, "told to end at FFFFFF/0"));
    let run = finish(&space, &["--yes"]);
    assert!(run.code == 4 && run.stderr.contains("FFFFFF/0"), "{} {}", run.code, run.stderr);
    sentinel("0/0");

    moving.sql(Side::Source, "ALTER ROLE admin PASSWORD 'another'");
    let run = finish(&space, &["--yes"]);
    assert!(run.code == 1 && run.stderr.contains("password"), "{} {}", run.code, run.stderr);
    moving.sql(Side::Source, "ALTER ROLE admin PASSWORD 'admin-secret'");
    unharmed(&moving, "a wrong password");

    moving.follows();
    differs(&moving);
    let proxy = Proxy::new(&space).await;
    let words = ["finish", "job/db-upgrade", "--yes", "--max-downtime", "5m"];
    let mut running = Running::start(space.dbmig_command_as(&proxy.kubeconfig(), &words));
    for step in [4, 5] {
        running.reaches(step, STEPS);
        proxy.harm(Harm::Reset);
    }
    taken_back(&space, &moving, running, "cut connections");
    assert!(proxy.harmed() > 0);
    moving.follows();

    let mut running = Running::start(space.dbmig_command(&words));
    running.reaches(5, STEPS);
    running.paused(|| moving.crash(Side::Source));
    taken_back(&space, &moving, running, "the source was restarted");
    // Whatever is left of pgcopydb goes too: its slot stays, and keeps what is written from now on.
    space.try_kubectl(&["exec", "job/db-upgrade", "--", "pkill", "-KILL", "pgcopydb"]);
    space.wait_for("nobody reads its slot, and that is told", || told(&space, "nobody reads slot pgcopydb"));
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

    differs(&moving);
    let mut running = begun();
    running.reaches(4, STEPS);
    let full = "dd if=/dev/zero of=/data/filler bs=64k 2>&1; true";
    running.paused(|| assert!(moving.in_pod(&Side::Target.pod(), full).contains("No space")));
    moving.sql(Side::Source, "INSERT INTO api.events SELECT i, repeat(md5(i::text), 100) FROM generate_series(1, 20000) AS i");
    taken_back(&space, &moving, running, "the target's disk is full");

    // Once more from the beginning, with room.
    space.kubectl(&["exec", &Side::Target.pod(), "--", "rm", "/data/filler"]);
    moving.no_job().job().follows();

    differs(&moving);
    let mut running = begun();
    running.reaches(5, STEPS);
    running.paused(|| space.kubectl(&["delete", "pods", "-l", "app=db-upgrade,job-name", "--grace-period=0", "--force"]));
    taken_back(&space, &moving, running, "the Job's pod was killed");
    space.wait_for("nobody reads its slot", || slots(&moving) == "pgcopydb|f");
}
