//! Twenty moments in the rebuild and the proof at which the job or the plugin is killed, or the user loses patience.

use super::moment::{Moment, at_each, come_to, moments};
use crate::place::{Owner, Place, Size, left_at_once, resumed, stopped, succeeded, undone};
use crate::support::{Job, Running};

/// What happens to a vacuum while its job is halted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The helper binary gets SIGKILL.
    JobKilled,
    /// The plugin gets SIGKILL; the job goes on.
    PluginKilled,
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-C twice: the second does not wait for a job that does not answer.
    LeftAtOnce,
}

impl Fault {
    /// Strikes; the plugin is gone afterwards, and everything is whole.
    fn strike(self, place: &Place, job: Job, running: &mut Running, what: &str) {
        match self {
            Self::JobKilled => {
                job.kill();
                stopped(&running.ends(), what);
            }
            Self::PluginKilled => {
                running.kill();
                job.go_on();
            }
            Self::Interrupted => {
                running.interrupt();
                running.says("safe point");
                job.go_on();
                stopped(&running.ends(), what);
            }
            Self::LeftAtOnce => {
                running.interrupt();
                running.says("safe point");
                running.interrupt();
                left_at_once(&running.ends(), what);
                job.go_on();
            }
        }
        place.is_whole(what);
    }
}

/// After each kill the plugin stops and is told to resume; the moments come nearer to the end each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_whose_job_is_killed_is_resumed_from_any_moment() {
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    let mut running = Running::start(place.vacuum());
    for moment in moments(&place, 1, 14, 6) {
        let job = come_to(moment, &place, &mut running);
        Fault::JobKilled.strike(&place, job, &mut running, &format!("the job was killed at {moment:?}"));
        running = Running::start(place.take_up("resume"));
    }
    succeeded(&running.ends(), "the last resume");
    place.is_new("resumed after every kill of the job");
}

/// One and the same job goes through all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_whose_plugin_is_killed_is_resumed_with_its_job_from_any_moment() {
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    let mut running = Running::start(place.vacuum());
    at_each(&moments(&place, 10, 14, 6), &place, &mut running, |moment, running| {
        running.kill();
        place.is_whole(&format!("the plugin was killed at {moment:?}"));
        let before = Job::all("follow", place.folder());
        *running = Running::start(place.take_up("resume"));
        place.space.wait_for("the job is followed again", || {
            Job::all("follow", place.folder()).iter().any(|follower| !before.contains(follower))
        });
    });
    succeeded(&running.ends(), "the last resume");
    place.is_new("resumed after every kill of the plugin");
}

/// A copy of its own for each moment, and of each two moments one way on and one back if both are wanted. The application's own end and
/// start, which have nothing to do with these moments, are in `crash` and `interrupt`.
async fn taken_up_after(fault: Fault, seed: u64, ways: &[fn(&Place, &str)]) {
    let place = Place::new("fault", Owner::AtRest, Size::Large).await;
    let mut ways = ways.iter().cycle();
    for moment in moments(&place, seed, 7, 3) {
        let what = format!("{fault:?} at {moment:?}");
        // A node takes a moment to end what ran in a pod that is gone, and that must not pass for the next job.
        place.space.wait_for("the job before is gone", || {
            ["rebuild", "verify"].iter().all(|word| Job::all(word, place.folder()).is_empty())
        });
        place.renew();
        let mut running = Running::start(place.vacuum());
        let job = come_to(moment, &place, &mut running);
        fault.strike(&place, job, &mut running, &what);
        ways.next().expect("there is a way")(&place, &what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_whose_job_is_killed_is_taken_back_from_any_moment_1() {
    taken_up_after(Fault::JobKilled, 2, &[undone]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_whose_job_is_killed_is_taken_back_from_any_moment_2() {
    taken_up_after(Fault::JobKilled, 3, &[undone]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_whose_plugin_is_killed_is_taken_back_from_any_moment_1() {
    taken_up_after(Fault::PluginKilled, 4, &[undone]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_whose_plugin_is_killed_is_taken_back_from_any_moment_2() {
    taken_up_after(Fault::PluginKilled, 11, &[undone]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_that_is_interrupted_goes_on_or_back_from_any_moment() {
    taken_up_after(Fault::Interrupted, 8, &[resumed, undone]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_that_is_left_at_once_goes_on_or_back_from_any_moment() {
    taken_up_after(Fault::LeftAtOnce, 9, &[undone, resumed]).await;
}

/// The job is halted all the time, and so still there when the way back begins: that ends it before it touches anything.
#[tokio::test(flavor = "multi_thread")]
async fn an_undo_ends_the_job_of_a_killed_plugin_before_it_removes_its_file() {
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    let mut running = Running::start(place.vacuum());
    // Before it makes its file: nothing is there to be removed yet.
    let job = come_to(Moment::Rebuild(0), &place, &mut running);
    running.kill();
    let mut undoing = Running::start(place.take_up("undo"));
    place.space.wait_for("the job is asked to stop", || !Job::all("stop", place.folder()).is_empty());
    job.go_on();
    succeeded(&undoing.ends(), "undo beside a job");
    assert!(job.has_ended(), "the job outlived the undo");
    place.is_old("undo beside a job");
}
