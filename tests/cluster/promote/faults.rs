//! The plugin dies at every step, the API server goes, alpha is scaled up at the worst moment, helm is killed: alpha serves, and `resume`
//! and `undo` work from wherever that was.

use std::os::unix::fs::PermissionsExt as _;

use super::{STEPS, alpha_is_whole, beta_is_gone, ends, forget_beta, is_tidy, killed_at, killed_at_every_step, newest, promote};
use crate::support::{Namespace, Running, Steady, helm};

/// The way there, killed at each step and resumed by another process.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_killed_at_every_step_is_resumed() {
    let space = Namespace::new("promote").await;
    let Some(steady) = Steady::new(&space) else { return };
    let steady = steady.up();
    steady.client(20);
    let ended = killed_at_every_step(&steady, STEPS, |step| {
        assert_eq!(steady.role("alpha", "master"), "f|1", "killed at step {step}");
        if step == STEPS {
            // It may have got that far.
            let chart = format!("dbmig-{}-release", newest(&space, "promote"));
            space.kubectl(&["delete", "secret", "--ignore-not-found", &chart]);
        }
    });
    ends(&ended, 0, &["already done", "remove what only the work needed"]);
    assert_eq!((steady.role("beta", "master").as_str(), steady.schema("beta").as_str()), ("f|2", "2|f"));
    steady.goes_on(20).client_ends();
    assert_eq!(steady.seen().writes.failed(), 0, "alpha has served all the time");
    assert_eq!(steady.violations(), Vec::<String>::new());
    is_tidy(&space);
}

/// Killed at steps that leave different things behind, and taken back from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_killed_before_its_release_is_taken_back_to_the_very_volume() {
    let space = Namespace::new("promote").await;
    let Some(steady) = Steady::new(&space) else { return };
    let steady = steady.up();
    let volume = || space.kubectl(&["get", "pvc", "data-alpha-postgresql-slave-1", "-o", "jsonpath={.spec.volumeName}"]);
    let before = volume();
    for step in [1, 2, 4, 5, 6] {
        let what = format!("killed at step {step}, then taken back");
        killed_at(&steady, step, STEPS, &[]);
        ends(&steady.dbmig(&["undo", "--yes"]), 0, &["taken back"]);
        alpha_is_whole(&steady, &what);
        assert_eq!(volume(), before, "{what}");
        beta_is_gone(&space);
        is_tidy(&space);
    }
}

/// Once helm has begun, its server may have run: the volume stays beta's, and the replica clones anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_killed_with_its_release_is_taken_back_too() {
    let space = Namespace::new("promote").await;
    let Some(steady) = Steady::new(&space) else { return };
    let steady = steady.up();
    for step in [7, 8] {
        let what = format!("killed at step {step}, then taken back");
        killed_at(&steady, step, STEPS, &[]);
        let mut undoing = Running::start(steady.dbmig_command(&["undo", "--yes"]));
        undoing.says("take back: make the data directory");
        undoing.kill();
        ends(&steady.dbmig(&["undo", "--yes"]), 0, &["taken back"]);
        alpha_is_whole(&steady, &what);
        beta_is_gone(&space);
        is_tidy(&space);
        forget_beta(&space);
    }
}

/// Somebody scales alpha up while its volume changes hands.
#[tokio::test(flavor = "multi_thread")]
async fn alpha_scaled_up_at_the_worst_moment_shares_its_data_with_nobody() {
    let space = Namespace::new("promote").await;
    let Some(steady) = Steady::new(&space) else { return };
    let steady = steady.up();
    let mut running = Running::start(steady.dbmig_command(&promote(&[])));
    running.reaches(5, STEPS);
    running.paused(|| {
        space.kubectl(&["scale", "statefulset/alpha-postgresql-slave", "--replicas=2"]);
        space.wait_for("the replica is back", || space.try_kubectl(&["get", "pod", "alpha-postgresql-slave-1"]).code == 0);
    });
    let ended = running.ends();
    assert!(matches!(ended.code, 0 | 1 | 6), "{}{}", ended.stdout, ended.stderr);
    if ended.code != 0 {
        assert!(ended.stderr.contains("everything was taken back"), "{}", ended.stderr);
        beta_is_gone(&space);
    }
    alpha_is_whole(&steady, "scaled up while its volume changed hands");
}

/// Helm that does not end, and helm that is killed half-way: all is taken back, and the replica streams.
#[tokio::test(flavor = "multi_thread")]
async fn a_helm_that_hangs_or_is_killed_is_taken_back() {
    let space = Namespace::new("promote").await;
    let Some(steady) = Steady::new(&space) else { return };
    let steady = steady.up();
    let dir = tempfile::tempdir().unwrap();
    let real = helm::helm();
    let like = |name: &str, install: &str| {
        let path = dir.path().join(name);
        let text = format!("#!/bin/sh\n[ \"$1\" != install ] || {{ {install}; }}\nexec {} \"$@\"\n", real.display());
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let hangs = like("hangs", "sleep 3600 & wait");
    let dies = like("dies", &format!("{} \"$@\" & sleep 4; kill -KILL $! $$", real.display()));
    for (helm, texts) in [
        (&hangs, &["helm install has not ended within 45 s, and was ended", "everything was taken back"][..]),
        (&dies, &["helm install ended with a signal", "everything was taken back"][..]),
    ] {
        let run = steady.dbmig(&promote(&["--helm", helm, "--timeout", "15s"]));
        ends(&run, if helm == &hangs { 6 } else { 1 }, texts);
        alpha_is_whole(&steady, helm);
        beta_is_gone(&space);
        forget_beta(&space);
        is_tidy(&space);
    }
    // Nothing of it runs on.
    let left = std::process::Command::new("pgrep").args(["-f", dir.path().to_str().unwrap()]).output().unwrap();
    assert!(left.stdout.is_empty(), "{}", String::from_utf8_lossy(&left.stdout));
}
