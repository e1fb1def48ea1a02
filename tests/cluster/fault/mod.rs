//! What a vacuum works with fails while it runs: the helper binary, its pod, the connection, the user's patience, the disk, the API server.
//! The plugin's own death is in `crash`.

mod apart;
mod disk;
mod filler;
mod interrupt;
mod job;
mod moment;
mod reach;
pub(crate) mod server;
mod step;

pub(crate) use self::filler::Filler;
use crate::place::Place;
use crate::support::Running;

/// Deletes the helper pod of a running command, by force or with its time to end, as soon as there is one.
fn delete_helper(place: &Place, running: &mut Running, force: bool) {
    let helper = loop {
        if let Some(helper) = place.helper() {
            break helper;
        }
        assert!(!running.has_ended(), "there was no helper pod to delete:\n{}", running.said());
    };
    delete_pod(place, &helper, force);
}

fn delete_pod(place: &Place, pod: &str, force: bool) {
    let how: &[&str] = if force { &["--grace-period=0", "--force"] } else { &[] };
    place.space.kubectl(&[&["delete", "pod", pod, "--wait=false"], how].concat());
}
