//! Twenty moments in the rebuild and the proof, of a database that takes its time: the job is halted there, and then something fails.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::delete_helper;
use crate::place::{Owner, Place, Size, resumed, stopped, succeeded, undone};
use crate::support::{Harm, Job, Proxy, Running};

/// A moment in a job's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// So many bytes of the new file were written.
    Rebuild(u64),
    /// So many bytes were read for its proof.
    Verify(u64),
}

/// Moments in the order in which they come, the same for the same seed.
fn moments(place: &Place, seed: u64, rebuild: usize, verify: usize) -> Vec<Moment> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut up_to = |bytes: u64| random.random_range(0..bytes);
    let kept = place.kept_bytes();
    let mut moments: Vec<Moment> = (0..rebuild).map(|_| Moment::Rebuild(up_to(kept * 9 / 10))).collect();
    moments.extend((0..verify).map(|_| Moment::Verify(up_to(kept / 2))));
    moments.sort();
    moments
}

/// Lets the running vacuum come to a moment; its job is halted there.
fn come_to(moment: Moment, place: &Place, running: &mut Running) -> Job {
    let (word, counter, bytes) = match moment {
        Moment::Rebuild(bytes) => ("rebuild", "wchar", bytes),
        Moment::Verify(bytes) => ("verify", "rchar", bytes),
    };
    let job = Job::halted(word, place.folder(), || running.has_ended());
    let job = job.unwrap_or_else(|| panic!("{moment:?}: no job was seen:\n{}", running.said()));
    assert!(job.advance(counter, bytes), "{moment:?}: the job ended before it:\n{}", running.said());
    job
}

/// After each kill the plugin stops and is told to resume; the moments come nearer to the end each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_whose_job_is_killed_is_resumed_from_any_moment() {
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    let mut running = Running::start(place.vacuum());
    for moment in moments(&place, 1, 14, 6) {
        let what = format!("the job was killed at {moment:?}");
        come_to(moment, &place, &mut running).kill();
        stopped(&running.ends(), &what);
        place.is_whole(&what);
        running = Running::start(place.take_up("resume"));
    }
    succeeded(&running.ends(), "the last resume");
    place.is_new("resumed after every kill of the job");
}

async fn undo_after_kills(seed: u64, rebuild: usize, verify: usize) {
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    for moment in moments(&place, seed, rebuild, verify) {
        let what = format!("the job was killed at {moment:?}");
        place.renew();
        let mut running = Running::start(place.vacuum());
        come_to(moment, &place, &mut running).kill();
        stopped(&running.ends(), &what);
        undone(&place, &what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_whose_job_is_killed_is_taken_back_from_any_moment_1() {
    undo_after_kills(2, 5, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_whose_job_is_killed_is_taken_back_from_any_moment_2() {
    undo_after_kills(3, 5, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_whose_job_is_killed_is_taken_back_from_any_moment_3() {
    undo_after_kills(4, 4, 2).await;
}

/// One vacuum gets over all of them by itself, each time in a new helper pod.
async fn gets_over_lost_pods(seed: u64, rebuild: usize, verify: usize) {
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    for pair in moments(&place, seed, rebuild, verify).chunks(4) {
        // A plan is patient only so often with one and the same step.
        place.renew();
        let mut running = Running::start(place.vacuum());
        for (index, &moment) in pair.iter().enumerate() {
            let job = come_to(moment, &place, &mut running);
            delete_helper(&place, &mut running, index % 2 == 0);
            place.space.wait_for("the job is gone with its pod", || job.has_ended());
        }
        succeeded(&running.ends(), &format!("the helper pod was deleted at {pair:?}"));
        place.is_new(&format!("the helper pod was deleted at {pair:?}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_gets_over_the_loss_of_its_helper_pod_at_any_moment_1() {
    gets_over_lost_pods(5, 9, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_gets_over_the_loss_of_its_helper_pod_at_any_moment_2() {
    gets_over_lost_pods(6, 5, 3).await;
}

/// All in one vacuum, which reads on in the job's journal where it was cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_gets_over_a_cut_connection_at_any_moment() {
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    let proxy = Proxy::new(&place.space).await;
    let mut running = Running::start(place.vacuum_through(&proxy));
    let moments = moments(&place, 7, 14, 6);
    for of_one_job in moments.chunk_by(|one, next| matches!(one, Moment::Rebuild(_)) == matches!(next, Moment::Rebuild(_))) {
        let mut job = None;
        for &moment in of_one_job {
            job = Some(come_to(moment, &place, &mut running));
            let before = Job::all("follow", place.folder());
            assert!(proxy.harm(Harm::Reset) > 0, "{moment:?}: there was no connection to cut");
            running.says("trying again");
            place.space.wait_for("the plugin follows the job again", || {
                Job::all("follow", place.folder()).iter().any(|follower| !before.contains(follower))
            });
        }
        job.expect("there are moments").go_on();
    }
    succeeded(&running.ends(), "the connection was cut at every moment");
    place.is_new("the connection was cut at every moment");
}

/// Nobody tells the plugin that its connection is dead: it finds out by the silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_gets_over_a_connection_that_goes_silent() {
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    let proxy = Proxy::new(&place.space).await;
    let mut running = Running::start(place.vacuum_through(&proxy));
    let job = come_to(Moment::Rebuild(1 << 20), &place, &mut running);
    assert!(proxy.harm(Harm::Silence) > 0, "there was no connection to silence");
    job.go_on();
    succeeded(&running.ends(), "the connection went silent");
    place.is_new("the connection went silent");
}

/// The first Ctrl-C waits for a job that does not answer, the second one leaves at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_leaves_at_once_and_the_record_still_resumes() {
    let place = Place::new("fault", Owner::Deployment, Size::Large).await;
    let mut running = Running::start(place.vacuum());
    let job = come_to(Moment::Rebuild(1 << 20), &place, &mut running);
    running.interrupt();
    running.says("safe point");
    running.interrupt();
    let ended = running.ends();
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    assert!(ended.stderr.contains("kubectl dbmig resume"), "{}", ended.stderr);
    job.go_on();
    resumed(&place, "left at once");
}
