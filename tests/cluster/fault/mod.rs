//! What a vacuum works with fails while it runs: the helper binary, its pod, the connection, the user's patience, the disk, the API server.
//! The plugin's own death is in `crash`.

mod disk;
mod interrupt;
mod moment;
mod server;
mod step;

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
    let how: &[&str] = if force { &["--grace-period=0", "--force"] } else { &[] };
    place.space.kubectl(&[&["delete", "pod", &helper, "--wait=false"], how].concat());
}
