//! The API server dies in the middle of a promotion and comes back. Runs with no other test beside it: see .config/nextest.toml.

use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use super::{STEPS, alpha_is_whole, beta_is_gone, ends, forget_beta, is_tidy, promote};
use crate::fault::server::{kill_server, start_server};
use crate::support::{Namespace, Running, Steady};

/// The server dies when a step has begun; the plugin finds out by itself.
fn server_dies_at(steady: &Steady<'_>, step: usize) -> Running {
    let mut running = Running::start(steady.dbmig_command(&promote(&[])));
    running.reaches(step, STEPS);
    running.signal(Signal::STOP);
    kill_server();
    running.signal(Signal::CONT);
    sleep(Duration::from_secs(3));
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_whose_api_server_is_killed_goes_on_and_goes_back() {
    let space = Namespace::new("promote").await;
    let Some(steady) = Steady::new(&space) else { return };
    let steady = steady.up();
    // The plugin dies with it, and all is taken back: while the claim changes hands, and when the data directory has changed.
    for step in [4, 6] {
        let what = format!("the server died at step {step}");
        server_dies_at(&steady, step).kill();
        start_server();
        ends(&steady.dbmig(&["undo", "--yes"]), 0, &["taken back"]);
        alpha_is_whole(&steady, &what);
        beta_is_gone(&space);
        is_tidy(&space);
        forget_beta(&space);
    }

    // It lives, and so does helm, which may give up.
    let mut running = server_dies_at(&steady, 7);
    start_server();
    let ended = running.ends();
    if ended.code != 0 {
        assert!(matches!(ended.code, 1 | 6 | 8), "{}{}", ended.stdout, ended.stderr);
        if ended.code == 8 {
            ends(&steady.dbmig(&["undo", "--yes"]), 0, &["taken back"]);
        }
        alpha_is_whole(&steady, "the server died under helm");
        beta_is_gone(&space);
        forget_beta(&space);
        // Whoever is fast is through before the server is missed.
        let mut running = server_dies_at(&steady, 5);
        running.kill();
        start_server();
        ends(&steady.dbmig(&["resume", "--yes"]), 0, &["already done"]);
    }
    assert_eq!((steady.role("beta", "master").as_str(), steady.schema("beta").as_str()), ("f|2", "2|f"));
    assert_eq!(steady.role("alpha", "master"), "f|1");
    assert_eq!(steady.violations(), Vec::<String>::new());
    is_tidy(&space);
}
