//! Ctrl-C at every step: it ends at the next safe point, and says how to go on and how to go back.

use crate::place::{Owner, Place, STEPS, Size, announced, stopped, succeeded};
use crate::support::Running;

/// Interrupted at each step, then resumed and interrupted at the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_interrupted_at_any_step_is_resumed() {
    let place = Place::new("fault", Owner::Deployment, Size::Small).await;
    let mut running = Running::start(place.vacuum());
    for step in announced(1, STEPS - 1) {
        let what = format!("interrupted at step {step}");
        running.reaches(step, STEPS);
        running.interrupt();
        stopped(&running.ends(), &what);
        place.is_whole(&what);
        running = Running::start(place.take_up("resume"));
    }
    running.reaches(STEPS, STEPS);
    running.interrupt();
    succeeded(&running.ends(), "interrupted at the last step");
    place.is_new("interrupted at every step");
}

/// The same on the way back.
#[tokio::test(flavor = "multi_thread")]
async fn an_undo_interrupted_at_any_step_is_called_again() {
    let place = Place::new("fault", Owner::Deployment, Size::Small).await;
    let mut running = Running::start(place.vacuum());
    running.reaches(12, STEPS);
    running.interrupt();
    stopped(&running.ends(), "interrupted while it waits for the application");
    let mut steps = 12;
    while steps > 1 {
        // What was taken back is not counted any more.
        let mut running = Running::start(place.take_up("undo"));
        running.says("[1/");
        running.interrupt();
        let ended = running.ends();
        assert_eq!(ended.code, 8, "{}", ended.stderr);
        assert!(
            ended.stderr.contains("kubectl dbmig undo vacuum-") && !ended.stderr.contains("kubectl dbmig resume vacuum-"),
            "{}",
            ended.stderr
        );
        place.is_whole("interrupted on the way back");
        steps -= 1;
    }
    succeeded(&Running::start(place.take_up("undo")).ends(), "the last undo");
    place.is_old("interrupted at every step of the way back");
}

/// Before the first step there is nothing to go on with.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_interrupted_while_it_looks_leaves_nothing_behind() {
    let place = Place::new("fault", Owner::Deployment, Size::Small).await;
    let mut running = Running::start(place.vacuum());
    running.says("looking at the volumes");
    running.interrupt();
    let ended = running.ends();
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert!(!ended.stderr.contains("dbmig resume"), "{}", ended.stderr);
    place.is_old("interrupted while it looks");
}
