//! The plugin is killed at every step of a vacuum, and again when it goes on or back: `resume` goes on from there, `undo` goes back,
//! and the data is whole either way.

use crate::place::{Owner, Place, STEPS, Size, announced, exit_code, succeeded, undone};
use crate::support::Running;

/// Starts a vacuum and kills it as soon as it announces a step.
fn kill_at(place: &Place, step: usize) {
    place.renew();
    let mut running = Running::start(place.vacuum());
    running.reaches(step, STEPS);
    running.kill();
}

/// Kills a vacuum at its first step, what takes it up at the next one, and so on to the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_and_its_resume_killed_at_any_step_are_resumed() {
    let place = Place::new("crash", Owner::StatefulSet, Size::Small).await;
    let (mut running, mut step) = (Running::start(place.vacuum()), 0);
    while step < STEPS {
        step = running.reaches(step + 1, STEPS);
        running.kill();
        place.is_whole(&format!("killed at step {step}"));
        running = Running::start(place.take_up("resume"));
    }
    succeeded(&running.ends(), "killed at every step");
    place.is_new("killed at every step");
}

async fn undo_after_kills_at(steps: &[usize]) {
    let place = Place::new("crash", Owner::StatefulSet, Size::Small).await;
    for &step in steps {
        kill_at(&place, step);
        undone(&place, &format!("killed at step {step}, then taken back"));
    }
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

/// Each undo is killed at its second step, which is the first one of the next undo, until there is none.
#[tokio::test(flavor = "multi_thread")]
async fn an_undo_killed_at_any_step_is_called_again() {
    let place = Place::new("crash", Owner::StatefulSet, Size::Small).await;
    kill_at(&place, 12);
    loop {
        let mut undoing = Running::start(place.take_up("undo"));
        let left = undoing.begins();
        if left == 1 {
            succeeded(&undoing.ends(), "the last undo");
            return place.is_old("an undo was killed at every step");
        }
        undoing.reaches(2, left);
        undoing.kill();
        place.is_whole(&format!("an undo was killed when {left} steps were left"));
        exit_code(&place.space.dbmig(&["resume", &place.id(), "--yes"]), 4, "resume of what is being taken back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_that_dropped_the_old_file_says_that_it_cannot_go_back_and_changes_nothing() {
    let place = Place::new("crash", Owner::StatefulSet, Size::Small).await;
    succeeded(&Running::start(place.vacuum()).ends(), "vacuum");
    exit_code(&place.space.dbmig(&["undo", &place.id(), "--yes"]), 4, "undo after the old file was dropped");
    place.is_new("an undo that was refused");
}

/// Killed while it drops the old file: that is either still there, and put back, or gone, and that is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_killed_while_it_drops_the_old_file_goes_back_whole_or_not_at_all() {
    let place = Place::new("crash", Owner::StatefulSet, Size::Small).await;
    kill_at(&place, 13);
    let undo = place.space.dbmig(&["undo", &place.id(), "--yes"]);
    if undo.code == 0 {
        return place.is_old("killed while the old file was dropped");
    }
    exit_code(&undo, 4, "undo of a vacuum that was killed while it dropped the old file");
    succeeded(&Running::start(place.take_up("resume")).ends(), "killed while the old file was dropped");
    place.is_new("killed while the old file was dropped");
}
