//! The watches behind [`Facts`](super::facts::Facts): one for each kind of object, kept up through everything. Reads only.

use std::fmt::Debug;

use futures::StreamExt as _;
use futures::stream::{BoxStream, SelectAll};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Config};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use serde::de::DeserializeOwned;

use super::scope::{Scope, workload_api};
use crate::cluster::error::translate;
use crate::cluster::{Cluster, MANAGED_BY};
use crate::failure::Result;
use crate::plan::LABEL_COMMAND;

/// A kind of object that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Subject {
    Pods,
    Jobs,
    Workload,
    Claims,
    Events,
    Operations,
    /// Of operations: whether their processes live.
    Leases,
}

impl Subject {
    /// As in a sentence.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Jobs => "jobs",
            Self::Workload => "the workload",
            Self::Claims => "persistentvolumeclaims",
            Self::Events => "events",
            Self::Operations => "operations (configmaps)",
            Self::Leases => "leases",
        }
    }
}

/// Something a watch has seen.
pub(super) enum Seen {
    #[allow(missing_docs, reason = "named by the variant")]
    Pod(Box<watcher::Event<Pod>>),
    #[allow(missing_docs, reason = "named by the variant")]
    Job(Box<watcher::Event<Job>>),
    #[allow(missing_docs, reason = "named by the variant")]
    Workload(Box<watcher::Event<DynamicObject>>),
    #[allow(missing_docs, reason = "named by the variant")]
    Claim(Box<watcher::Event<PersistentVolumeClaim>>),
    #[allow(missing_docs, reason = "named by the variant")]
    Event(Box<watcher::Event<Event>>),
    #[allow(missing_docs, reason = "named by the variant")]
    Operation(Box<watcher::Event<ConfigMap>>),
    #[allow(missing_docs, reason = "named by the variant")]
    Lease(Box<watcher::Event<Lease>>),
    /// A watch is in trouble: for good if the user may not, else until it has recovered by itself.
    Trouble {
        /// Which one.
        subject: Subject,
        /// In the server's words.
        why: String,
        /// The user may not watch this.
        denied: bool,
    },
}

/// All watches of a scope as one stream that never ends by itself.
pub(super) type Watches = SelectAll<BoxStream<'static, (Subject, Seen)>>;

/// Opens the watches that a scope needs.
///
/// # Errors
/// The server does not say how it serves the workload's kind.
pub(super) async fn open(cluster: &Cluster, scope: &Scope) -> Result<(Watches, Vec<Subject>)> {
    let mut watches = SelectAll::new();
    let mut subjects = Vec::new();
    let (label_selector, field_selector) = scope.pod_selector();
    let config = Config { label_selector, field_selector, ..Config::default() };
    watches.push(one(api::<Pod>(cluster, scope), config, Subject::Pods, Seen::Pod));
    subjects.push(Subject::Pods);
    if let Some(label_selector) = scope.job_selector() {
        let config = Config { label_selector, ..Config::default() };
        watches.push(one(api::<Job>(cluster, scope), config, Subject::Jobs, Seen::Job));
        subjects.push(Subject::Jobs);
    }
    if let Some(asked) = &scope.workload {
        let api = workload_api(cluster, asked.kind).await?;
        let config = Config::default().fields(&format!("metadata.name={}", asked.name));
        watches.push(one(api, config, Subject::Workload, Seen::Workload));
        subjects.push(Subject::Workload);
    }
    let ours = format!("app.kubernetes.io/managed-by={MANAGED_BY},{LABEL_COMMAND}");
    watches.push(one(api::<ConfigMap>(cluster, scope), Config::default().labels(&ours), Subject::Operations, Seen::Operation));
    let managed = Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGED_BY}"));
    watches.push(one(api::<Lease>(cluster, scope), managed, Subject::Leases, Seen::Lease));
    watches.push(one(api::<PersistentVolumeClaim>(cluster, scope), Config::default(), Subject::Claims, Seen::Claim));
    watches.push(one(api::<Event>(cluster, scope), Config::default(), Subject::Events, Seen::Event));
    subjects.extend([Subject::Operations, Subject::Leases, Subject::Claims, Subject::Events]);
    Ok((watches, subjects))
}

fn api<K>(cluster: &Cluster, scope: &Scope) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match &scope.namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    }
}

fn one<K>(
    api: Api<K>,
    config: Config,
    subject: Subject,
    seen: impl Fn(Box<watcher::Event<K>>) -> Seen + Send + 'static,
) -> BoxStream<'static, (Subject, Seen)>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let stream = watch(api, config).default_backoff();
    stream
        .map(move |outcome| match outcome {
            Ok(event) => (subject, seen(Box::new(event))),
            Err(error) => (subject, trouble(subject, &error)),
        })
        .boxed()
}

fn trouble(subject: Subject, error: &watcher::Error) -> Seen {
    let (watcher::Error::InitialListFailed(source)
    | watcher::Error::WatchStartFailed(source)
    | watcher::Error::WatchFailed(source)) = error
    else {
        return Seen::Trouble { subject, why: error.to_string(), denied: false };
    };
    let denied = crate::cluster::error::is_forbidden(source);
    let failure = translate(source, &format!("watch {}", subject.plural()));
    Seen::Trouble { subject, why: failure.facts.first().cloned().unwrap_or(failure.message), denied }
}
