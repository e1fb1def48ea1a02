//! Storage that can copy: the replica stays, and the new release starts on a copy of its volume, wherever the plugin dies meanwhile.

use super::{
    alpha_is_as_before, alpha_is_whole, beta_is_gone, ends, forget_beta, is_tidy, killed_at, killed_at_every_step, newest,
    promote,
};
use crate::support::snapshots::Snapshots;
use crate::support::steady::storage::{Mood, Storage};
use crate::support::{Namespace, Steady};

/// Steps of a promotion that copies.
const STEPS: usize = 7;

/// Beta has its own primary, with all that the replica had, and alpha has both replicas, of which nobody was stopped.
fn beta_has_a_copy(steady: &Steady<'_>, what: &str) {
    assert_eq!((steady.role("beta", "master").as_str(), steady.schema("beta").as_str()), ("f|2", "2|f"), "{what}");
    let (alpha, beta) = (steady.numbers("alpha", "master"), steady.numbers("beta", "master"));
    assert!(beta.iter().all(|number| alpha.binary_search(number).is_ok()), "{what}: beta has rows that alpha has not");
    // What was written until the copy is all there: no gap, and nothing but the newest is missing.
    assert_eq!(beta, alpha[..beta.len()], "{what}");
    let ends = |server: &str| -> usize {
        let log = steady.servers(&crate::support::steady::claim("alpha", server));
        log.iter().filter(|line| line.contains(" end ")).count()
    };
    assert_eq!((ends("slave-0"), ends("slave-1")), (0, 0), "{what}: a replica was stopped");
    alpha_is_as_before(steady, what);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_on_a_snapshot_or_a_clone_leaves_the_replica_alone_wherever_the_plugin_dies() {
    let space = Namespace::new("promote").await;
    let Some(steady) = Steady::new(&space) else { return };
    let storage = Storage::new(&space);
    let steady = steady.value(&format!("database.postgres.storage.class={}", space.name())).up();
    let snapshots = Snapshots::served(&space);
    snapshots.class();
    let volume = || space.kubectl(&["get", "pvc", "data-alpha-postgresql-slave-1", "-o", "jsonpath={.spec.volumeName}"]);
    let before = volume();
    let is_as_if_nothing_had_been = |what: &str| {
        alpha_is_whole(&steady, what);
        assert_eq!((volume(), snapshots.names()), (before.clone(), Vec::<String>::new()), "{what}");
        assert_ne!(space.try_kubectl(&["get", "pvc", "data-beta"]).code, 0, "{what}");
        beta_is_gone(&space);
        is_tidy(&space);
    };
    let snapshot = ["--copy", "volumesnapshot"];

    // Its driver says that it can't, or nothing at all.
    storage.is(Mood::Refuses);
    let run = steady.dbmig(&promote(&snapshot));
    ends(&run, 1, &["could not be made", "the array is full", "everything was taken back"]);
    is_as_if_nothing_had_been("a driver that refuses");
    storage.is(Mood::Rests);
    let run = steady.dbmig(&promote(&[&snapshot[..], &["--timeout", "15s"]].concat()));
    ends(&run, 1, &["did not get ready within 15 s", "everything was taken back"]);
    is_as_if_nothing_had_been("a driver that rests");

    // Killed while the snapshot is waited for, and taken back.
    killed_at(&steady, 3, STEPS, &snapshot);
    ends(&steady.dbmig(&["undo", "--yes"]), 0, &["taken back"]);
    is_as_if_nothing_had_been("killed while it waited for a snapshot");
    storage.is(Mood::Works);
    killed_at(&steady, 4, STEPS, &snapshot);
    ends(&steady.dbmig(&["undo", "--yes"]), 0, &["taken back"]);
    is_as_if_nothing_had_been("killed with a copy");

    // Found by itself, killed at each step, and resumed, while a client writes.
    steady.client(20);
    ends(
        &killed_at_every_step(&steady, STEPS, |_| ()),
        0,
        &["already done", "out of a snapshot of persistentvolumeclaim/data-alpha-postgresql-slave-1"],
    );
    beta_has_a_copy(&steady, "a snapshot");
    assert_eq!(snapshots.names(), Vec::<String>::new(), "it was only needed for the copy");
    is_tidy(&space);
    let undone = steady.dbmig(&["undo", &newest(&space, "promote"), "--yes"]);
    ends(&undone, 0, &["taken back"]);
    beta_is_gone(&space);
    alpha_is_as_before(&steady, "a snapshot taken back");
    forget_beta(&space);

    // The same by a clone of the claim.
    let run = steady.dbmig(&promote(&["--copy", "clone"]));
    ends(&run, 0, &["out of a clone of persistentvolumeclaim/data-alpha-postgresql-slave-1"]);
    beta_has_a_copy(&steady, "a clone");
    steady.goes_on(20).client_ends();
    assert_eq!(steady.seen().writes.failed(), 0, "alpha has served all the time");
}
