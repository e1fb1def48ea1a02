//! What must not run while a migration runs offline: everything that uses the same database, how it was, and how it is to be after.

mod image;
mod look;
mod sharing;
mod step;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde::{Deserialize, Serialize};

pub(super) use self::image::Fetch;
pub(super) use self::look::{Found, find};
pub(super) use self::step::{Images, Ready, Sessions, StartAgain, StopUsers};
use crate::cluster::workload::Workload;

/// Everything that is stopped, as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Offline {
    /// Scaled to 0.
    pub(super) scaled: Vec<Scaled>,
    /// Suspended.
    pub(super) suspended: Vec<Suspended>,
    /// Told of the database, but not stopped, because the user insisted: a person has to know.
    pub(super) left: Vec<String>,
}

/// A workload that is scaled to 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Scaled {
    pub(super) workload: Workload,
    pub(super) replicas: i32,
    /// Containers that get the new image.
    pub(super) images: Vec<Change>,
}

/// A CronJob that is suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Suspended {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) images: Vec<Change>,
}

/// A container that gets another image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    pub(super) container: String,
    /// It is an init container.
    pub(super) init: bool,
    pub(super) old: String,
    pub(super) new: String,
}

/// The containers of a pod that have the old image, which the new one takes the place of.
fn changes(pod: &PodSpec, old: &str, new: Option<&str>) -> Vec<Change> {
    let Some(new) = new.filter(|new| *new != old) else { return Vec::new() };
    let of = |containers: &[Container], init: bool| -> Vec<Change> {
        let same = containers.iter().filter(|container| container.image.as_deref() == Some(old));
        same.map(|container| Change { container: container.name.clone(), init, old: old.to_owned(), new: new.to_owned() })
            .collect()
    };
    let init = pod.init_containers.as_deref().unwrap_or_default();
    [of(&pod.containers, false), of(init, true)].concat()
}

impl Offline {
    /// What is done to each, a line each, for the plan.
    pub(super) fn in_words(&self) -> Vec<String> {
        let images = |changes: &[Change]| {
            let all: Vec<String> = changes.iter().map(|one| format!("{}: {} → {}", one.container, one.old, one.new)).collect();
            if all.is_empty() { String::new() } else { format!("; then {}", all.join(", ")) }
        };
        let scaled =
            self.scaled.iter().map(|one| format!("{}: {} → 0 replicas{}", one.workload, one.replicas, images(&one.images)));
        let suspended = self.suspended.iter().map(|one| format!("cronjob/{}: suspended{}", one.name, images(&one.images)));
        let left = self.left.iter().map(|one| format!("{one} is NOT stopped (--force)"));
        scaled.chain(suspended).chain(left).collect()
    }

    /// Some container gets another image.
    pub(super) fn changes_images(&self) -> bool {
        self.scaled.iter().any(|one| !one.images.is_empty()) || self.suspended.iter().any(|one| !one.images.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_had_the_old_image_gets_the_new_one() {
        let pod: PodSpec = serde_json::from_value(serde_json::json!({"containers": [{"name": "web", "image": "k:1"},
            {"name": "proxy", "image": "p:1"}], "initContainers": [{"name": "check", "image": "k:1"}]}))
        .unwrap();
        let shown: Vec<_> = changes(&pod, "k:1", Some("k:2")).into_iter().map(|one| (one.container, one.init)).collect();
        assert_eq!(shown, [("web".to_owned(), false), ("check".to_owned(), true)]);
        assert!(changes(&pod, "k:1", None).is_empty() && changes(&pod, "k:1", Some("k:1")).is_empty());
    }
}
