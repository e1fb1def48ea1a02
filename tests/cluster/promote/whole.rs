//! Alpha to beta, traffic there, all of it back, and once more to the end, under a load of reads and writes.

use super::{alpha_is_as_before, beta_is_gone, ends, forget_beta, is_tidy, newest, promote, route};
use crate::support::{Namespace, Steady};

const SCALED_UP: [&str; 3] = ["scale", "statefulset/alpha-postgresql-slave", "--replicas=2"];

/// The acknowledged rows that neither release has.
fn lost(steady: &Steady<'_>) -> Vec<i64> {
    // First: more are written meanwhile.
    let written = steady.seen().writes.written;
    let (alpha, beta) = (steady.numbers("alpha", "master"), steady.numbers("beta", "master"));
    let is_in = |numbers: &[i64], number: &i64| numbers.binary_search(number).is_ok();
    written.into_iter().filter(|number| !is_in(&alpha, number) && !is_in(&beta, number)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn alpha_becomes_beta_and_alpha_again_and_beta_for_good_under_load() {
    let space = Namespace::new("promote").await;
    let Some(steady) = Steady::new(&space) else { return };
    let steady = steady.up();
    steady.client(30);

    // Looking changes nothing, and says what would be done.
    let shown = steady.dbmig(&promote(&["--dry-run"]));
    let texts = [
        "pod/alpha-postgresql-slave-1  →  release beta  (replica of statefulset/alpha-postgresql-master, release alpha)",
        "goes from 2 to 1 replicas",
        "statefulset/beta-postgresql-master mounts the claim (database.postgres.master.existingClaim)",
        "what they write to statefulset/alpha-postgresql-master from then on is not in release beta",
    ];
    ends(&shown, 0, &texts);
    alpha_is_as_before(&steady, "it was only shown");

    let run = steady.dbmig(&promote(&[]));
    let texts =
        ["timeline 1 → 2 at ", "golang-migrate 2", "what comes after", "on timeline 2 of its own; from there on the two differ"];
    ends(&run, 0, &texts);
    assert_eq!((steady.role("beta", "master").as_str(), steady.schema("beta").as_str()), ("f|2", "2|f"));
    assert_eq!((steady.role("alpha", "master").as_str(), steady.schema("alpha").as_str()), ("f|1", "1|f"));
    assert_eq!(space.kubectl(&["get", "pvc", "data-beta", "-o", "jsonpath={.status.phase}"]), "Bound");
    is_tidy(&space);

    // Whoever scales alpha up again gets a replica of alpha's, on a volume of its own, and not beta's primary.
    space.kubectl(&SCALED_UP);
    steady.streams("alpha", 1);
    assert_eq!((steady.role("alpha", "slave-1").as_str(), steady.role("beta", "master").as_str()), ("t|1", "f|2"));
    assert_eq!(steady.violations(), Vec::<String>::new());
    space.kubectl(&["scale", "statefulset/alpha-postgresql-slave", "--replicas=1"]);

    // Alpha goes on being written to: that is no release to lead traffic to without a word.
    steady.goes_on(30);
    ends(
        &steady.dbmig(&route("beta", &[])),
        4,
        &["has written what release beta does not have", "nothing was changed", "--accept-divergence"],
    );
    let before = steady.seen();
    let run = steady.dbmig(&route("beta", &["--accept-divergence"]));
    ends(&run, 0, &["upgrade release admin", "traffic is led to beta"]);
    steady.goes_on(30);
    let seen = steady.seen();
    assert!(seen.writes.failed() - before.writes.failed() < 30, "{:?}", seen.writes.gaps);
    assert!(seen.writes.longest_gap() < 15.0, "{:?}", seen.writes.gaps);
    assert!(steady.numbers("beta", "master").len() > 20);

    // Back: what beta has got since would be out of use, and that has to be said.
    ends(
        &steady.dbmig(&["undo", &newest(&space, "route"), "--yes"]),
        4,
        &["would be out of use", "--accept-data-loss", "nothing was changed"],
    );
    ends(&steady.dbmig(&["undo", &newest(&space, "route"), "--yes", "--accept-data-loss"]), 0, &["taken back"]);
    steady.goes_on(30);
    ends(&steady.dbmig(&["undo", &newest(&space, "promote"), "--yes"]), 4, &["would be out of use", "data-beta"]);
    assert_eq!(lost(&steady), Vec::<i64>::new());
    let undone = steady.dbmig(&["undo", &newest(&space, "promote"), "--yes", "--accept-data-loss"]);
    ends(&undone, 0, &["streams from statefulset/alpha-postgresql-master again", "data-beta keeps the volume"]);
    alpha_is_as_before(&steady, "all was taken back");
    beta_is_gone(&space);
    assert_eq!(space.kubectl(&["get", "pvc", "data-beta", "-o", "jsonpath={.status.phase}"]), "Bound", "what beta had is kept");

    // Once more, with nobody writing, and to the end.
    ends(&steady.dbmig(&promote(&[])), 4, &["there is a persistentvolumeclaim/data-beta already"]);
    space.kubectl(&["delete", "pvc", "data-beta"]);
    let left = ["claims of an earlier release of this name are left", "data-beta-postgresql-slave-0", "nothing was changed"];
    ends(&steady.dbmig(&promote(&[])), 4, &left);
    forget_beta(&space);
    steady.client_ends();
    ends(&steady.dbmig(&promote(&[])), 0, &["has written nothing since"]);
    ends(&steady.dbmig(&["promote", "--finalize", "--yes"]), 4, &["traffic was not led to release beta"]);
    ends(&steady.dbmig(&route("beta", &[])), 0, &["has written nothing since"]);
    ends(&steady.dbmig(&["promote", "--finalize", "--yes"]), 4, &["and not for 24h (--grace)", "nothing was changed"]);
    assert_eq!(steady.content("beta", "master").lines().count(), steady.content("alpha", "master").lines().count() + 1);
    ends(&steady.dbmig(&["promote", "--finalize", "--grace", "1s", "--yes"]), 0, &["release alpha", "removed with Helm"]);
    assert!(!space.helm(&["list", "--short"]).contains("alpha"));
    steady.serves("front:80");
    ends(&steady.dbmig(&["undo", &newest(&space, "promote"), "--yes", "--accept-data-loss"]), 4, &["nothing to go back to"]);
    assert_eq!(steady.violations(), Vec::<String>::new());
    is_tidy(&space);
}
