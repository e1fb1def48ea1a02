//! What is refused before anything is changed, and what is taken back by itself.

use super::{FROM, alpha_is_as_before, beta_is_gone, ends, forget_beta, is_tidy, promote, route};
use crate::support::{Namespace, Steady, steady};

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_go_well_is_refused_and_changes_nothing() {
    let space = Namespace::new("promote").await;
    let Some(steady) = Steady::new(&space) else { return };
    let steady = steady.value("database.postgres.slave.slots=true").up();
    let refused = |words: &[&str], code: i32, texts: &[&str]| {
        let run = steady.dbmig(&promote(words));
        ends(&run, code, texts);
        assert!(run.stderr.contains("nothing was changed") || code == 2, "{}", run.stderr);
    };

    // Not the words that were typed.
    let other = |from: &str| steady.dbmig(&["promote", "--from", from, "--release", "beta", "--chart", steady::CORE, "--yes"]);
    ends(&other("deploy/alpha-restbackend"), 2, &["is no StatefulSet"]);
    ends(&other("sts/alphabet"), 1, &["not found", "nothing was changed"]);
    ends(&other("sts/alpha-postgresql-master"), 4, &["has one replica only", "nothing was changed"]);
    refused(&["--set", "a[0]=1"], 2, &["--values FILE"]);
    refused(&["--helm", "/nowhere/helm"], 4, &["cannot run /nowhere/helm"]);
    refused(&["--primary", "sts/alpha-postgresql-slave"], 4, &["is a replica itself"]);
    refused(&["--copy", "clone"], 4, &["belongs to no CSI driver"]);
    refused(&["--user", "admin"], 4, &["helm can't be told --user"]);

    // A chart that takes the value for itself would begin with an empty database.
    refused(
        &["--claim-value", "global.existingClaim"],
        4,
        &["does not mount persistentvolumeclaim/data-beta", "no workload mounts it"],
    );
    let admin = ["promote", "--from", FROM, "--release", "beta", "--chart", steady::ADMIN, "--yes"];
    ends(&steady.dbmig(&admin), 4, &["does not mount persistentvolumeclaim/data-beta"]);
    let again = ["promote", "--from", FROM, "--release", "admin", "--chart", steady::CORE, "--yes"];
    ends(&steady.dbmig(&again), 4, &["there is a release admin already: deployed"]);

    // A replica that is not well.
    let replica = |sql: &str| steady.sql("alpha", "slave-1", sql);
    replica("SELECT pg_wal_replay_pause()");
    let write = "INSERT INTO api.events SELECT i, repeat('x', 1000) FROM generate_series(1, 2000) AS i";
    steady.sql("alpha", "master", write);
    refused(&["--max-lag", "1"], 4, &["behind, more than --max-lag allows"]);
    replica("SELECT pg_wal_replay_resume()");
    steady.streams("alpha", 1);
    steady.sql("alpha", "slave-1", "ALTER SYSTEM SET primary_conninfo = 'host=nowhere'");
    replica("SELECT pg_reload_conf()");
    space.wait_for("the replica receives nothing", || replica("SELECT count(*) FROM pg_stat_wal_receiver") == "0");
    refused(&[], 4, &["receives nothing from its primary"]);
    steady.sql("alpha", "slave-1", "ALTER SYSTEM RESET primary_conninfo");
    space.kubectl(&["delete", "pod", "alpha-postgresql-slave-1"]);
    space.kubectl(&["rollout", "status", "statefulset/alpha-postgresql-slave", "--timeout=180s"]);

    // Its claim is on the way out already.
    space.kubectl(&["delete", "pvc", &steady::claim("alpha", "slave-0"), "--wait=false"]);
    space.kubectl(&["scale", "statefulset/alpha-postgresql-slave", "--replicas=1"]);
    space.wait_for("the last one is gone", || space.try_kubectl(&["get", "pod", "alpha-postgresql-slave-1"]).code != 0);
    refused(&["--allow-last"], 4, &["persistentvolumeclaim/data-alpha-postgresql-slave-0 is being deleted"]);

    // Where traffic can't go.
    let lead = |to: &str, words: &[&str], code: i32, texts: &[&str]| ends(&steady.dbmig(&route(to, words)), code, texts);
    lead("alpha", &[], 4, &["leads to alpha already"]);
    lead("gamma", &[], 4, &["there is no release gamma"]);
    lead("gamma", &["--value", "global.nothing"], 4, &["has no value global.nothing"]);
    beta_is_gone(&space);
    is_tidy(&space);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_does_not_come_up_is_taken_back_and_alpha_has_its_replica_again() {
    let space = Namespace::new("promote").await;
    let Some(steady) = Steady::new(&space) else { return };
    let steady = steady.up();
    steady.client(20);
    for (value, texts) in [
        (
            "failMigration=true",
            &[
                "helm install ended with exit code 1",
                "Dirty database version. Fix and force version.",
                "everything was taken back",
            ][..],
        ),
        ("neverReady=true", &["helm install ended with exit code 1", "everything was taken back"][..]),
    ] {
        let run = steady.dbmig(&promote(&["--set", value, "--timeout", "40s"]));
        ends(&run, 1, texts);
        alpha_is_as_before(&steady, value);
        beta_is_gone(&space);
        forget_beta(&space);
    }
    steady.goes_on(20).client_ends();
    assert_eq!(steady.seen().writes.failed(), 0, "alpha has served all the time");
    is_tidy(&space);
}
