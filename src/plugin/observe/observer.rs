//! Everything there is to see of a scope, as one stream of news with the facts behind it. Prints nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::change::Change;
use super::copies::{Asked, Copies};
use super::copy::CopyRow;
use super::facts::Facts;
use super::incident::Incident;
use super::logs::{Choice, Heard, Start, Tailing};
use super::scope::Scope;
use super::usage::Measuring;
use super::watch::{self, Seen, Subject, Watches};
use crate::cluster::Cluster;
use crate::failure::Result;
use crate::plan::Store;

/// Log batches that may wait to be taken; then the kubelets are read no faster.
const WAITING: usize = 256;

/// A kubelet on the other side of the world answers within it.
const A_MOMENT: Duration = Duration::from_secs(3);

/// A helper binary is copied into a container within it, on a cluster that is not in trouble.
const A_FIRST_LOOK: Duration = Duration::from_secs(20);

/// Something to tell.
#[derive(Debug, Clone)]
pub enum News {
    /// From a log.
    Heard(Heard),
    /// An object is not as it was.
    Changed(Timestamp, Change),
    /// The cluster says that something happened.
    Happened(Incident),
    /// The observer itself has something to say: a kind that it may not watch, a connection that is gone.
    Note(Timestamp, String),
    /// An operation's present step got further; how far is in the facts.
    Progressed,
    /// It is known how full volumes are; how full is in the facts.
    Measured,
    /// How far a pgcopydb is, and that as a change if it is worth a line.
    Copied(Timestamp, Box<CopyRow>, Option<Change>),
    /// The first look at everything is complete.
    Complete,
}

/// Watches a scope. Dropping it ends everything.
pub struct Observer {
    facts: Facts,
    watches: Watches,
    tailing: Option<Tailing>,
    measuring: Measuring,
    copies: Option<Copies>,
    heard: mpsc::Receiver<Heard>,
    /// Kept so that `heard` never ends, even without logs.
    _hearing: mpsc::Sender<Heard>,
    /// Of these the first list is not complete.
    incomplete: BTreeSet<Subject>,
    denied: BTreeSet<Subject>,
    troubled: BTreeSet<Subject>,
    listed_pods: BTreeSet<String>,
    listed_jobs: BTreeSet<String>,
    begun: Timestamp,
}

impl Observer {
    /// Opens the watches; logs of the containers chosen, if any are wanted.
    ///
    /// # Errors
    /// The server does not say how it serves the workload's kind.
    pub async fn begin(cluster: &Cluster, scope: Scope, logs: Option<(Choice, Start)>) -> Result<Self> {
        let (watches, subjects) = watch::open(cluster, &scope).await?;
        let (hearing, heard) = mpsc::channel(WAITING);
        let tailing = logs.map(|(choice, start)| Tailing::new(cluster.client.clone(), choice, start, hearing.clone()));
        Ok(Self {
            facts: Facts::new(scope),
            watches,
            tailing,
            measuring: Measuring::new(cluster.client.clone()),
            copies: None,
            heard,
            _hearing: hearing,
            incomplete: subjects.into_iter().collect(),
            denied: BTreeSet::new(),
            troubled: BTreeSet::new(),
            listed_pods: BTreeSet::new(),
            listed_jobs: BTreeSet::new(),
            begun: Timestamp::now(),
        })
    }

    /// Also asks each pgcopydb in its own container how far it is.
    #[must_use]
    pub fn with_copies(mut self, cluster: &Cluster) -> Self {
        self.copies = Some(Copies::new(cluster));
        self
    }

    /// What is known now.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What the user may not see.
    #[must_use]
    pub fn denied(&self) -> &BTreeSet<Subject> {
        &self.denied
    }

    /// Waits for something to tell; may be dropped at any moment without losing anything.
    pub async fn next(&mut self) -> Vec<News> {
        let mut heard = Vec::new();
        loop {
            let news = tokio::select! {
                _ = self.heard.recv_many(&mut heard, WAITING) => heard.drain(..).map(News::Heard).collect(),
                Some((subject, seen)) = self.watches.next() => self.take(subject, seen),
                Some(measured) = self.measuring.next() => {
                    self.facts.measured(measured);
                    vec![News::Measured]
                }
                asked = asked(&mut self.copies) => asked.map(|asked| self.copied(asked)).into_iter().collect(),
            };
            if !news.is_empty() {
                return news;
            }
        }
    }

    /// Looks until everything has been listed once; what happens meanwhile is in the facts.
    pub async fn complete(&mut self) -> Vec<News> {
        let mut all = Vec::new();
        loop {
            let news = self.next().await;
            let complete = news.iter().any(|one| matches!(one, News::Complete));
            all.extend(news);
            if complete {
                return all;
            }
        }
    }

    /// Waits a moment until it is known how full the volumes are; who may not know waits no longer than that.
    pub async fn measured(&mut self) {
        if self.facts.nodes_with_claims().is_empty() {
            return;
        }
        if let Ok(Some(measured)) = timeout(A_MOMENT, self.measuring.next()).await {
            self.facts.measured(measured);
        }
    }

    /// Waits a moment until it is known how far each pgcopydb is; what else happens meanwhile is in the facts.
    pub async fn copied_once(&mut self) {
        let first_looks = async {
            while self.copies.as_ref().is_some_and(Copies::is_pending) {
                self.next().await;
            }
        };
        // Who gets no answer in time sees the rest.
        let _ = timeout(A_FIRST_LOOK, first_looks).await;
    }

    fn copied(&mut self, asked: Asked) -> News {
        let now = Timestamp::now();
        match asked {
            Asked::Row(row) => {
                let change = self.facts.copied(CopyRow::clone(&row), now);
                News::Copied(now, row, change)
            }
            Asked::Unknown(row, why) => {
                self.facts.copies().lost(&row, &why);
                News::Note(now, format!("how far {} is can't be told: {why}", row.name()))
            }
        }
    }

    fn take(&mut self, subject: Subject, seen: Seen) -> Vec<News> {
        let now = Timestamp::now();
        let mut news = Vec::new();
        let was_incomplete = !self.incomplete.is_empty();
        let changes = match seen {
            Seen::Pod(event) => self.pod(*event),
            Seen::Job(event) => self.job(*event),
            Seen::Workload(event) => match *event {
                Event::Apply(object) | Event::InitApply(object) => self.facts.workload(object).into_iter().collect(),
                Event::Delete(_) => self.facts.workload_gone().into_iter().collect(),
                Event::Init => Vec::new(),
                Event::InitDone => self.listed(Subject::Workload),
            },
            Seen::Claim(event) => match *event {
                Event::Apply(claim) | Event::InitApply(claim) => {
                    self.facts.claim(claim);
                    Vec::new()
                }
                Event::Delete(claim) => {
                    self.facts.claim_gone(&claim);
                    Vec::new()
                }
                Event::Init => Vec::new(),
                Event::InitDone => self.listed(Subject::Claims),
            },
            Seen::Operation(event) => match *event {
                Event::Apply(map) | Event::InitApply(map) => {
                    // A record of another version is not ours to judge here: `history` says so.
                    match Store::read(&map) {
                        Ok(record) => {
                            self.facts.progress(&record.id, Store::progress(&map));
                            let change = self.facts.record(&record);
                            news.extend(change.is_none().then_some(News::Progressed));
                            change.into_iter().collect()
                        }
                        Err(_) => Vec::new(),
                    }
                }
                Event::Delete(map) => {
                    self.facts.record_gone(map.name_any().trim_start_matches("dbmig-"));
                    Vec::new()
                }
                Event::Init => Vec::new(),
                Event::InitDone => self.listed(Subject::Operations),
            },
            Seen::Lease(event) => {
                self.lease(*event);
                Vec::new()
            }
            Seen::Event(event) => {
                news.extend(self.incident(*event));
                Vec::new()
            }
            Seen::Recovered => {
                if self.troubled.remove(&subject) && self.troubled.is_empty() {
                    news.push(News::Note(now, "connected again".to_owned()));
                }
                Vec::new()
            }
            Seen::Trouble { subject, why, denied } => {
                news.extend(self.trouble(subject, &why, denied, now));
                Vec::new()
            }
        };
        news.extend(changes.into_iter().map(|change| News::Changed(now, change)));
        if was_incomplete && self.incomplete.is_empty() {
            news.push(News::Complete);
        }
        news
    }

    fn listed(&mut self, subject: Subject) -> Vec<Change> {
        self.incomplete.remove(&subject);
        Vec::new()
    }

    fn pod(&mut self, event: Event<Pod>) -> Vec<Change> {
        match event {
            Event::Init => self.listed_pods.clear(),
            Event::InitApply(pod) => {
                self.listed_pods.extend(pod.uid());
                return self.pod_seen(&pod);
            }
            Event::InitDone => {
                self.incomplete.remove(&Subject::Pods);
                let gone = self.facts.pods_missing_in(&self.listed_pods);
                let changes = gone.iter().filter_map(|pod| self.pod_gone(pod)).collect();
                self.measuring.of(self.facts.nodes_with_claims());
                return changes;
            }
            Event::Apply(pod) => {
                let changes = self.pod_seen(&pod);
                self.measuring.of(self.facts.nodes_with_claims());
                return changes;
            }
            Event::Delete(pod) => return self.pod_gone(&pod).into_iter().collect(),
        }
        Vec::new()
    }

    fn pod_seen(&mut self, pod: &Pod) -> Vec<Change> {
        let belongs = self.facts.has_pod(pod);
        if let Some(tailing) = self.tailing.as_mut().filter(|_| belongs) {
            tailing.pod(pod);
        }
        if let Some(copies) = self.copies.as_mut().filter(|_| belongs) {
            copies.pod(pod);
        }
        self.facts.pod(pod).into_iter().collect()
    }

    fn pod_gone(&mut self, pod: &Pod) -> Option<Change> {
        if let Some(tailing) = &mut self.tailing {
            tailing.gone(pod);
        }
        if let Some(copies) = &mut self.copies {
            copies.gone(&pod.uid().unwrap_or_default());
        }
        self.facts.pod_gone(pod)
    }

    fn job(&mut self, event: Event<Job>) -> Vec<Change> {
        match event {
            Event::Init => self.listed_jobs.clear(),
            Event::InitApply(job) => {
                self.listed_jobs.extend(job.uid());
                return self.job_seen(job);
            }
            Event::InitDone => {
                self.incomplete.remove(&Subject::Jobs);
                let gone = self.facts.jobs_missing_in(&self.listed_jobs);
                return gone.iter().filter_map(|job| self.facts.job_gone(job)).collect();
            }
            Event::Apply(job) => return self.job_seen(job),
            Event::Delete(job) => return self.facts.job_gone(&job).into_iter().collect(),
        }
        Vec::new()
    }

    /// Its pods may have been seen before it was.
    fn job_seen(&mut self, job: Job) -> Vec<Change> {
        let change = self.facts.job(job);
        if let Some(tailing) = &mut self.tailing {
            self.facts.pods().for_each(|pod| tailing.pod(pod));
        }
        if let Some(copies) = &mut self.copies {
            self.facts.pods().for_each(|pod| copies.pod(pod));
        }
        change.into_iter().collect()
    }

    fn lease(&mut self, event: Event<Lease>) {
        let holders = self.facts.holders();
        match event {
            Event::Init => holders.begin(),
            Event::Apply(lease) | Event::InitApply(lease) => holders.take(&lease),
            Event::Delete(lease) => holders.gone(&lease),
            Event::InitDone => {
                holders.complete();
                self.incomplete.remove(&Subject::Leases);
            }
        }
    }

    fn incident(&mut self, event: Event<k8s_openapi::api::core::v1::Event>) -> Option<News> {
        match event {
            Event::Apply(event) => {
                let incident = Incident::of(&event);
                self.facts.incident(event.uid().unwrap_or_default(), incident).map(News::Happened)
            }
            // What happened before is in the facts; it is no news, not even after a new list.
            Event::InitApply(event) => {
                let incident = Incident::of(&event);
                let fresh = incident.last.is_some_and(|last| last >= self.begun);
                self.facts.incident(event.uid().unwrap_or_default(), incident).filter(|_| fresh).map(News::Happened)
            }
            Event::InitDone => {
                self.incomplete.remove(&Subject::Events);
                None
            }
            Event::Init | Event::Delete(_) => None,
        }
    }

    fn trouble(&mut self, subject: Subject, why: &str, denied: bool, now: Timestamp) -> Option<News> {
        if denied {
            self.incomplete.remove(&subject);
            if subject == Subject::Leases {
                return None; // Nothing that anybody wants to look at is missing.
            }
            let first = self.denied.insert(subject);
            return first.then(|| News::Note(now, format!("{} are not shown: {why}", subject.plural())));
        }
        let first = self.troubled.is_empty();
        self.troubled.insert(subject);
        first.then(|| News::Note(now, format!("{why}; trying again")))
    }
}

/// The next look; never, where nobody is asked.
async fn asked(copies: &mut Option<Copies>) -> Option<Asked> {
    match copies {
        Some(copies) => copies.next().await,
        None => std::future::pending().await,
    }
}
