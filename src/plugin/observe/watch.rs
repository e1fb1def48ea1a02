//! The watches behind [`Facts`](super::facts::Facts): one for each kind of object, kept up through everything. Reads only.

use std::fmt::Debug;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream, SelectAll};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use kube::runtime::watcher as watch;
use kube::runtime::watcher::{self, Config};
use serde::de::DeserializeOwned;
use tokio::time::sleep;

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
    /// The server answers again after trouble, and the watch goes on.
    Recovered,
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
    let probe = ListParams {
        label_selector: config.label_selector.clone(),
        field_selector: config.field_selector.clone(),
        limit: Some(1),
        ..ListParams::default()
    };
    let events = watch(api.clone(), config).boxed();
    let one = One { api, probe, events, pauses: PAUSES.build(), in_trouble: false };
    stream::unfold((one, seen), move |(mut one, seen)| async move {
        let next = match one.next(subject).await {
            Ok(event) => seen(Box::new(event)),
            Err(told) => told,
        };
        Some(((subject, next), (one, seen)))
    })
    .boxed()
}

/// Before the server is asked once more.
const PAUSES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(400))
    .with_max_delay(Duration::from_secs(15))
    .with_jitter()
    .without_max_times();

/// The watch of one kind. One that goes on after a break says nothing until something happens, so the server is asked for
/// a small list to see whether it answers again.
struct One<K> {
    api: Api<K>,
    probe: ListParams,
    events: BoxStream<'static, watcher::Result<watcher::Event<K>>>,
    pauses: ExponentialBackoff,
    in_trouble: bool,
}

impl<K> One<K>
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// The next event, or else what is to be told of the watch itself.
    async fn next(&mut self, subject: Subject) -> Result<watcher::Event<K>, Seen> {
        if self.in_trouble {
            self.answered().await;
            self.in_trouble = false;
            return Err(Seen::Recovered);
        }
        match self.events.next().await {
            Some(Ok(event)) => {
                // `Init` only says that the list is going to be asked for.
                if !matches!(event, watcher::Event::Init) {
                    self.pauses = PAUSES.build();
                }
                Ok(event)
            }
            Some(Err(error)) => {
                self.in_trouble = true;
                Err(trouble(subject, &error))
            }
            None => std::future::pending().await,
        }
    }

    async fn answered(&mut self) {
        loop {
            sleep(self.pauses.next().unwrap_or_default()).await;
            if self.api.list_metadata(&self.probe).await.is_ok() {
                return;
            }
        }
    }
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
    Seen::Trouble { subject, why: failure.cause().to_owned(), denied }
}
