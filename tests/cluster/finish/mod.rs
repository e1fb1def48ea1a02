//! `finish`: the seed's Job as it is, while a writer writes.

mod cut_off;
mod faults;
mod left;
mod proof;
mod setting;

use rustix::process::Signal;

use crate::support::{Moving, Namespace, Run, Running, Side};

const ROLE: &str = include_str!("../../../plugin-manifest/move.yaml");

/// What people type.
fn finish(space: &Namespace, more: &[&str]) -> Run {
    space.dbmig(&[&["finish", "job/db-upgrade"], more].concat())
}

/// Id of the newest operation.
fn last(space: &Namespace) -> String {
    let history: serde_json::Value = serde_json::from_str(&space.dbmig(&["history", "-o", "json"]).stdout).unwrap();
    history["items"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned()
}

/// What the application may do to a table.
fn may_write(moving: &Moving<'_>, side: Side) -> bool {
    moving.sql(side, "SELECT has_table_privilege('anon', 'api.likes', 'INSERT')") == "t"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_job_is_finished_without_a_lost_row() {
    let space = Namespace::new("finish").await;
    let Some(moving) = Moving::new(&space) else { return };
    let moving = moving.up();
    moving.writers(1).job().follows().writes(200);

    // With the documented Role and no other right.
    let dir = tempfile::tempdir().unwrap();
    let user = space.user("mover", ROLE, "kubectl-dbmig-move", dir.path());
    let finish = |more: &[&str]| space.dbmig_as(&user, &[&["finish", "job/db-upgrade"], more].concat());
    let run = finish(&["--dry-run"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(may_write(&moving, Side::Source));
    let run = finish(&["--yes", "--max-downtime", "3m"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!may_write(&moving, Side::Source) && may_write(&moving, Side::Target));
    let acks = moving.acks();
    assert_eq!(moving.content(Side::Target), moving.content(Side::Source));
    assert_eq!(moving.numbers(Side::Target), acks.written.into_iter().collect::<Vec<_>>());
    assert_eq!(moving.sql(Side::Source, "SELECT count(*) FROM pg_replication_slots"), "0");
    assert_eq!(moving.sql(Side::Target, "SELECT count(*) FROM pg_replication_origin"), "0");
    for side in [Side::Source, Side::Target] {
        assert_eq!(moving.sql(side, "SELECT count(*) FROM pg_namespace WHERE nspname = 'kubectl_dbmig'"), "0");
    }
    space.wait_for("our pod is gone", || !space.kubectl(&["get", "pods", "-o", "name"]).contains("dbmig-"));

    let run = space.dbmig(&["undo", &last(&space), "--yes"]);
    assert!(run.code == 0 && run.stderr.contains("nobody follows"), "{} {}", run.code, run.stderr);
    assert!(may_write(&moving, Side::Source));
}

/// The whole way, with a Job of our own: checks, copy, cut-over by a Service, and back.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_moves_by_start_and_finish_and_comes_back() {
    let space = Namespace::new("start").await;
    let Some(moving) = Moving::new(&space) else { return };
    let moving = moving.up();
    space.apply(
        r#"{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "uris"}, "stringData": {
            "old": "postgres://admin:admin-secret@pg15/shop", "new": "postgres://admin:admin-secret@pg17/shop",
            "plain": "postgres://plain:plain-secret@pg15/shop"}}"#,
    );
    let start = |source: &str, more: &[&str]| {
        let words =
            ["start", "copy", "--source", source, "--target", "secret/uris:new", "--image", "moving:1", "--volume-size", "64Mi"];
        space.dbmig(&[&words, more].concat())
    };
    let run = start("secret/uris:plain", &["--yes"]);
    assert!(run.code == 4 && run.stderr.contains("may not replicate"), "{} {}", run.code, run.stderr);
    let run = start("secret/uris:old", &["--yes"]);
    assert!(run.code == 4 && run.stderr.contains("api.events") && run.stderr.contains("--force"), "{} {}", run.code, run.stderr);
    assert_eq!(space.kubectl(&["get", "jobs,pvc", "-l", "app.kubernetes.io/managed-by=kubectl-dbmig", "-o", "name"]), "");

    moving.web(1).writes(100);
    let run = start("secret/uris:old", &["--yes", "--force"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let again = start("secret/uris:old", &["--yes", "--force"]);
    assert_eq!(again.code, 5, "{}", again.stderr);
    moving.follows();

    // A session that nobody restarts.
    let mut stays = moving.session("web15", "SELECT pg_sleep(3600)").spawn().unwrap();
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(3600)'";
    space.wait_for("it is connected", || moving.sql(Side::Source, asleep) == "1");

    let switch = ["--revoke", "anon", "--switch-service", "svc/db", "--to", "svc/pg17", "--restart", "deploy/postgrest"];
    let words = [&["finish", "job/copy", "--yes", "--max-downtime", "3m"], &switch[..]].concat();
    let run = space.dbmig(&words);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("still connected to the source"), "{}", run.stderr);
    assert!(!stays.wait().unwrap().success());
    moving.writes(100);
    let acks = moving.acks();
    let there = moving.numbers(Side::Target);
    assert!(acks.written.iter().all(|number| there.binary_search(number).is_ok()), "an acknowledged row is not on the target");
    assert!(moving.web_counts().to_string().contains("17"), "{}", moving.web_counts());

    // It has been written to: going back loses that.
    let id = last(&space);
    let run = space.dbmig(&["undo", &id, "--yes"]);
    assert!(run.code == 4 && run.stderr.contains("--accept-data-loss"), "{} {}", run.code, run.stderr);
    let run = space.dbmig(&["undo", &id, "--yes", "--accept-data-loss"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(may_write(&moving, Side::Source));
    assert!(moving.web_counts().to_string().contains("15"), "{}", moving.web_counts());
    moving.writes(20);
}

/// What goes wrong before the switch gives everything back, and following goes on.
#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_before_the_switch_is_taken_back_and_following_goes_on() {
    let space = Namespace::new("finish").await;
    let Some(moving) = Moving::new(&space) else { return };
    let moving = moving.up();
    moving.writers(1);
    let run = finish(&space, &["--yes"]);
    assert_eq!(run.code, 1, "there is no Job yet: {}", run.stderr);
    moving.job().follows();
    let unharmed = |what: &str| {
        assert!(may_write(&moving, Side::Source), "{what}");
        moving.follows();
    };

    // Somebody has begun to write and does not end.
    let mut session =
        moving.session("db", "BEGIN; INSERT INTO api.events (n, said) VALUES (1, 'slow'); SELECT pg_sleep(100)").spawn().unwrap();
    space.wait_for("it has written", || moving.sql(Side::Source, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%slow%' AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()") != "0");
    let run = finish(&space, &["--yes", "--max-downtime", "5s"]);
    assert!(run.code == 6 && run.stderr.contains("pg_terminate_backend"), "{} {}", run.code, run.stderr);
    let _ = session.kill();
    let _ = session.wait();
    moving.sql(
        Side::Source,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%slow%' AND pid <> pg_backend_pid()",
    );
    unharmed("an open transaction");

    moving.sql(Side::Source, "BEGIN; INSERT INTO api.events (n, said) VALUES (2, 'prepared'); PREPARE TRANSACTION 'half'");
    let run = finish(&space, &["--yes"]);
    assert!(run.code == 4 && run.stderr.contains("half"), "{} {}", run.code, run.stderr);
    moving.sql(Side::Source, "ROLLBACK PREPARED 'half'");

    // A row is lost on the way.
    moving.sql(Side::Target, "DELETE FROM api.accounts WHERE id = 42");
    let run = finish(&space, &["--yes"]);
    assert!(run.code == 7 && run.stderr.contains("differ from key 42 to 42"), "{} {}", run.code, run.stderr);
    unharmed("a lost row");

    let file = tempfile::NamedTempFile::new().unwrap();
    for (sql, code, word) in [
        ("REVOKE INSERT ON api.likes FROM anon;\nREVOKE INSERT ON api.liks FROM anon;", 1, "api.liks"),
        ("REVOKE INSERT ON api.likes FROM anon; COMMIT;", 4, "COMMIT"),
        ("-- nothing", 4, "nothing would stop writers"),
    ] {
        std::fs::write(file.path(), sql).unwrap();
        let run = finish(&space, &["--yes", "--readonly", file.path().to_str().unwrap()]);
        assert!(run.code == code && run.stderr.contains(word), "{sql}: {} {}", run.code, run.stderr);
        assert!(may_write(&moving, Side::Source), "{sql}");
    }
    let run = finish(&space, &["--yes", "--max-lag", "0"]);
    assert!(run.code == 4 && run.stderr.contains("--max-lag"), "{} {}", run.code, run.stderr);
    unharmed("refusals");

    // The plugin dies while writers are stopped, and somebody deletes the Job: what the record has of it leads to both servers.
    let mut running = Running::start(space.dbmig_command(&["finish", "job/db-upgrade", "--yes", "--max-downtime", "10m"]));
    running.reaches(5, STEPS);
    running.signal(Signal::STOP);
    assert!(!may_write(&moving, Side::Source));
    space.kubectl(&["delete", "job", "db-upgrade", "--cascade=foreground"]);
    running.kill();
    let run = space.dbmig(&["undo", &last(&space), "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(may_write(&moving, Side::Source));
}

/// Steps of a cut-over that switches nothing.
const STEPS: usize = 12;
/// The step that waits until pgcopydb has ended: nobody follows any more after it.
const ENDED: usize = 8;

/// The plugin is killed at each step: undone as long as following can go on, then taken up again and again until it is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_is_killed_at_any_step_is_undone_or_resumed() {
    let space = Namespace::new("finish").await;
    let Some(moving) = Moving::new(&space) else { return };
    let moving = moving.up();
    moving.writers(1).job().follows();
    let begun = || Running::start(space.dbmig_command(&["finish", "job/db-upgrade", "--yes", "--max-downtime", "10m"]));
    let taken_up = |verb: &str| Running::start(space.dbmig_command(&[verb, &last(&space), "--yes"]));

    for step in [1, 3, 4, 6, 7] {
        let mut running = begun();
        running.reaches(step, STEPS);
        running.kill();
        let ended = taken_up("undo").ends();
        assert_eq!(ended.code, 0, "killed at step {step}: {}", ended.stderr);
        assert!(may_write(&moving, Side::Source), "killed at step {step}");
        moving.follows();
    }
    let mut running = begun();
    for step in [3, 5, ENDED, 10, 11] {
        running.reaches(step, STEPS);
        running.kill();
        running = taken_up("resume");
    }
    let ended = running.ends();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(!may_write(&moving, Side::Source) && may_write(&moving, Side::Target));
    assert_eq!(moving.content(Side::Target), moving.content(Side::Source));
    assert_eq!(moving.numbers(Side::Target), moving.acks().written.into_iter().collect::<Vec<_>>());
    assert_eq!(moving.sql(Side::Source, "SELECT count(*) FROM pg_replication_slots"), "0");
}

/// Ctrl-C gives the writers their rights back, and a server or a pod that goes away leaves them theirs.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_interrupted_and_what_crashes_leaves_writers_their_rights() {
    let space = Namespace::new("finish").await;
    let Some(moving) = Moving::new(&space) else { return };
    let moving = moving.up();
    moving.writers(1).job().follows();
    let begun = || Running::start(space.dbmig_command(&["finish", "job/db-upgrade", "--yes", "--max-downtime", "60s"]));

    let mut running = begun();
    running.reaches(4, STEPS);
    running.interrupt();
    let ended = running.ends();
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert!(may_write(&moving, Side::Source), "{}", ended.stderr);
    moving.follows();

    // The target dies while our row is on its way: pgcopydb does not get over that.
    let mut running = begun();
    running.reaches(5, STEPS);
    moving.crash(Side::Target);
    let ended = running.ends();
    if ended.code == 8 {
        // It was away for longer than patience lasts.
        space.wait_for("undo gets through", || space.dbmig(&["undo", &last(&space), "--yes"]).code == 0);
    }
    assert!(matches!(ended.code, 1 | 6 | 8), "{} {}", ended.code, ended.stderr);
    assert!(may_write(&moving, Side::Source), "{}", ended.stderr);
    let acks = moving.acks();
    let there = moving.numbers(Side::Source);
    assert!(acks.written.iter().all(|number| there.binary_search(number).is_ok()), "an acknowledged row is not on the source");
}
