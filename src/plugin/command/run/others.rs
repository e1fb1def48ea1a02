//! Other operations that have made a Job of the same name: one that is not through with it keeps the next one out.

use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt as _;

use super::NAME;
use super::spec::Spec;
use super::step::{AFTER, AGAIN};
use crate::cluster::Cluster;
use crate::cluster::helper::LABEL_OPERATION;
use crate::cluster::job::OwnJob;
use crate::command::operation::unfinished;
use crate::exit::Exit;
use crate::failure::Result;
use crate::plan::{Record, Store};

/// A migration whose Job is over and with whose database nothing may run before it is where it was, or with which what was started
/// again does not get ready: `rollback` or `repair` first, then its `undo`.
pub(in crate::command) fn waits_for_the_way_back(record: &Record) -> bool {
    let is_offline = || record.spec::<Spec>().is_ok_and(|spec| spec.offline.is_some());
    let has_run = [AGAIN, AFTER].iter().any(|name| record.memory.contains_key(*name));
    record.command == NAME && !record.phase.is_over() && has_run && is_offline()
}

/// The Job of that name that an earlier operation has left behind, if it is through with it.
///
/// # Errors
/// `Held` where the Job runs, or its operation has not judged it yet, or is not through with it and waits for no way back.
pub(super) async fn ended(cluster: &Cluster, namespace: &str, own: &OwnJob, operation: &str, down: bool) -> Result<Option<Job>> {
    let Some(job) = own.ended_other(operation).await? else { return Ok(None) };
    let Some(id) = job.labels().get(LABEL_OPERATION) else { return Ok(Some(job)) };
    match Store::in_namespace(cluster, namespace).load(id).await {
        Ok(record) if record.phase.is_over() || (down && waits_for_the_way_back(&record)) => Ok(Some(job)),
        Ok(record) => Err(unfinished(&record, namespace)),
        // Its record was cleaned up.
        Err(failure) if failure.exit == Exit::Usage => Ok(Some(job)),
        Err(failure) => Err(failure),
    }
}

/// Refuses beside an operation that has such a Job, or may still create it.
///
/// # Errors
/// `Held` with that operation, and how to go on with it.
pub(super) async fn refuse_unfinished(cluster: &Cluster, job: &str, down: bool) -> Result<()> {
    let records = Store::in_namespace(cluster, &cluster.namespace).unfinished(None).await?;
    let in_the_way = |record: &&Record| !(down && waits_for_the_way_back(record));
    let mut others = records.iter().rev().filter(in_the_way);
    let other = others.find(|record| super::watched(record).is_some_and(|watched| watched.name == job));
    other.map_or(Ok(()), |record| Err(unfinished(record, &cluster.namespace)))
}
