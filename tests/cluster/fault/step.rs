//! The helper pod or the connection goes at every step.

use super::delete_helper;
use crate::place::{Owner, Place, STEPS, Size, announced, succeeded, undone};
use crate::support::{Harm, Job, Proxy, Running};

/// In one vacuum, at each of its steps, alternately by force and not. Where the step before did not need the pod and lost it,
/// it is deleted as soon as it is there again.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_gets_over_the_loss_of_its_helper_pod_at_every_step() {
    let place = Place::new("fault", Owner::Deployment, Size::Small).await;
    let mut running = Running::start(place.vacuum());
    // The twelfth finds none, since the one before needed none; the last deletes it itself.
    for step in announced(1, 13).into_iter().filter(|step| *step != 12) {
        running.reaches(step, STEPS);
        delete_helper(&place, &mut running, step % 2 == 0);
    }
    succeeded(&running.ends(), "the helper pod was deleted at every step");
    place.is_new("the helper pod was deleted at every step");
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

/// The way there with a cut at each step, then the way back with a cut at each step.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_and_its_undo_get_over_a_cut_connection_at_every_step() {
    let place = Place::new("fault", Owner::Deployment, Size::Small).await;
    let proxy = Proxy::new(&place.space).await;
    let cut = |step| assert!(proxy.harm(Harm::Reset) > 0, "there was no connection to cut at step {step}");

    let mut running = Running::start(place.vacuum_through(&proxy));
    for step in announced(1, STEPS) {
        running.reaches(step, STEPS);
        cut(step);
    }
    succeeded(&running.ends(), "the connection was cut at every step");
    place.is_new("the connection was cut at every step");

    place.renew();
    let mut running = Running::start(place.vacuum_through(&proxy));
    running.reaches(12, STEPS);
    running.kill();
    let mut running = Running::start(place.space.dbmig_command_as(&proxy.kubeconfig(), &["undo", &place.id(), "--yes"]));
    for step in 1..=12 {
        running.reaches(step, 12);
        cut(step);
    }
    succeeded(&running.ends(), "the connection was cut at every step of the way back");
    place.is_old("the connection was cut at every step of the way back");
}

/// The steps that only ask: they are done again in the same helper pod.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_and_its_undo_get_over_a_helper_binary_that_is_killed_while_it_answers() {
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    let kill_answering = |running: &mut Running| {
        let answering = Job::halted("ask", place.folder(), || running.has_ended());
        answering.unwrap_or_else(|| panic!("nobody was asked:\n{}", running.said())).kill();
        running.says("trying again");
    };
    let mut running = Running::start(place.vacuum());
    for step in [4, 10] {
        running.reaches(step, STEPS);
        kill_answering(&mut running);
    }
    running.reaches(12, STEPS);
    running.kill();
    place.is_whole("helper binaries were killed while they answered");
    let mut running = Running::start(place.take_up("undo"));
    running.says("take back: put the new file in place");
    kill_answering(&mut running);
    succeeded(&running.ends(), "helper binaries were killed while they answered");
    place.is_old("helper binaries were killed while they answered");
}
