//! The API server dies in the middle of a vacuum, or under the eyes of observers, and comes back. Runs with no other test beside it: see .config/nextest.toml.

use std::process::Command;

use serde_json::json;

use super::moment::{Moment, come_to};
use crate::observe::connection::assert_complete;
use crate::observe::{container, create_job, spec};
use crate::place::{Owner, Place, Size, resumed, stopped};
use crate::support::{Namespace, Run, Running};

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_gets_over_an_api_server_that_is_killed_and_started_again() {
    let Some(lab) = std::env::var_os("DBMIG_TEST_LAB") else {
        return; // Nobody else's API server is killed.
    };
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    let mut running = Running::start(place.vacuum());
    let job = come_to(Moment::Rebuild(1 << 20), &place, &mut running);
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

#[tokio::test(flavor = "multi_thread")]
async fn twenty_pods_are_heard_completely_though_the_api_server_is_killed_and_started_again() {
    const LINES: usize = 200;
    let Some(lab) = std::env::var_os("DBMIG_TEST_LAB") else {
        return; // Nobody else's API server is killed.
    };
    let space = Namespace::new("twenty").await;
    let script = format!("i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo $i; sleep 0.1; done");
    create_job(&space, "many", json!({"parallelism": 0, "completions": 20}), &spec(&[container("main", &script)]));
    let mut logs = Running::start(space.dbmig_command(&["logs", "job/many", "-f", "-o", "json"]));
    let mut watch =
        Running::start(space.dbmig_command(&["watch", "job/many", "--until", "complete", "--timeout", "3m", "-o", "json"]));
    logs.says("waiting for its pods");
    watch.prints("job/many");
    space.kubectl(&["patch", "job", "many", "-p", "{\"spec\": {\"parallelism\": 20}}"]);
    logs.prints("\"message\":\"20\"");
    watch.prints("\"message\":\"20\"");
    assert_eq!(Run::of(Command::new(&lab).args(["kill", "kube-apiserver"])).code, 0);
    let up = Run::of(Command::new(&lab).arg("up"));
    assert_eq!(up.code, 0, "{}", up.stderr);
    logs.says("trying again");
    logs.says("connected again");
    let run = logs.ends();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_complete(&run.stdout, 20, LINES);
    let run = watch.ends();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let texts: Vec<&str> = run.stdout.lines().filter(|line| line.contains("\"type\":\"log\"")).collect();
    assert_complete(&texts.join("\n"), 20, LINES);
}
