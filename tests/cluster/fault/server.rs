//! The API server dies in the middle of a vacuum and comes back. Runs with no other test beside it: see .config/nextest.toml.

use std::process::Command;

use super::moment::{Moment, come_to};
use crate::place::{Owner, Place, STEPS, Size, resumed, stopped};
use crate::support::{Run, Running};

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_gets_over_an_api_server_that_is_killed_and_started_again() {
    let Some(lab) = std::env::var_os("DBMIG_TEST_LAB") else {
        return; // Nobody else's API server is killed.
    };
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    let kill = || assert_eq!(Run::of(Command::new(&lab).args(["kill", "kube-apiserver"])).code, 0);
    let start = || {
        let up = Run::of(Command::new(&lab).arg("up"));
        assert_eq!(up.code, 0, "{}", up.stderr);
    };
    let mut running = Running::start(place.vacuum());
    let job = come_to(Moment::Rebuild(1 << 20), &place, &mut running);
    kill();
    running.says("trying again");
    start();
    job.go_on();
    running.reaches(10, STEPS);
    kill();
    start();
    let ended = running.ends();
    if ended.code == 0 {
        place.is_new("the API server was killed");
    } else {
        stopped(&ended, "the API server was killed");
        resumed(&place, "the API server was killed");
    }
}
