//! Waiting until the application is well again.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams, LogParams};

use super::Desk;
use crate::cluster::pods::{Verdict, Wait, is_ready, statuses, why_not_ready};
use crate::cluster::volume::mounts_source;
use crate::failure::Result;
use crate::plan::{Look, Run, Step};

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
        Ok(if self.0.spec.replicas == 0 { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let what = format!("{} to get Ready", self.0.spec.workload);
        let wait = Wait { namespace: &run.namespace, fields: "", limit: self.0.timeout(), what: &what };
        let mut last = None;
        let ready = wait
            .until(&run.cluster, &run.stop, |pods| {
                let Some(pod) = pods.iter().find(|pod| self.is_application(pod)) else {
                    return Verdict::Waiting("no pod has been created yet".to_owned());
                };
                last = Some(pod.clone());
                if is_ready(pod) {
                    Verdict::Met(pod.metadata.name.clone().unwrap_or_default())
                } else {
                    Verdict::Waiting(why_not_ready(pod))
                }
            })
            .await;
        match ready {
            Ok(pod) => Ok(format!("pod/{pod} is Ready")),
            Err(failure) => Err(match last {
                Some(pod) => {
                    failure.facts(evidence(run, &pod).await).state("the new database is in place; the old one is still there")
                }
                None => failure,
            }),
        }
    }
}

impl Await {
    fn is_application(&self, pod: &Pod) -> bool {
        let spec = &self.0.spec;
        let helper = pod.metadata.name.as_deref() == Some(&spec.helper.name);
        !helper && pod.metadata.deletion_timestamp.is_none() && mounts_source(pod, &spec.mount.source)
    }
}

/// Why a pod is not well: last lines of each failing container, and the newest warnings. What may not be read is left out.
async fn evidence(run: &Run, pod: &Pod) -> Vec<String> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(run.cluster.client.clone(), &run.namespace);
    let mut lines = Vec::new();
    for status in statuses(pod).filter(|status| !status.ready) {
        let ended =
            |state: &Option<k8s_openapi::api::core::v1::ContainerState>| state.as_ref().is_some_and(|s| s.terminated.is_some());
        if !ended(&status.state) && !ended(&status.last_state) {
            continue;
        }
        let params = LogParams {
            container: Some(status.name.clone()),
            previous: !ended(&status.state),
            tail_lines: Some(LOG_LINES),
            ..LogParams::default()
        };
        if let Ok(log) = pods.logs(&name, &params).await {
            lines.extend(log.lines().map(|line| format!("{}: {line}", status.name)));
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
