//! The API server dies in the middle of a vacuum and comes back. Runs with no other test beside it: see .config/nextest.toml.

use std::process::Command;

use crate::place::{Owner, Place, Size, resumed, stopped};
use crate::support::{Job, Run, Running};

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_gets_over_an_api_server_that_is_killed_and_started_again() {
    let Some(lab) = std::env::var_os("DBMIG_TEST_LAB") else {
        return; // Nobody else's API server is killed.
    };
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    let mut running = Running::start(place.vacuum());
    let job = Job::halted("rebuild", place.folder(), || running.has_ended()).expect("a job");
    assert_eq!(Run::of(Command::new(&lab).args(["kill", "kube-apiserver"])).code, 0);
    running.says("trying again");
    let up = Run::of(Command::new(&lab).arg("up"));
    assert_eq!(up.code, 0, "{}", up.stderr);
    job.go_on();
    let ended = running.ends();
    if ended.code == 0 {
        place.is_new("the API server was killed");
    } else {
        stopped(&ended, "the API server was killed");
        resumed(&place, "the API server was killed");
    }
}
