//! `finish`: the seed's Job as it is, while a writer writes.

use crate::support::{Moving, Namespace, Run, Side};

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

    let run = finish(&space, &["--dry-run"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    println!("{}{}", run.stdout, run.stderr);
    assert!(may_write(&moving, Side::Source));
    let run = finish(&space, &["--yes", "--max-downtime", "3m"]);
    println!("{}{}", run.stdout, run.stderr);
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
    let pods = space.kubectl(&["get", "pods", "-o", "name"]);
    assert!(!pods.contains("dbmig-"), "{pods}");

    let run = space.dbmig(&["undo", &last(&space), "--yes"]);
    println!("{}{}", run.stdout, run.stderr);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(may_write(&moving, Side::Source));
}
