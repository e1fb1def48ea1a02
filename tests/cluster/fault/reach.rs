//! Twenty moments in the rebuild and the proof at which the helper pod is deleted, or the connection to it goes.

use super::delete_helper;
use super::moment::{Moment, at_each, come_to, moments};
use crate::place::{Owner, Place, Size, succeeded};
use crate::support::{Harm, Proxy, Running};

/// One vacuum gets over several of them by itself, each time in a new helper pod.
async fn gets_over_lost_pods(seed: u64, rebuild: usize, verify: usize) {
    let place = Place::new("fault", Owner::AtRest, Size::Large).await;
    for some in moments(&place, seed, rebuild, verify).chunks(4) {
        // A plan is patient only so often with one and the same step.
        place.renew();
        let mut running = Running::start(place.vacuum());
        for (index, &moment) in some.iter().enumerate() {
            let job = come_to(moment, &place, &mut running);
            delete_helper(&place, &mut running, index % 2 == 0);
            job.ends();
        }
        succeeded(&running.ends(), &format!("the helper pod was deleted at {some:?}"));
        place.is_new(&format!("the helper pod was deleted at {some:?}"));
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
    at_each(&moments(&place, 7, 14, 6), &place, &mut running, |moment, running| {
        assert!(proxy.harm(Harm::Reset) > 0, "{moment:?}: there was no connection to cut");
        running.says("trying again");
        running.says("connected again");
    });
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
