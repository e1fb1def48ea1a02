//! The fixture of a release on a replica's volume: that the seed's way, typed by hand, does what the other tests rely on.

use crate::support::{Namespace, Steady, steady};

const BETA: [&str; 2] = ["--set", "restbackend.schemaVersion=2"];

#[tokio::test(flavor = "multi_thread")]
async fn by_hand_a_replica_becomes_the_next_release_while_a_client_writes_and_reads() {
    let space = Namespace::new("steady").await;
    let Some(steady) = Steady::new(&space) else { return };
    let steady = steady.up();
    steady.client(50);
    assert_eq!((steady.role("alpha", "master"), steady.role("alpha", "slave-1")), ("f|1".to_owned(), "t|1".to_owned()));
    assert_eq!(steady.schema("alpha"), "1|f");

    // The replica is let go, and its data made a primary's.
    let claim = steady::claim("alpha", "slave-1");
    space.kubectl(&["scale", "statefulset/alpha-postgresql-slave", "--replicas=1"]);
    space.wait_for("nobody mounts the claim", || steady.mounted_by(&claim).is_empty());
    let said = steady.on_claim(&claim, "ls pgdata/standby.signal; rm pgdata/standby.signal; cat pgdata/PG_VERSION");
    assert_eq!(said, "pgdata/standby.signal\n15\n");
    let claim_value = format!("{}={claim}", steady::CLAIM_VALUE);
    let install = [&["install", "beta", steady::CORE, "--wait", "--set", &claim_value], &BETA[..]].concat();
    let run = steady.helm(&install);
    assert_eq!(run.code, 0, "{}", run.stderr);
    steady.is_up("beta");
    assert_eq!((steady.schema("beta"), steady.schema("alpha")), ("2|f".to_owned(), "1|f".to_owned()));
    assert_eq!(steady.sql("beta", "slave-0", "SELECT count(*) FROM api.tags"), "148");

    // The way in leads there, and back again.
    steady.goes_on(50);
    let had = steady.numbers("beta", "master").len();
    let admin = ["upgrade", "admin", steady::ADMIN, "--wait", "--set", "global.managedRelease=beta"];
    let run = steady.helm(&admin);
    assert_eq!(run.code, 0, "{}", run.stderr);
    space.wait_for("beta is written to", || steady.numbers("beta", "master").len() > had + 200);
    let run = steady.helm(&["rollback", "admin", "--wait"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    steady.goes_on(200).client_ends();
    let seen = steady.seen();
    for acks in [&seen.writes, &seen.reads] {
        assert!(acks.longest_gap() < 15.0, "{} failed, gaps of {:?} ms", acks.failed(), acks.gaps);
    }

    // Each row is where it was acknowledged, and what went to beta is not in alpha: nobody moves it.
    let (alpha, beta) = (steady.numbers("alpha", "master"), steady.numbers("beta", "master"));
    let is_in = |numbers: &[i64], number: &i64| numbers.binary_search(number).is_ok();
    let lost: Vec<_> = seen.writes.written.iter().filter(|number| !is_in(&alpha, number) && !is_in(&beta, number)).collect();
    assert!(lost.is_empty(), "acknowledged and nowhere: {lost:?}");
    let only_in_beta = beta.iter().filter(|number| !is_in(&alpha, number)).count();
    assert!(only_in_beta > 100, "{only_in_beta}");
    assert_eq!(steady.streams("alpha", 0).content("alpha", "slave-0"), steady.content("alpha", "master"));
    assert_eq!(steady.violations(), Vec::<String>::new());

    // Whoever scales alpha up again meets beta's primary on the claim: that a second server comes is seen, and it does not start.
    space.kubectl(&["scale", "statefulset/alpha-postgresql-slave", "--replicas=2"]);
    space.wait_for("the second server is seen", || !steady.violations().is_empty());
    let violations = steady.violations();
    assert!(
        violations.iter().all(|line| line.starts_with(&claim) && line.contains("alpha-postgresql-slave-1")),
        "{violations:?}"
    );
    assert_eq!(steady.role("beta", "master"), "f|1");
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_can_be_made_to_fail_and_their_servers_to_use_slots() {
    let space = Namespace::new("steady").await;
    let Some(steady) = Steady::new(&space) else { return };
    let steady = steady.value("database.postgres.version=17").value("database.postgres.slave.slots=true").up();
    let slots = "SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots WHERE active";
    assert_eq!(steady.sql("alpha", "master", slots), "alpha_postgresql_slave_0 alpha_postgresql_slave_1");
    assert!(steady.sql("alpha", "slave-1", "SHOW server_version").starts_with("17."));

    for (release, how, schema) in [("beta", "failMigration=true", "2|t"), ("gamma", "neverReady=true", "2|f")] {
        let values = format!("{how},database.postgres.slave.replicas=0,restbackend.schemaVersion=2");
        let run = steady.helm(&["install", release, steady::CORE, "--wait", "--timeout", "15s", "--set", &values]);
        assert!(run.code == 1 && run.stderr.contains("timed out"), "{} {}", run.code, run.stderr);
        // The machine may need longer than Helm had for it.
        let books = "SELECT version, dirty FROM schema_migrations";
        space.wait_for("it has migrated as far as it gets", || steady.try_sql(release, "master", books).stdout.trim() == schema);
    }

    // A client that goes past the front sees what happens to the application behind it.
    steady.client(20).client_by("direct:8091");
    space.kubectl(&["scale", "deployment/alpha-restbackend", "--replicas=0"]);
    space.wait_for("requests fail", || steady.seen().writes.failed() > 5 && steady.seen().reads.failed() > 5);
    space.kubectl(&["scale", "deployment/alpha-restbackend", "--replicas=2"]);
    steady.goes_on(20).client_ends();
    let seen = steady.seen();
    for acks in [&seen.writes, &seen.reads] {
        assert!(acks.longest_gap() > 0.3 && acks.all_gaps() >= acks.longest_gap(), "{:?}", acks.gaps);
    }
    let there = steady.numbers("alpha", "master");
    let is_there = |number: &i64| there.binary_search(number).is_ok();
    assert!(seen.writes.written.iter().all(is_there), "an acknowledged row is not there");
    assert!(!seen.writes.refused.iter().any(is_there), "a refused row is there");
}
