//! The fixture of databases that move: that the seed's Job does what the other tests rely on, before the plugin comes in.

use crate::support::{Moving, Namespace, Side};

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_own_way_moves_a_database_that_is_written_to() {
    let space = Namespace::new("moving").await;
    let Some(moving) = Moving::new(&space) else { return };
    let moving = moving.up();
    moving.writers(1).job().follows().writes(500);
    let run = moving.finish_by_hand();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(moving.job_ends(), 0);
    let acks = moving.acks();
    assert!(acks.written.len() >= 500 && !acks.refused.is_empty(), "{} {}", acks.written.len(), acks.refused.len());
    assert_eq!(moving.content(Side::Target), moving.content(Side::Source));
    assert_eq!(moving.numbers(Side::Target), acks.written.into_iter().collect::<Vec<_>>());
    let left = "SELECT count(*) FROM pg_replication_slots";
    assert_eq!(moving.sql(Side::Source, left), "0");
    // The applications go where they are told to, and write there.
    moving.told("web17").writers(0).writers(1).writes(100);
    assert!(moving.numbers(Side::Target).len() > moving.numbers(Side::Source).len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_application_counts_what_it_could_not_write() {
    let space = Namespace::new("moving").await;
    let Some(moving) = Moving::new(&space) else { return };
    let moving = moving.up();
    moving.web(1).writes(200);
    moving.crash(Side::Source);
    space.wait_for("writes failed, and go on", || moving.acks().outage.is_some());
    let counts = moving.web_counts();
    let failed = counts["refused"].as_u64().unwrap() + counts["unknown"].as_u64().unwrap();
    assert!(failed > 0, "{counts}");
    let acks = moving.acks();
    let there = moving.numbers(Side::Source);
    assert!(acks.written.iter().all(|number| there.binary_search(number).is_ok()), "an acknowledged row is not there");
    assert!(!acks.refused.iter().any(|number| there.binary_search(number).is_ok()), "a refused row is there");
}
