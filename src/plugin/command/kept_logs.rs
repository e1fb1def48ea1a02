//! Logs of pods that an operation ends: kept with the operation before they go, shown by `logs ID` afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::cluster::pods::statuses;
use crate::failure::{Failure, Result};
use crate::observe::{Choice, Kept, Source, Start, gather, pack, read, unpack};
use crate::plan::{MOST_BYTES, Record, Run, Store};

/// Name of the attachment.
const LOGS: &str = "logs";
/// Name in the record under which the last lines are.
const LAST_LINES: &str = "lastLines";
/// Of each container so many lines are in the record.
const LAST: usize = 10;
/// Longest line in the record, in characters.
const WIDTH: usize = 300;
/// Of each container so many lines are read at most.
const MOST_LINES: i64 = 50_000;
/// What people wait for is not the log.
const PATIENCE: Duration = Duration::from_secs(10);

/// The end of a container's log, as the record has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LastLines {
    #[serde(flatten)]
    source: Source,
    /// Each after its time stamp.
    lines: Vec<String>,
}

/// Keeps what the containers of `pods` have said so far, with what was kept before. Whatever prevents it: the work itself does not depend on it.
pub(super) async fn keep(run: &Run, pods: &[Pod]) {
    if pods.is_empty() {
        return;
    }
    let store = Store::in_namespace(&run.cluster, &run.namespace);
    let logs = last_said(&run.cluster.client, pods, MOST_LINES).await;
    if logs.is_empty() {
        return;
    }
    let mut all = attached(&store, &run.id).await.unwrap_or_default();
    all.retain(|old| logs.iter().all(|new| new.source != old.source));
    all.extend(logs);
    let last = all.iter().map(|log| LastLines { source: log.source.clone(), lines: log.last(LAST, WIDTH) });
    let last: Vec<LastLines> = last.collect();
    if let Err(failure) = run.memory.keep(LAST_LINES, &last) {
        tracing::warn!(%failure, "last lines not kept");
    }
    let parts = pack(all, MOST_BYTES).map_err(|error| Failure::failed(format!("cannot pack logs: {error}")));
    let kept = match parts {
        Ok(parts) => store.attach(&run.id, LOGS, parts).await,
        Err(failure) => Err(failure),
    };
    if let Err(failure) = kept {
        tracing::warn!(%failure, "logs not kept");
    }
}

/// What the containers of `pods` said last, as far as it can be read soon: of each container at most so many lines of its newest
/// start, and as many of the one before, which tells why that one was needed.
pub(super) async fn last_said(client: &kube::Client, pods: &[Pod], lines: i64) -> Vec<Kept> {
    let mut logs = Vec::new();
    let start = Start { since: None, tail: Some(lines) };
    // Only what was started again has a log from before.
    let again: Vec<Pod> = pods.iter().filter(|pod| statuses(pod).any(|status| status.restart_count > 0)).cloned().collect();
    let reading = async {
        for (pods, previous) in [(&again[..], true), (pods, false)] {
            read(client, pods, &Choice::all(), (start, previous), |heard| gather(&mut logs, heard)).await;
        }
    };
    let whole = timeout(PATIENCE, reading).await.is_ok();
    tracing::debug!(containers = logs.len(), whole, "logs read");
    logs
}

/// The logs that an operation has kept of pods that are gone by now, or are going, in the order in which they went. What is left of those
/// whose full log was not kept are the last lines in the record.
///
/// # Errors
/// When they can't be read, or are damaged.
pub(super) async fn of_gone(cluster: &Cluster, record: &Record) -> Result<Vec<Kept>> {
    let store = Store::in_namespace(cluster, &record.namespace);
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &record.namespace);
    let everything = ListParams::default();
    let (logs, pods) = tokio::join!(attached(&store, &record.id), pods.list_metadata(&everything));
    // Of one that is on its way out it is not known for how long anything can be read.
    let alive = pods.into_iter().flatten().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let alive: BTreeSet<String> = alive.filter_map(|pod| pod.metadata.uid).collect();
    let mut logs = logs?;
    if logs.is_empty() {
        let last = record.memory.get(LAST_LINES).cloned().unwrap_or_default();
        let last: Vec<LastLines> = serde_json::from_value(last).unwrap_or_default();
        logs.extend(last.into_iter().map(|last| Kept::of_lines(last.source, &last.lines)));
    }
    logs.retain(|log| !alive.contains(log.source.uid()));
    Ok(logs)
}

async fn attached(store: &Store, id: &str) -> Result<Vec<Kept>> {
    let Some(parts) = store.attached(id, LOGS).await? else { return Ok(Vec::new()) };
    unpack(&parts).map_err(|error| Failure::failed(format!("cannot read the logs that operation {id} has kept: {error}")))
}
