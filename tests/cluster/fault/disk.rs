//! The volume is full from a step on, or from a moment in the rebuild on.

use super::Filler;
use super::moment::{Moment, come_to};
use crate::place::{Owner, Place, STEPS, Size, succeeded, undone};
use crate::support::{Run, Running};

/// It says that there is no room, and that everything was taken back.
pub(super) fn took_itself_back(ended: &Run, codes: &[i32], what: &str) {
    assert!(codes.contains(&ended.code), "{what}: exit code {}\n{}", ended.code, ended.stderr);
    let said = ended.stderr.to_lowercase();
    let reason = ["no room", "no space", "does not fit", "can't stay beside"].iter().any(|word| said.contains(word));
    assert!(reason && said.contains("everything was taken back"), "{what}: {}", ended.stderr);
}

/// Seen when the database is examined at rest: refused, with the application as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_full_before_the_rebuild_ends_it_as_if_nothing_had_been() {
    let place = Place::new("fault", Owner::Deployment, Size::Small).await;
    for step in [1, 3] {
        let what = format!("the volume was full from step {step} on");
        let mut running = Running::start(place.vacuum());
        running.reaches(step, STEPS);
        let filler = running.paused(|| Filler::new(place.folder()));
        took_itself_back(&running.ends(), &[4], &what);
        place.is_old(&what);
        drop(filler);
    }
}

/// Seen by the rebuild itself, whenever in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_gets_full_in_the_rebuild_ends_it_as_if_nothing_had_been() {
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    for percent in [0, 40, 80] {
        let what = format!("the volume was full when {percent} % were written");
        let kept = place.kept_bytes();
        let (mut running, job) = loop {
            let mut running = Running::start(place.vacuum());
            let job = come_to(Moment::Rebuild(kept * percent / 100), &place, &mut running);
            if job.is_before("wchar", kept * 95 / 100) {
                break (running, job);
            }
            // On a busy machine it may get too far to need room: once more.
            job.go_on();
            succeeded(&running.ends(), &what);
            place.renew();
        };
        let filler = Filler::new(place.folder());
        job.go_on();
        took_itself_back(&running.ends(), &[1], &what);
        place.is_old(&what);
        drop(filler);
    }
}

/// Once the new file is there, nothing needs room any more: neither the rest of the way nor the way back.
#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_gets_full_after_the_rebuild_keeps_nothing_from_being_done() {
    let place = Place::new("fault", Owner::Deployment, Size::Small).await;
    let mut running = Running::start(place.vacuum());
    running.reaches(8, STEPS);
    let filler = running.paused(|| Filler::new(place.folder()));
    succeeded(&running.ends(), "the volume was full from the proof on");
    place.is_new("the volume was full from the proof on");
    drop(filler);

    place.renew();
    let mut running = Running::start(place.vacuum());
    running.reaches(12, STEPS);
    let filler = running.paused(|| Filler::new(place.folder()));
    running.kill();
    undone(&place, "the volume was full on the way back");
    drop(filler);
}
