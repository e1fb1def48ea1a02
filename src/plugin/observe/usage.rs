//! How full the volumes are, as the kubelets measure it. Only who may read `nodes/proxy` learns that; nobody else is told anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::cluster::error::is_forbidden;

/// Kubelets measure volumes once a minute (`--volume-stats-agg-period`).
const PACE: Duration = Duration::from_secs(30);
/// How long a kubelet may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Kubelets that are asked at the same time.
const AT_ONCE: usize = 8;
/// From here on a volume counts as full, in parts of a hundred.
const FULL: u64 = 98;

/// How full a volume is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// In use.
    pub used_bytes: u64,
    /// Free for the pods.
    pub available_bytes: u64,
    /// In all.
    pub capacity_bytes: u64,
}

impl Usage {
    /// There is as good as no room any more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.capacity_bytes > 0 && self.used_percent() >= FULL
    }

    /// What is not available to pods, in parts of a hundred.
    #[must_use]
    pub fn used_percent(&self) -> u64 {
        let taken = self.capacity_bytes.saturating_sub(self.available_bytes);
        (taken * 100).checked_div(self.capacity_bytes).unwrap_or_default()
    }
}

/// Namespace and name of a claim, and how full its volume is.
pub(super) type Measured = BTreeMap<(String, String), Usage>;

/// Asks the kubelets of some nodes again and again. Dropping it ends that.
pub(super) struct Measuring {
    nodes: watch::Sender<BTreeSet<String>>,
    measured: mpsc::Receiver<Measured>,
    task: AbortHandle,
}

impl Drop for Measuring {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Measuring {
    /// Asks nobody yet.
    pub(super) fn new(client: kube::Client) -> Self {
        let (nodes, wanted) = watch::channel(BTreeSet::new());
        let (found, measured) = mpsc::channel(1);
        let task = tokio::spawn(measure(client, wanted, found)).abort_handle();
        Self { nodes, measured, task }
    }

    /// From now on, these nodes are asked.
    pub(super) fn of(&self, nodes: BTreeSet<String>) {
        self.nodes.send_if_modified(|now| {
            let differ = *now != nodes;
            *now = nodes;
            differ
        });
    }

    /// What was measured; `None` at once if the user may not know.
    pub(super) async fn next(&mut self) -> Option<Measured> {
        self.measured.recv().await
    }
}

async fn measure(client: kube::Client, mut wanted: watch::Receiver<BTreeSet<String>>, found: mpsc::Sender<Measured>) {
    loop {
        let nodes: Vec<String> = wanted.borrow_and_update().iter().cloned().collect();
        if !nodes.is_empty() {
            let asking = stream::iter(nodes).map(|node| of_node(client.clone(), node)).buffer_unordered(AT_ONCE);
            let answers: Vec<Option<Measured>> = asking.collect().await;
            let Some(answers) = answers.into_iter().collect::<Option<Vec<_>>>() else { return };
            if found.send(answers.into_iter().flatten().collect()).await.is_err() {
                return;
            }
        }
        // A node that comes later is asked at once.
        if let Ok(Err(_)) = timeout(PACE, wanted.changed()).await {
            return;
        }
    }
}

/// What one kubelet has measured; `None`: this user may not ask. One that does not answer knows nothing.
async fn of_node(client: kube::Client, node: String) -> Option<Measured> {
    let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
    let request = http::Request::get(path).body(Vec::new()).ok()?;
    match timeout(PATIENCE, client.request::<Summary>(request)).await {
        Ok(Ok(summary)) => Some(summary.measured()),
        Ok(Err(error)) if is_forbidden(&error) => None,
        Ok(Err(_)) | Err(_) => Some(Measured::new()),
    }
}

/// The part of the kubelet's summary that is about volumes (k8s.io/kubelet, `stats/v1alpha1`).
#[derive(Deserialize)]
struct Summary {
    #[serde(default)]
    pods: Vec<PodStats>,
}

#[derive(Deserialize)]
struct PodStats {
    #[serde(default)]
    volume: Vec<VolumeStats>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeStats {
    pvc_ref: Option<ClaimReference>,
    used_bytes: Option<u64>,
    available_bytes: Option<u64>,
    capacity_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct ClaimReference {
    name: String,
    namespace: String,
}

impl Summary {
    fn measured(self) -> Measured {
        let volumes = self.pods.into_iter().flat_map(|pod| pod.volume);
        volumes
            .filter_map(|volume| {
                let claim = volume.pvc_ref?;
                let usage = Usage {
                    used_bytes: volume.used_bytes?,
                    available_bytes: volume.available_bytes?,
                    capacity_bytes: volume.capacity_bytes?,
                };
                Some(((claim.namespace, claim.name), usage))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_claims_are_read_from_a_kubelets_summary() {
        let summary: Summary = serde_json::from_value(serde_json::json!({"node": {"nodeName": "n"}, "pods": [
            {"podRef": {"name": "p"}, "volume": [
                {"name": "token", "usedBytes": 1, "availableBytes": 2, "capacityBytes": 3},
                {"name": "data", "pvcRef": {"name": "data-p", "namespace": "d8"}, "usedBytes": 60, "availableBytes": 1, "capacityBytes": 64},
                {"name": "new", "pvcRef": {"name": "new", "namespace": "d8"}}]},
            {"podRef": {"name": "q"}}]}))
        .unwrap();
        let usage = Usage { used_bytes: 60, available_bytes: 1, capacity_bytes: 64 };
        assert_eq!(summary.measured(), [(("d8".to_owned(), "data-p".to_owned()), usage)].into());
        // What a file system keeps for itself is of no use to a pod.
        assert!(usage.is_full() && usage.used_percent() == 98);
        assert!(!Usage { used_bytes: 0, available_bytes: 0, capacity_bytes: 0 }.is_full());
    }
}
