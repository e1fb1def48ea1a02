//! Waiting until the application is well again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams};
use tokio::time::Instant;

use super::Desk;
use crate::cluster::pods::{Verdict, Wait, is_ready, statuses, why_not_ready};
use crate::cluster::volume::mounts_source;
use crate::command::kept_logs;
use crate::failure::Result;
use crate::observe::Start;
use crate::plan::{ATTENTION, Look, Run, Step};

/// How long a container without a readiness probe must run before it counts as Ready.
const PROBATION: Duration = Duration::from_secs(3);
/// Lines of a failing container's log that are shown.
const LOG_LINES: i64 = 5;

/// Waits until the pod that uses the database is Ready.
pub(super) struct Await(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Await {
    fn id(&self) -> &'static str {
        "await-ready"
    }

    fn title(&self) -> String {
        format!("wait until {} is Ready", self.0.spec.workload)
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(if self.0.spec.replicas == 0 { Look::NotNeeded } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let what = format!("{} to get Ready", self.0.spec.workload);
        let until = Instant::now() + self.0.timeout();
        let unrepaired = run.memory.recall::<String>(ATTENTION)?.is_some();
        loop {
            let limit = until.saturating_duration_since(Instant::now());
            let wait = Wait { namespace: &run.namespace, fields: "", limit, what: &what };
            let mut last = None;
            let met = wait
                .until(&run.cluster, &run.stop, |pods| {
                    let Some(pod) = pods.iter().find(|pod| self.is_application(pod)) else {
                        return Verdict::Waiting("no pod has been created yet".to_owned());
                    };
                    last = Some(pod.clone());
                    let why = why_not_ready(pod);
                    if is_ready(pod) || unrepaired && why.contains("CrashLoopBackOff") {
                        Verdict::Met(pod.clone())
                    } else {
                        Verdict::Waiting(why)
                    }
                })
                .await;
            let pod = match (met, last) {
                (Ok(pod), _) => pod,
                (Err(mut failure), Some(pod)) => {
                    if Instant::now() >= until {
                        failure.message =
                            format!("{} did not get Ready within {} s", self.0.spec.workload, self.0.timeout().as_secs());
                    }
                    let facts = evidence(run, &pod).await;
                    return Err(failure.facts(facts).state("the new database is in place; the old one is still there"));
                }
                (Err(failure), None) => return Err(failure),
            };
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            if !is_ready(&pod) {
                return Ok(format!("pod/{name} still crash-loops, since the migration was left as it is"));
            }
            if self.stays_ready(run, &pod).await? {
                return Ok(format!("pod/{name} is Ready"));
            }
        }
    }
}

impl Await {
    /// Without a readiness probe a container is Ready from its first moment on, also one that ends in the next.
    async fn stays_ready(&self, run: &Run, pod: &Pod) -> Result<bool> {
        let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let probed = |name: &str| containers.iter().any(|c| c.name == name && c.readiness_probe.is_some());
        if probed(&self.0.spec.container) {
            return Ok(true);
        }
        let restarts = |pod: &Pod| statuses(pod).map(|status| status.restart_count).sum::<i32>();
        let what = format!("{} to stay Ready", self.0.spec.workload);
        let wait = Wait { namespace: &run.namespace, fields: "", limit: 2 * PROBATION, what: &what };
        let falling = wait.until(&run.cluster, &run.stop, |pods| {
            let same = pods.iter().find(|now| now.metadata.uid == pod.metadata.uid);
            match same.is_some_and(|now| is_ready(now) && restarts(now) == restarts(pod)) {
                true => Verdict::Waiting(String::new()),
                false => Verdict::Met(()),
            }
        });
        match tokio::time::timeout(PROBATION, falling).await {
            Ok(fell) => fell.map(|()| false),
            Err(_) => Ok(true),
        }
    }

    fn is_application(&self, pod: &Pod) -> bool {
        let spec = &self.0.spec;
        let helper = pod.metadata.name.as_deref() == Some(&spec.helper.name);
        !helper && pod.metadata.deletion_timestamp.is_none() && mounts_source(pod, &spec.mount.source)
    }
}

/// Why a pod is not well: last lines of each container that is not ready, and the newest warnings. What may not be read is left out.
async fn evidence(run: &Run, pod: &Pod) -> Vec<String> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let sick: Vec<&str> = statuses(pod).filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    let mut lines = Vec::new();
    for mut log in kept_logs::last_said(&run.cluster.client, std::slice::from_ref(pod), LOG_LINES).await {
        log.narrow(&Start { since: None, tail: Some(LOG_LINES) });
        let container = log.source.container();
        if sick.contains(&container) {
            lines.extend(log.lines.iter().map(|line| format!("{container}: {}", String::from_utf8_lossy(&line.text))));
        }
    }
    lines.extend(warnings(run, &name).await);
    lines
}

async fn warnings(run: &Run, pod: &str) -> Vec<String> {
    let events: Api<Event> = Api::namespaced(run.cluster.client.clone(), &run.namespace);
    let selector = format!("involvedObject.kind=Pod,involvedObject.name={pod},type=Warning");
    let Ok(found) = events.list(&ListParams::default().fields(&selector)).await else { return Vec::new() };
    let mut found = found.items;
    found.sort_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
    let line = |event: &Event| {
        format!("event {}: {}", event.reason.as_deref().unwrap_or_default(), event.message.as_deref().unwrap_or_default().trim())
    };
    found.iter().rev().take(3).map(line).collect()
}
