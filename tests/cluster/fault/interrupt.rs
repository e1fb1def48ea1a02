//! Ctrl-C at every step: it ends at the next safe point, and says how to go on and how to go back.

use rustix::process::Signal;

use crate::place::{Owner, Place, STEPS, Size, left_at_once, stopped, succeeded, undone};
use crate::support::{Run, Running};

/// What becomes of a vacuum at each of its steps, and of what takes it up at the next one.
async fn resumed_from_every_step(interrupt: impl Fn(&mut Running), is_right: impl Fn(&Run, &str)) {
    let place = Place::new("fault", Owner::Deployment, Size::Small).await;
    let (mut running, mut step) = (Running::start(place.vacuum()), 0);
    loop {
        step = running.reaches(step + 1, STEPS);
        interrupt(&mut running);
        let (ended, what) = (running.ends(), format!("interrupted at step {step}"));
        // From the last two on there may be no safe point left.
        if step >= STEPS - 1 && ended.code == 0 {
            return place.is_new("interrupted at every step");
        }
        is_right(&ended, &what);
        place.is_whole(&what);
        running = Running::start(place.take_up("resume"));
        if step == STEPS {
            succeeded(&running.ends(), &what);
            return place.is_new("interrupted at every step");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_interrupted_at_any_step_is_resumed() {
    resumed_from_every_step(|running| running.interrupt(), stopped).await;
}

/// Two signals at once, as if Ctrl-C were pressed twice: nothing safe is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_left_at_once_at_any_step_is_resumed() {
    let twice = |running: &mut Running| {
        running.paused(|| [Signal::INT, Signal::TERM].map(|signal| running.signal(signal)));
    };
    resumed_from_every_step(twice, left_at_once).await;
}

/// A copy of its own for each step, and the way back from there. From the last but one on there is none.
async fn taken_back_after_ctrl_c(owner: Owner, steps: &[usize]) {
    let place = Place::new("fault", owner, Size::Small).await;
    for &step in steps {
        let what = format!("interrupted at step {step}, then taken back");
        place.renew();
        let mut running = Running::start(place.vacuum());
        running.reaches(step, STEPS);
        running.interrupt();
        stopped(&running.ends(), &what);
        place.is_whole(&what);
        undone(&place, &what);
    }
}

/// Where the application has been stopped, or is started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_interrupted_around_its_application_is_taken_back() {
    taken_back_after_ctrl_c(Owner::Deployment, &[2, 10, 11, 12]).await;
}

/// Where only the data matters.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_interrupted_around_its_new_file_is_taken_back() {
    taken_back_after_ctrl_c(Owner::AtRest, &[1, 3, 4, 7, 8]).await;
}

/// The same on the way back.
#[tokio::test(flavor = "multi_thread")]
async fn an_undo_interrupted_at_any_step_is_called_again() {
    let place = Place::new("fault", Owner::Deployment, Size::Small).await;
    let mut running = Running::start(place.vacuum());
    running.reaches(12, STEPS);
    running.interrupt();
    stopped(&running.ends(), "interrupted while it waits for the application");
    loop {
        // What was taken back is not counted any more.
        let mut undoing = Running::start(place.take_up("undo"));
        let left = undoing.begins();
        undoing.interrupt();
        let ended = undoing.ends();
        if left <= 2 && ended.code == 0 {
            return place.is_old("interrupted at every step of the way back");
        }
        assert_eq!(ended.code, 8, "{left} steps were left: {}", ended.stderr);
        assert!(
            ended.stderr.contains("kubectl dbmig undo vacuum-") && !ended.stderr.contains("kubectl dbmig resume vacuum-"),
            "{}",
            ended.stderr
        );
        place.is_whole("interrupted on the way back");
    }
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
