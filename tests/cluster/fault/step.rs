//! The helper pod, the helper binary or the server goes at every step.

use std::time::Duration;

use tokio::time::sleep;

use super::{delete_helper, delete_pod};
use crate::place::{Owner, Place, STEPS, Size, announced, succeeded, undone};
use crate::support::{Harm, Job, Proxy, Running, Weather};

/// Starts a vacuum, and kills it when the application has been started on the new file.
fn vacuum_killed_after_its_swap(place: &Place) {
    place.renew();
    let mut running = Running::start(place.vacuum());
    running.reaches(12, STEPS);
    running.kill();
}

/// In one vacuum, at each of its steps, alternately by force and not. Where the step before did not need the pod and lost it,
/// it is deleted as soon as it is there again.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_and_its_undo_get_over_the_loss_of_the_helper_pod_at_every_step() {
    let place = Place::new("fault", Owner::Deployment, Size::Small).await;
    let mut running = Running::start(place.vacuum());
    // The twelfth finds none, since the one before needed none; the last deletes it itself.
    for step in announced(1, 13).into_iter().filter(|step| *step != 12) {
        running.reaches(step, STEPS);
        delete_helper(&place, &mut running, step % 2 == 0);
    }
    succeeded(&running.ends(), "the helper pod was deleted at every step");
    place.is_new("the helper pod was deleted at every step");

    vacuum_killed_after_its_swap(&place);
    let mut running = Running::start(place.take_up("undo"));
    // Those that need it: before the old file is put back, then before the new one's remains are removed.
    for (step, force) in [(3, false), (6, true)] {
        running.reaches(step, 12);
        running.paused(|| delete_pod(&place, &place.helper().expect("the way back has a helper pod"), force));
    }
    succeeded(&running.ends(), "the helper pod was deleted on the way back");
    place.is_old("the helper pod was deleted on the way back");
}

/// The node of the helper pod is drained while the plugin loses its machine.
async fn undo_after_the_loss_of_both_at(steps: &[usize]) {
    let place = Place::new("fault", Owner::Deployment, Size::Small).await;
    for &step in steps {
        let what = format!("plugin and helper pod were killed at step {step}");
        place.renew();
        let mut running = Running::start(place.vacuum());
        running.reaches(step, STEPS);
        delete_helper(&place, &mut running, step % 2 == 0);
        running.kill();
        place.is_whole(&what);
        undone(&place, &what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_that_lost_its_helper_pod_before_its_swap_is_taken_back() {
    undo_after_the_loss_of_both_at(&[1, 2, 4, 7]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_that_lost_its_helper_pod_from_its_swap_on_is_taken_back() {
    undo_after_the_loss_of_both_at(&[8, 10, 11, 12]).await;
}

/// The way there with a cut at each step, then the way back; each time nobody answers for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_and_its_undo_get_over_a_server_out_of_reach_at_every_step() {
    let place = Place::new("fault", Owner::Deployment, Size::Small).await;
    let proxy = Proxy::new(&place.space).await;
    let cut = async |running: &mut Running| {
        // What the cut before has left it without, it makes anew.
        while proxy.harm(Harm::Reset) == 0 {
            assert!(!running.has_ended(), "it ended without a connection to cut:\n{}", running.said());
            sleep(Duration::from_millis(20)).await;
        }
        proxy.weather(Weather::Away);
        proxy.harm(Harm::Reset);
        sleep(Duration::from_secs(2)).await;
        proxy.weather(Weather::Fair);
    };

    let mut running = Running::start(place.vacuum_through(&proxy));
    for step in announced(1, STEPS) {
        running.reaches(step, STEPS);
        cut(&mut running).await;
    }
    succeeded(&running.ends(), "the server was away at every step");
    place.is_new("the server was away at every step");

    vacuum_killed_after_its_swap(&place);
    let mut running = Running::start(place.space.dbmig_command_as(&proxy.kubeconfig(), &["undo", &place.id(), "--yes"]));
    for step in 1..=12 {
        running.reaches(step, 12);
        cut(&mut running).await;
    }
    succeeded(&running.ends(), "the server was away at every step of the way back");
    place.is_old("the server was away at every step of the way back");
}

/// Swap and way back only ask: that is done again in the same helper pod.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_and_its_undo_get_over_a_helper_binary_that_is_killed_while_it_answers() {
    let place = Place::new("fault", Owner::Deployment, Size::Small).await;
    let kill_answering = |running: &mut Running| {
        // It waits for us until it is found.
        let hold = place.hold(|| !Job::all("ask", place.folder()).is_empty());
        let answering = Job::halted("ask", place.folder(), || running.has_ended());
        answering.unwrap_or_else(|| panic!("nobody was asked:\n{}", running.said())).kill();
        drop(hold);
        running.says("trying again");
    };
    let mut running = Running::start(place.vacuum());
    running.reaches(10, STEPS);
    kill_answering(&mut running);
    running.reaches(12, STEPS);
    running.kill();
    place.is_whole("the helper binary was killed while it swapped");
    let mut running = Running::start(place.take_up("undo"));
    for step in [3, 6] {
        running.reaches(step, 12);
        kill_answering(&mut running);
    }
    succeeded(&running.ends(), "helper binaries were killed while they answered");
    place.is_old("helper binaries were killed while they answered");
}
