//! Faults where the new file is built or the old one kept on volumes apart, and where room comes from holes.

use super::Filler;
use super::disk::took_itself_back;
use crate::place::{Owner, Place, STEPS, Size, exit_code, resumed, succeeded, undone};
use crate::support::{Job, Running};

/// Both files on volumes of their own.
const APART: [&str; 4] = ["--scratch", "pvc", "--keep-old", "pvc"];

fn no_claim_is_left(place: &Place) {
    place.space.wait_for("no claim of ours is left", || !place.space.kubectl(&["get", "pvc", "-o", "name"]).contains("dbmig-"));
}

/// The volumes are made, mounted and removed between steps; whatever is missing of them when the plugin dies, the way on is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_killed_around_its_volumes_apart_goes_on_and_back() {
    let place = Place::new("apart", Owner::StatefulSet, Size::Small).await;
    let mut running = Running::start(place.vacuum_with(&APART));
    for step in [5, 9, 10, 14] {
        running.reaches(step, STEPS);
        running.kill();
        place.is_whole(&format!("killed at step {step}"));
        running = Running::start(place.take_up("resume"));
    }
    let ended = running.ends();
    // On a busy machine the last step may be over before it can be killed.
    if !(ended.code == 4 && ended.stderr.contains("is over: done")) {
        succeeded(&ended, "killed around the volumes apart");
    }
    place.is_new("killed around the volumes apart");

    // The old file is kept until somebody deletes its claim.
    let mut undoing = Running::start(place.take_up("undo"));
    undoing.says("take back: put the new file in place");
    undoing.kill();
    undone(&place, "an undo was killed while it put the old file back");
    no_claim_is_left(&place);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_killed_around_its_volumes_apart_is_taken_back() {
    let place = Place::new("apart", Owner::StatefulSet, Size::Small).await;
    for step in [5, 12] {
        let what = format!("killed at step {step} with volumes apart");
        place.renew();
        let mut running = Running::start(place.vacuum_with(&APART));
        running.reaches(step, STEPS);
        running.kill();
        undone(&place, &what);
        no_claim_is_left(&place);
    }
}

/// Comes to where the old file has made room, and the new one is not in its place yet; plugin and job are killed there.
fn killed_without_a_database(place: &Place, words: &[&str]) {
    place.renew();
    let filler = Filler::new(place.folder());
    let mut running = Running::start(place.vacuum_with(words));
    running.reaches(10, STEPS);
    let hold = place.hold(|| !Job::all("replace", place.folder()).is_empty());
    let job = Job::halted("replace", place.folder(), || running.has_ended()).expect("a job");
    drop(hold);
    assert!(job.advance_until(|| !place.file.exists()), "the job has ended: {}", running.said());
    running.kill();
    job.kill();
    assert!(!place.file.exists(), "there is a database");
    drop(filler);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_killed_when_the_old_file_has_made_room_loses_nothing() {
    let place = Place::new("apart", Owner::Deployment, Size::Large).await;
    killed_without_a_database(&place, &APART);
    undone(&place, "the old file comes from its copy");
    no_claim_is_left(&place);

    killed_without_a_database(&place, &["--scratch", "pvc", "--keep-old", "none"]);
    let undo = place.space.dbmig(&["undo", &place.id(), "--yes"]);
    exit_code(&undo, 4, "there is nothing to go back to");
    assert!(undo.stderr.contains("--keep-old none"), "{}", undo.stderr);
    resumed(&place, "the new file is the only one");
    no_claim_is_left(&place);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_without_room_for_the_old_file_ends_the_vacuum_as_if_nothing_had_been() {
    let place = Place::new("apart", Owner::Deployment, Size::Small).await;
    let spare = place.space.spare_volume("64Mi");
    let mut running = Running::start(place.vacuum_with(&["--keep-old", "pvc:sized"]));
    running.reaches(9, STEPS);
    let filler = running.paused(|| Filler::new(&spare));
    took_itself_back(&running.ends(), &[1], "the volume for the old file was full");
    place.is_old("the volume for the old file was full");
    drop(filler);
}

/// Where nothing is free at all: before and after the holes are made.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_killed_around_its_holes_goes_on_or_back() {
    let place = Place::new("apart", Owner::Deployment, Size::Tight).await;
    let filler = Filler::new(place.folder());
    for (step, way) in [(6, "resume"), (6, "undo"), (7, "undo")] {
        place.renew();
        let mut running = Running::start(place.vacuum());
        running.reaches(step, STEPS);
        running.kill();
        let what = format!("killed at step {step} on a full volume, then {way}");
        match way {
            "resume" => resumed(&place, &what),
            _ => undone(&place, &what),
        }
    }
    drop(filler);
}
