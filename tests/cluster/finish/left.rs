//! What pgcopydb leaves behind, and the versions of it that are not to be trusted.

use super::{finish, may_write};
use crate::support::{Moving, Namespace, Side};

#[tokio::test(flavor = "multi_thread")]
async fn what_following_does_not_carry_over_is_found_and_other_versions_are_refused_by_name() {
    let space = Namespace::new("finish").await;
    let Some(moving) = Moving::new(&space) else { return };
    let moving = moving.up();
    for version in ["0.10", "0.18"] {
        if !moving.job_of(version) {
            continue; // Debian does not have it any more
        }
        space.wait_for("its pod runs", || {
            let phase = "jsonpath={.items[*].status.phase}";
            space.kubectl(&["get", "pods", "--selector=app=db-upgrade", "-o", phase]) == "Running"
        });
        let run = finish(&space, &["--yes"]);
        let refused = format!("pgcopydb {version} can't be finished safely");
        assert!(run.code == 4 && run.stderr.contains(&refused) && run.stderr.contains("0.17 can"), "{} {}", run.code, run.stderr);
        moving.no_job();
    }

    moving.writers(1).job().follows();
    moving.sql(Side::Source, "INSERT INTO api.pictures VALUES (6, lo_from_bytea(0, 'one more'))");
    let run = finish(&space, &["--yes", "--max-downtime", "3m"]);
    let what = "large objects: 6 on the source, 5 on the target";
    assert!(run.code == 7 && run.stderr.contains(what), "{} {}", run.code, run.stderr);
    assert!(may_write(&moving, Side::Source));
    moving.follows();
    moving.sql(Side::Source, "SELECT lo_unlink(content) FROM api.pictures WHERE id = 6; DELETE FROM api.pictures WHERE id = 6");
    // Without a key there is nothing by which a change could be carried over. 0.17 does not get over that, and is not waited for.
    moving.sql(Side::Source, "UPDATE api.events SET said = 'changed' WHERE n = 3");
    space.wait_for("following has stopped, and that is told", || {
        let run = finish(&space, &["--dry-run", "--verify", "counts"]);
        run.code == 4 && run.stderr.contains("nobody reads slot")
    });
    let log = space.kubectl(&["logs", "job/db-upgrade", "--tail=40"]);
    assert!(log.contains("WHERE clause columns not found") && may_write(&moving, Side::Source), "{log}");
    moving.no_job().job().follows();

    // Stopped by scaling alone, with rows of which a sample is enough.
    let nothing = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(nothing.path(), "-- nothing").unwrap();
    let readonly = ["--readonly", nothing.path().to_str().unwrap()];
    let words = ["--yes", "--max-downtime", "3m", "--verify", "sample", "--scale-down", "deploy/writer"];
    moving.told("web17");
    let run = finish(&space, &[&words[..], &readonly].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("only scaling down stops writers"), "{}", run.stderr);
    let acks = moving.writes(50).acks();
    let there = moving.numbers(Side::Target);
    assert!(acks.written.iter().all(|number| there.binary_search(number).is_ok()), "an acknowledged row is not on the target");
    assert!(there.len() > moving.numbers(Side::Source).len());
}
