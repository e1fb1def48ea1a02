//! The plugin is killed at every step of a vacuum; `resume` goes on from there, `undo` goes back, and the data is whole either way.

use crate::place::{Owner, Place, STEPS, Size, announced, exit_code, resumed, succeeded, undone};
use crate::support::Running;

/// Starts a vacuum and kills it as soon as it announces a step.
fn kill_at(place: &Place, step: usize) {
    place.renew();
    let mut running = Running::start(place.vacuum());
    running.reaches(step, STEPS);
    running.kill();
}

async fn resume_after_kills_at(steps: &[usize]) {
    let place = Place::new("crash", Owner::StatefulSet, Size::Small).await;
    for &step in steps {
        kill_at(&place, step);
        resumed(&place, &format!("killed at step {step}, then resumed"));
    }
}

async fn undo_after_kills_at(steps: &[usize]) {
    let place = Place::new("crash", Owner::StatefulSet, Size::Small).await;
    for &step in steps {
        kill_at(&place, step);
        undone(&place, &format!("killed at step {step}, then taken back"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_killed_before_its_swap_is_resumed() {
    resume_after_kills_at(&announced(1, 7)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_killed_from_its_proof_on_is_resumed() {
    resume_after_kills_at(&announced(8, STEPS)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_killed_before_its_swap_is_taken_back() {
    undo_after_kills_at(&announced(1, 7)).await;
}

/// Up to the step before the old file is dropped: from then on there is nothing to go back to.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_killed_from_its_proof_on_is_taken_back() {
    undo_after_kills_at(&announced(8, 12)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_that_dropped_the_old_file_says_that_it_cannot_go_back_and_changes_nothing() {
    let place = Place::new("crash", Owner::StatefulSet, Size::Small).await;
    succeeded(&Running::start(place.vacuum()).ends(), "vacuum");
    exit_code(&place.space.dbmig(&["undo", &place.id(), "--yes"]), 4, "undo after the old file was dropped");
    place.is_new("an undo that was refused");
}
