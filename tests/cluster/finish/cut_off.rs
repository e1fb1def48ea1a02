//! Following that ends before anybody has told it where: told with the way on, and gone on with where that is possible.

use super::{finish, last};
use crate::support::{Moving, Namespace, Side, ends};

/// Leaves four megabytes free.
const FILL: &str = "dd if=/dev/zero of=/data/free bs=1M count=4; dd if=/dev/zero of=/data/filler bs=64k 2>&1; rm /data/free";

/// Reaches every process in the container but its first.
fn signal_all(space: &Namespace, job: &str) {
    space.try_kubectl(&["exec", job, "--", "sh", "-c", "kill -TERM -1"]);
}

/// What `kubectl get` says of a Job.
fn status(space: &Namespace, job: &str, field: &str) -> String {
    space.try_kubectl(&["get", job, "-o", &format!("jsonpath={{.status.{field}}}")]).stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn following_that_a_signal_has_ended_is_told_and_goes_on_where_it_stopped() {
    let space = Namespace::new("cutoff").await;
    let Some(moving) = Moving::new(&space) else { return };
    let moving = moving.on(Side::Target, "256Mi").up();
    space.apply(
        r#"{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "uris"}, "stringData": {
            "old": "postgres://admin:admin-secret@pg15/shop", "new": "postgres://admin:admin-secret@pg17/shop"}}"#,
    );
    let start = |more: &[&str]| {
        let words = ["start", "copy", "--source", "secret/uris:old", "--target", "secret/uris:new", "--image", "moving:1"];
        space.dbmig(&[&words[..], &["--volume-size", "64Mi"], more].concat())
    };

    let full = moving.in_pod(&Side::Target.pod(), FILL);
    assert!(full.contains("No space"), "{full}");
    ends(
        &start(&["--dry-run"]),
        3,
        &["the target's disk has less room than the source's database takes", "MiB are free; the database has"],
    );
    space.kubectl(&["exec", &Side::Target.pod(), "--", "rm", "/data/filler"]);
    let room = start(&["--dry-run"]);
    assert!(!room.stderr.contains("disk"), "{}", room.stderr);

    moving.writers(1);
    ends(&start(&["--yes", "--force"]), 0, &[]);
    let id = last(&space);
    moving.follows();
    let resume = || space.dbmig(&["resume", &id, "--yes"]);
    ends(&resume(), 4, &["has not ended", "kubectl dbmig watch job/copy"]);

    signal_all(&space, "job/copy");
    space.wait_for("the Job has failed", || status(&space, "job/copy", "failed") == "1");
    let log = space.dbmig(&["logs", "job/copy", "--tail", "5"]).stdout;
    moving.writes(50); // while nobody follows
    let words = ["finish", "job/copy", "--revoke", "anon", "--yes", "--max-downtime", "3m", "--verify", "counts"];
    let texts = ["has ended with exit code", "slot pgcopydb keeps", &format!("kubectl dbmig resume {id}")];
    ends(&space.dbmig(&words), 4, &texts);
    let went_on = resume();
    assert_eq!(went_on.code, 0, "{}\n{log}", went_on.stderr);
    assert!(went_on.stderr.contains("in place of the one that had ended"), "{}", went_on.stderr);
    moving.follows();
    ends(&space.dbmig(&words), 0, &["on both sides", "counted and not compared"]);
    let acks = moving.acks();
    assert_eq!(moving.numbers(Side::Target), acks.written.into_iter().collect::<Vec<_>>());
    ends(&resume(), 4, &["has ended where it was told to"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_ones_own_that_a_signal_has_ended_is_told_with_what_is_left_of_it() {
    let space = Namespace::new("cutoff").await;
    let Some(moving) = Moving::new(&space) else { return };
    let moving = moving.up();
    moving.writers(1).job().follows();
    signal_all(&space, "job/db-upgrade");
    // Which it is depends on what it was about: this signal ends some of it with success, and all of it with an error.
    let mut run = finish(&space, &["--dry-run"]);
    space.wait_for("its container has ended, or holds still", || {
        run = finish(&space, &["--yes"]);
        run.code == 4 && (run.stderr.contains("has ended") || run.stderr.contains("nobody reads slot"))
    });
    let begin = "to begin again: kubectl delete job/db-upgrade";
    ends(&run, 4, &["nothing was changed", "kubectl dbmig logs job/db-upgrade", begin]);
    let kept = moving.sql(Side::Source, "SELECT count(*) FROM pg_replication_slots") == "1";
    assert_eq!(run.stderr.contains("pg_drop_replication_slot('pgcopydb')"), kept, "{}", run.stderr);

    // And so it does.
    moving.no_job().job().follows();
    ends(&finish(&space, &["--yes", "--max-downtime", "3m", "--verify", "none"]), 0, &["no row was compared"]);
    let acks = moving.acks();
    assert_eq!(moving.numbers(Side::Target), acks.written.into_iter().collect::<Vec<_>>());
}
