//! What this API server can do, found by asking it. Decides nothing.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;

use super::Cluster;
use super::error::{Context as _, found};
use crate::failure::Result;

/// What differs between the servers that we support (1.20 and later), as far as we use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Features {
    /// As the server calls itself: `v1.20.2`.
    pub version: String,
    /// Major and minor number; `None` where they are no numbers.
    pub number: Option<(u32, u32)>,
    /// exec lets stdin be closed (v5.channel.k8s.io, on by default since 1.30). Only a guess from the number: the
    /// stream itself knows, see [`super::exec::Process::half_close`].
    pub websocket_v5: bool,
    /// `pods/ephemeralcontainers` is served.
    pub ephemeral_containers: bool,
    /// CronJob is served as `batch/v1`; otherwise as `batch/v1beta1`.
    pub cronjob_v1: bool,
    /// PodDisruptionBudget is served as `policy/v1` (and with it eviction); otherwise as `policy/v1beta1`.
    pub policy_v1: bool,
    /// EndpointSlice is served as `discovery.k8s.io/v1`; otherwise as `v1beta1`.
    pub discovery_v1: bool,
    /// Init containers with `restartPolicy: Always` are sidecars (on by default since 1.29).
    pub native_sidecars: bool,
    /// `SelfSubjectReview` is served as `authentication.k8s.io/v1` (since 1.28).
    pub self_subject_review: bool,
    /// `events.k8s.io/v1` is served.
    pub events_v1: bool,
}

impl Cluster {
    /// What the server can do; asked once for each [`Cluster`] and its clones.
    ///
    /// # Errors
    /// The server does not answer, or refuses to say.
    pub async fn features(&self) -> Result<&Features> {
        self.features.get_or_try_init(|| self.discover()).await
    }

    async fn discover(&self) -> Result<Features> {
        let batch = async { found(self.client.list_api_group_resources("batch/v1").await) };
        let asked = tokio::try_join!(
            self.client.apiserver_version(),
            self.client.list_api_groups(),
            self.client.list_core_api_resources("v1"),
            batch
        );
        let (version, groups, core, batch) = asked.doing("find out what the API server supports")?;
        let served: BTreeSet<String> =
            groups.groups.into_iter().flat_map(|group| group.versions).map(|version| version.group_version).collect();
        let number = number(&version.major, &version.minor);
        Ok(Features {
            version: version.git_version,
            number,
            websocket_v5: number >= Some((1, 30)),
            ephemeral_containers: has(&core, "pods/ephemeralcontainers"),
            cronjob_v1: batch.is_some_and(|batch| has(&batch, "cronjobs")),
            policy_v1: served.contains("policy/v1"),
            discovery_v1: served.contains("discovery.k8s.io/v1"),
            native_sidecars: number >= Some((1, 29)),
            self_subject_review: served.contains("authentication.k8s.io/v1") && number >= Some((1, 28)),
            events_v1: served.contains("events.k8s.io/v1"),
        })
    }
}

fn has(list: &APIResourceList, name: &str) -> bool {
    list.resources.iter().any(|resource| resource.name == name)
}

/// Vendors add to the minor number: `20+`.
fn number(major: &str, minor: &str) -> Option<(u32, u32)> {
    let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok();
    Some((digits(major)?, digits(minor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendors_minor_number_is_understood() {
        assert_eq!(number("1", "20+"), Some((1, 20)));
        assert_eq!(number("1", ""), None);
        assert!(None < Some((1, 20)));
    }
}
