//! What is known of a scope at the moment, and what a change to it means in words. Pure: fed by `watch`.

use std::collections::{BTreeMap, BTreeSet};

use dbmig_wire::Progress;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt as _;
use kube::api::DynamicObject;

use super::change::{self, Change};
use super::copied::Copied;
use super::copy::CopyRow;
use super::holders::Holders;
use super::incident::Incident;
use super::logs::Choice;
use super::pod::PodRow;
use super::scope::{Pods, Scope, claims};
use super::usage::Measured;
use super::workload::{ClaimRow, JobRow, JobState, WorkloadRow};
use crate::cluster::kind::Kind;
use crate::plan::{LockName, Phase, Record};

/// Namespace and name.
type Key = (String, String);

/// Everything that is known.
#[derive(Debug)]
pub struct Facts {
    scope: Scope,
    workload: Option<DynamicObject>,
    pods: BTreeMap<Key, Pod>,
    jobs: BTreeMap<Key, Job>,
    claims: BTreeMap<Key, PersistentVolumeClaim>,
    incidents: BTreeMap<String, Incident>,
    records: BTreeMap<String, Record>,
    progress: BTreeMap<String, Progress>,
    /// Uids of all that ever belonged to the scope, so that the events of what is gone still count.
    known: BTreeSet<String>,
    holders: Holders,
    usage: Measured,
    /// How far each pgcopydb is.
    copies: Copied,
    /// Names of locks that operations on this scope's claims take.
    locks: BTreeSet<String>,
}

impl Facts {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            workload: None,
            pods: BTreeMap::new(),
            jobs: BTreeMap::new(),
            claims: BTreeMap::new(),
            incidents: BTreeMap::new(),
            records: BTreeMap::new(),
            progress: BTreeMap::new(),
            holders: Holders::default(),
            usage: Measured::new(),
            copies: Copied::default(),
            known: BTreeSet::new(),
            locks: BTreeSet::new(),
        }
    }

    /// What is watched.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Takes a pod in; `None` if it does not belong here (yet) or nothing that matters has changed.
    pub fn pod(&mut self, pod: &Pod) -> Option<Change> {
        let before = self.pods.insert(key(pod), pod.clone()).map(|pod| change::of_pod(&PodRow::of(&pod)));
        if !self.has_pod(pod) {
            return None;
        }
        self.remember(pod);
        let now = change::of_pod(&PodRow::of(pod));
        (before.as_ref() != Some(&now)).then_some(now)
    }

    fn remember(&mut self, pod: &Pod) {
        self.known.extend(pod.uid());
        self.locks.extend(claims(pod).map(|claim| LockName::new(&format!("claim/{claim}")).as_str().to_owned()));
    }

    /// A pod that belongs to this scope.
    #[must_use]
    pub fn has_pod(&self, pod: &Pod) -> bool {
        self.scope.has_pod(pod, |uid| self.jobs.values().any(|job| job.uid().as_deref() == Some(uid)))
    }

    /// Takes a pod out.
    pub fn pod_gone(&mut self, pod: &Pod) -> Option<Change> {
        let current = self.pods.get(&key(pod)).filter(|known| known.uid() == pod.uid())?;
        let belonged = self.has_pod(current);
        let object = format!("pod/{}", current.name_any());
        self.pods.remove(&key(pod));
        self.copies.gone(&key(pod));
        belonged.then(|| Change { object, text: "gone".to_owned(), bad: false })
    }

    /// Takes the workload in.
    pub fn workload(&mut self, object: DynamicObject) -> Option<Change> {
        let before = self.workload_row().map(|row| change::of_workload(&row));
        self.known.extend(object.uid());
        self.workload = Some(object);
        let now = self.workload_row().filter(|row| !row.name.starts_with("job/"))?;
        let text = change::of_workload(&now);
        (before.as_ref() != Some(&text)).then_some(Change { object: now.name, text, bad: !now.complaint.is_empty() })
    }

    /// Pods that a new list does not have any more: they have gone unseen.
    #[must_use]
    pub fn pods_missing_in(&self, listed: &BTreeSet<String>) -> Vec<Pod> {
        self.pods.values().filter(|pod| !listed.contains(&pod.uid().unwrap_or_default())).cloned().collect()
    }

    /// Jobs that a new list does not have any more.
    #[must_use]
    pub fn jobs_missing_in(&self, listed: &BTreeSet<String>) -> Vec<Job> {
        self.jobs.values().filter(|job| !listed.contains(&job.uid().unwrap_or_default())).cloned().collect()
    }

    /// The workload was deleted.
    pub fn workload_gone(&mut self) -> Option<Change> {
        let row = self.workload_row()?;
        self.workload = None;
        Some(Change { object: row.name, text: "gone".to_owned(), bad: true })
    }

    /// Takes a Job in.
    pub fn job(&mut self, job: Job) -> Option<Change> {
        if !self.scope.has_job(&job) {
            return None;
        }
        self.known.extend(job.uid());
        let before = self.jobs.get(&key(&job)).map(|job| self.job_row(job));
        let now = self.job_row(&job);
        self.jobs.insert(key(&job), job);
        let pods: Vec<Pod> = self.pods().cloned().collect();
        pods.iter().for_each(|pod| self.remember(pod));
        (before.as_ref() != Some(&now)).then(|| Change {
            object: now.name.clone(),
            text: change::of_job(&now),
            bad: now.failed > 0,
        })
    }

    /// Takes a Job out.
    pub fn job_gone(&mut self, job: &Job) -> Option<Change> {
        let gone = self.jobs.remove(&key(job))?;
        Some(Change { object: format!("job/{}", gone.name_any()), text: "gone".to_owned(), bad: false })
    }

    /// Takes a claim in.
    pub fn claim(&mut self, claim: PersistentVolumeClaim) {
        self.claims.insert(key(&claim), claim);
    }

    /// Takes a claim out.
    pub fn claim_gone(&mut self, claim: &PersistentVolumeClaim) {
        self.claims.remove(&key(claim));
    }

    /// Takes an event in; gives it back if it is about this scope and new.
    pub fn incident(&mut self, id: String, incident: Incident) -> Option<Incident> {
        let before = self.incidents.insert(id, incident.clone());
        (before.as_ref() != Some(&incident) && self.is_about(&incident)).then_some(incident)
    }

    /// Takes the record of an operation in.
    pub fn record(&mut self, record: &Record) -> Option<Change> {
        let now = change::of_record(record);
        let before = self.records.insert(record.id.clone(), record.clone());
        // Between two steps there is nothing to tell.
        let between = record.phase == Phase::Running && record.at().is_none() && before.is_some();
        let changed = !between && before.as_ref().is_none_or(|before| change::of_record(before) != now);
        (changed && self.is_ours(record)).then_some(now)
    }

    /// Takes in how far an operation's present step is; `None`: nothing is told of it.
    pub fn progress(&mut self, id: &str, progress: Option<Progress>) {
        match progress {
            Some(progress) => self.progress.insert(id.to_owned(), progress),
            None => self.progress.remove(id),
        };
    }

    /// How far an operation's present step is, if that is told.
    #[must_use]
    pub fn progress_of(&self, id: &str) -> Option<&Progress> {
        self.progress.get(id)
    }

    /// Takes the record of an operation out.
    pub fn record_gone(&mut self, id: &str) {
        self.progress.remove(id);
        self.records.remove(id);
    }

    /// The pods of this scope, by name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values().filter(|pod| self.has_pod(pod))
    }

    /// How many containers the choice takes.
    #[must_use]
    pub fn container_count(&self, choice: &Choice) -> usize {
        self.pods().map(|pod| choice.count(pod)).sum()
    }

    /// The pods as rows.
    #[must_use]
    pub fn pod_rows(&self) -> Vec<PodRow> {
        self.pods().map(PodRow::of).collect()
    }

    /// The workload as a row.
    #[must_use]
    pub fn workload_row(&self) -> Option<WorkloadRow> {
        Some(WorkloadRow::of(self.scope.workload.as_ref()?, self.workload.as_ref()?))
    }

    /// The workload as the server has it.
    #[must_use]
    pub fn workload_data(&self) -> Option<&serde_json::Value> {
        self.workload.as_ref().map(|object| &object.data)
    }

    /// Nothing more is going to happen by itself: the Jobs are over, or pods that nobody replaces are.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let over = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        let replaced =
            |pod: &Pod| pod.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.kind != "Job");
        let jobs_over = self.job_rows().iter().all(|job| matches!(job.state, JobState::Complete | JobState::Failed));
        let mut pods = self.pods().peekable();
        let something = pods.peek().is_some() || !self.jobs.is_empty();
        let settled = !matches!(self.scope.pods, Pods::OfCronJob(_) | Pods::Matching(_) | Pods::Migrations);
        settled && something && jobs_over && pods.all(|pod| over(pod) && !replaced(pod))
    }

    /// The Jobs as rows, oldest first.
    #[must_use]
    pub fn job_rows(&self) -> Vec<JobRow> {
        let mut rows: Vec<JobRow> = self.jobs.values().map(|job| self.job_row(job)).collect();
        rows.sort_by_key(|row| row.started);
        rows
    }

    /// The claims that the pods mount.
    #[must_use]
    pub fn claim_rows(&self) -> Vec<ClaimRow> {
        let mounted: BTreeSet<Key> =
            self.pods().flat_map(|pod| claims(pod).map(|claim| (pod.namespace().unwrap_or_default(), claim.clone()))).collect();
        let shown = self.claims.iter().filter(|(key, _)| mounted.contains(*key));
        shown.map(|(key, claim)| ClaimRow { usage: self.usage.get(key).copied(), ..ClaimRow::of(claim) }).collect()
    }

    /// Nodes on which pods with claims run.
    pub(super) fn nodes_with_claims(&self) -> BTreeSet<String> {
        let with = self.pods().filter(|pod| claims(pod).next().is_some());
        with.filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect()
    }

    /// A pod that mounts a claim, by name.
    #[must_use]
    pub fn pod_with_claim(&self, wanted: &str) -> Option<String> {
        self.pods().find(|pod| claims(pod).any(|claim| claim == wanted)).map(Pod::name_any)
    }

    /// Takes in how full volumes are.
    pub(super) fn measured(&mut self, measured: Measured) {
        self.usage = measured;
    }

    /// Takes in how far a pgcopydb is; a change if that is worth a line of its own.
    pub(super) fn copied(&mut self, row: CopyRow, now: Timestamp) -> Option<Change> {
        let by_us = self.is_worked_on();
        self.copies.take(row, by_us, now)
    }

    /// What is known of the copies.
    pub(super) fn copies(&mut self) -> &mut Copied {
        &mut self.copies
    }

    /// How far each pgcopydb of this scope is.
    #[must_use]
    pub fn copy_rows(&self) -> Vec<CopyRow> {
        let of = |pod: &Pod| self.copies.of(&key(pod)).cloned();
        self.pods().filter_map(of).collect()
    }

    /// An operation of ours is at work on this scope.
    #[must_use]
    pub fn is_worked_on(&self) -> bool {
        self.operations().iter().any(|record| !record.phase.is_over())
    }

    /// Who works on operations.
    pub(super) fn holders(&mut self) -> &mut Holders {
        &mut self.holders
    }

    /// An operation that should be at work has lost its process.
    #[must_use]
    pub fn is_abandoned(&self, record: &Record) -> bool {
        self.holders.have_left(record, Timestamp::now())
    }

    /// The events about this scope, oldest first.
    #[must_use]
    pub fn incidents(&self) -> Vec<&Incident> {
        let mut all: Vec<&Incident> = self.incidents.values().filter(|incident| self.is_about(incident)).collect();
        all.sort_by_key(|incident| incident.last);
        all
    }

    /// Our operations on this scope that are not over, and the newest that is.
    #[must_use]
    pub fn operations(&self) -> Vec<&Record> {
        let mut all: Vec<&Record> = self.records.values().filter(|record| self.is_ours(record)).collect();
        all.sort_by_key(|record| record.created);
        let newest = all.last().map(|record| record.id.clone());
        all.retain(|record| !record.phase.is_over() || Some(&record.id) == newest.as_ref());
        all
    }

    fn job_row(&self, job: &Job) -> JobRow {
        let uid = job.uid();
        let is_its = |pod: &&Pod| pod.owner_references().iter().any(|owner| Some(&owner.uid) == uid.as_ref());
        JobRow::of(job, self.pods.values().filter(is_its))
    }

    fn is_about(&self, incident: &Incident) -> bool {
        let here = self.scope.namespace.as_ref().is_none_or(|namespace| *namespace == incident.namespace);
        here && (self.known.contains(&incident.uid)
            || self.is_about_replica_set(incident)
            || self.claim_rows().iter().any(|claim| incident.object == format!("persistentvolumeclaim/{}", claim.name)))
    }

    /// What makes a Deployment's pods is not watched itself: it is known by its name, which ends in a hash without dashes.
    fn is_about_replica_set(&self, incident: &Incident) -> bool {
        let above = self.scope.workload.as_ref().filter(|asked| asked.kind == Kind::Deployment);
        let set = incident.object.strip_prefix("replicaset/").and_then(|set| set.rsplit_once('-'));
        above.zip(set).is_some_and(|(above, (name, _))| above.name == name)
    }

    fn is_ours(&self, record: &Record) -> bool {
        let workload = self.scope.workload.as_ref().map(ToString::to_string);
        record.target == self.scope.title
            || Some(&record.target) == workload.as_ref()
            || self.locks.contains(&record.lock)
            || self.pods().any(|pod| record.target == format!("pod/{}", pod.name_any()))
            || self.of_stateful_set(record)
    }

    /// The pods of a StatefulSet that is scaled down are known by their names alone.
    fn of_stateful_set(&self, record: &Record) -> bool {
        let name = self.scope.workload.as_ref().map(|asked| asked.name.as_str());
        let pod = record.target.strip_prefix("pod/").and_then(|pod| pod.rsplit_once('-'));
        pod.is_some_and(|(set, ordinal)| Some(set) == name && ordinal.parse::<u32>().is_ok())
    }
}

fn key(object: &impl kube::ResourceExt) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}
