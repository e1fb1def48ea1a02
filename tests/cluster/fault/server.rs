//! The API server dies in the middle of a vacuum, or under the eyes of observers, and comes back. Runs with no other test beside it: see .config/nextest.toml.

use std::ffi::OsString;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;
use std::time::Duration;

use futures::future::join_all;
use rustix::process::Signal;
use serde_json::json;

use super::moment::{Moment, come_to};
use crate::observe::connection::assert_complete;
use crate::observe::{container, create_job, spec};
use crate::place::{Owner, Place, STEPS, Size, resumed, stopped, undone};
use crate::support::{Namespace, Run, Running};

/// The throwaway cluster's own program. Nobody else's API server is killed.
pub(crate) fn lab() -> Option<OsString> {
    std::env::var_os("DBMIG_TEST_LAB")
}

pub(crate) fn kill_server() {
    assert_eq!(Run::of(Command::new(lab().expect("the throwaway cluster")).args(["kill", "kube-apiserver"])).code, 0);
}

pub(crate) fn start_server() {
    let up = Run::of(Command::new(lab().expect("the throwaway cluster")).arg("up"));
    assert_eq!(up.code, 0, "{}", up.stderr);
}

/// What becomes of a vacuum after its server has died.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// The plugin lives, and gets over it by itself or says that it was stopped and can be resumed.
    On,
    /// The plugin dies too, and the vacuum is resumed.
    Resume,
    /// The plugin dies too, and the vacuum is taken back.
    Undo,
}

/// Steps at which the server dies under a vacuum, where the application has been stopped or is started again.
const WITH_APPLICATION: [usize; 4] = [2, 10, 11, 12];
/// The same where only the data matters. From the last two there is no way back.
const AT_REST: [usize; 7] = [1, 3, 4, 7, 8, 13, 14];

/// Does something with all of them side by side.
fn side_by_side<T: Send, R: Send>(all: Vec<T>, act: impl Fn(T) -> R + Sync) -> Vec<R> {
    let act = &act;
    thread::scope(|scope| {
        let threads: Vec<_> = all.into_iter().map(|one| scope.spawn(move || act(one))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

/// The server dies once: each copy is halted at a step of its own, goes on without a server, and on its way once that is back.
fn server_dies_under(copies: Vec<(&Place, usize, Way)>) {
    let mut halted = side_by_side(copies, |(place, step, way)| {
        place.renew();
        let mut running = Running::start(place.vacuum());
        let step = running.reaches(step, STEPS);
        running.signal(Signal::STOP);
        (place, running, way, format!("the server died at step {step}, then {way:?}"))
    });
    kill_server();
    for (_, running, ..) in &halted {
        running.signal(Signal::CONT);
    }
    // Time to come to where a server is needed. Who does not get there has lost it all the same.
    thread::sleep(Duration::from_secs(3));
    for (place, running, way, what) in &mut halted {
        if !matches!(way, Way::On) {
            running.kill();
        }
        place.is_whole(what);
    }
    start_server();
    side_by_side(halted, |(place, mut running, way, what)| match way {
        Way::On => {
            let ended = running.ends();
            if ended.code == 0 {
                return place.is_new(&what);
            }
            stopped(&ended, &what);
            resumed(place, &what);
        }
        Way::Resume => resumed(place, &what),
        Way::Undo => undone(place, &what),
    });
}

/// A copy for each step, and two deaths of the server: after the one all that can go back do, after the other all go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_vacuum_whose_api_server_is_killed_at_any_step_goes_on_and_goes_back() {
    if lab().is_none() {
        return;
    }
    let with_application = WITH_APPLICATION.map(|step| (Owner::Deployment, step));
    let steps = with_application.into_iter().chain(AT_REST.map(|step| (Owner::AtRest, step)));
    let places = steps.map(|(owner, step)| async move {
        let place = tokio::spawn(Place::new("server", owner, Size::Small)).await;
        (place.expect("the place is made"), step)
    });
    let places = join_all(places).await;
    let back = places.iter().filter(|(_, step)| *step <= 12).map(|(place, step)| (place, *step, Way::Undo));
    server_dies_under(back.collect());
    let ways = [Way::On, Way::Resume].into_iter().cycle();
    server_dies_under(places.iter().zip(ways).map(|((place, step), way)| (place, *step, way)).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_gets_over_an_api_server_that_is_killed_and_started_again() {
    if lab().is_none() {
        return;
    }
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    let mut running = Running::start(place.vacuum());
    let job = come_to(Moment::Rebuild(1 << 20), &place, &mut running);
    kill_server();
    running.says("trying again");
    start_server();
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
    if lab().is_none() {
        return;
    }
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
    kill_server();
    start_server();
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
