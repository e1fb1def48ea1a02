//! What of all that is there nobody needs any more, and why. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;

use crate::cluster::MANAGED_BY;
use crate::cluster::claim::BACKUP_OF;
use crate::cluster::helper::LABEL_OPERATION;
use crate::cluster::job::is_over;
use crate::cluster::volume::is_finished;
use crate::command::start;
use crate::observe::Scope;
use crate::plan::Record;

/// A look by somebody else may last so long; its helper pod has no record.
const LOOK: Duration = Duration::from_secs(3600);
/// A Lease that was not renewed for so long is nobody's, whatever clocks say.
const LEASE: Duration = Duration::from_secs(600);

/// What is known when something is judged.
pub(super) struct Known<'a> {
    /// Operations by their ids.
    pub(super) records: BTreeMap<&'a str, &'a Record>,
    pub(super) now: Timestamp,
    /// How long records, failed Jobs and backups stay.
    pub(super) keep: Duration,
    /// Backups go however young they are.
    pub(super) backups: bool,
}

impl Known<'_> {
    fn is_old(&self, since: Option<Timestamp>, limit: Duration) -> bool {
        since.is_some_and(|since| self.now.duration_since(since).unsigned_abs() > limit && since < self.now)
    }

    /// The operation that an object belongs to, if its record is there; else whether there is none by that id.
    fn operation(&self, metadata: &ObjectMeta) -> Option<Option<&Record>> {
        let id = metadata.labels.as_ref()?.get(LABEL_OPERATION)?;
        Some(self.records.get(id.as_str()).copied())
    }

    /// Why a record may go.
    pub(super) fn record(&self, record: &Record) -> Option<String> {
        let goes = record.phase.is_over() && self.is_old(Some(record.updated), self.keep);
        goes.then(|| format!("{} of {}, {}", record.command, record.target, record.phase.as_str()))
    }

    /// Why a Job may go.
    pub(super) fn job(&self, job: &Job) -> Option<String> {
        if !is_over(job) || job.metadata.deletion_timestamp.is_some() {
            return None;
        }
        if is_ours(&job.metadata) {
            return match self.operation(&job.metadata) {
                Some(Some(record)) if !record.phase.is_over() => None,
                // A copy that has failed leaves a replication slot, and its Job is the way to that: `undo` removes both.
                Some(Some(record)) if record.command == start::NAME => None,
                Some(Some(record)) => Some(format!("operation {} is over, and has kept its log", record.id)),
                Some(None) | None => Some("its operation is recorded no more".to_owned()),
            };
        }
        // A CronJob keeps as many as its author wants.
        let owned = job.owner_references().iter().any(|owner| owner.controller == Some(true));
        let failed = conditions(job).find(|(kind, _)| *kind == "Failed").and_then(|(_, since)| since);
        let migrates = Scope::migrations(None).has_job(job);
        (migrates && !owned && self.is_old(failed, self.keep)).then(|| "a migration that failed".to_owned())
    }

    /// Why a pod may go.
    pub(super) fn pod(&self, pod: &Pod) -> Option<String> {
        let owned = pod.owner_references().iter().any(|owner| owner.controller == Some(true));
        if owned || !is_ours(&pod.metadata) || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let created = pod.creation_timestamp().map(|time| time.0);
        match self.operation(&pod.metadata)? {
            Some(record) if !record.phase.is_over() => None,
            Some(record) => Some(format!("helper of operation {}, which is over", record.id)),
            None if is_finished(pod) || self.is_old(created, LOOK) => Some("helper of a look that is over".to_owned()),
            None => None,
        }
    }

    /// Why a claim or a snapshot may go: a backup, or what was only needed while an operation worked.
    pub(super) fn copy(&self, metadata: &ObjectMeta) -> Option<String> {
        if !is_ours(metadata) || metadata.deletion_timestamp.is_some() {
            return None;
        }
        let created = metadata.creation_timestamp.as_ref().map(|time| time.0);
        let record = self.operation(metadata)?;
        if record.is_some_and(|record| !record.phase.is_over()) {
            return None;
        }
        if let Some(of) = metadata.annotations.as_ref().and_then(|all| all.get(BACKUP_OF)) {
            return (self.backups || self.is_old(created, self.keep)).then(|| format!("a backup of {of}"));
        }
        let id = metadata.labels.as_ref()?.get(LABEL_OPERATION)?;
        let is_scratch = metadata.name.as_ref().is_some_and(|name| *name == format!("dbmig-{id}"));
        (is_scratch && self.is_old(created, LOOK)).then(|| "only its operation needed it, which is over".to_owned())
    }

    /// Why a Lease may go.
    pub(super) fn lease(&self, lease: &Lease) -> Option<String> {
        let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
        let held = self.records.values().any(|record| !record.phase.is_over() && record.lock == lease.name_any());
        let goes = is_ours(&lease.metadata) && !held && self.is_old(renewed, LEASE);
        goes.then(|| "nobody renews it, and no operation needs it".to_owned())
    }
}

fn is_ours(metadata: &ObjectMeta) -> bool {
    metadata.labels.as_ref().and_then(|labels| labels.get("app.kubernetes.io/managed-by")).is_some_and(|by| by == MANAGED_BY)
}

fn conditions(job: &Job) -> impl Iterator<Item = (&str, Option<Timestamp>)> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let true_ones = conditions.filter(|condition| condition.status == "True");
    true_ones.map(|condition| (condition.type_.as_str(), condition.last_transition_time.as_ref().map(|time| time.0)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::Phase;

    const NOW: &str = "2026-02-01T00:00:00Z";
    const LONG_AGO: &str = "2026-01-01T00:00:00Z";

    fn record(id: &str, phase: Phase, updated: &str) -> Record {
        serde_json::from_value(json!({"id": id, "command": "run", "namespace": "n", "target": "job/x", "lock": "dbmig-x", "by": "a",
            "from": "b", "version": "0", "created": LONG_AGO, "updated": updated, "phase": phase, "message": "", "spec": null, "steps": [],
            "memory": {}}))
        .unwrap()
    }

    fn known<'a>(records: &'a [Record]) -> Known<'a> {
        let records = records.iter().map(|record| (record.id.as_str(), record)).collect();
        Known { records, now: NOW.parse().unwrap(), keep: Duration::from_secs(86_400), backups: false }
    }

    fn job(labels: &Value, condition: &str) -> Job {
        let conditions = json!([{"type": condition, "status": "True", "lastTransitionTime": LONG_AGO}]);
        serde_json::from_value(json!({"metadata": {"name": "j", "labels": labels}, "status": {"conditions": conditions}}))
            .unwrap()
    }

    fn ours(id: &str) -> Value {
        json!({"app.kubernetes.io/managed-by": "kubectl-dbmig", "dbmig.dev/operation": id})
    }

    #[test]
    fn nothing_of_an_operation_that_is_not_over_goes() {
        for phase in [Phase::Running, Phase::Stopped, Phase::Undoing] {
            let records = [record("run-x", phase, LONG_AGO)];
            let known = known(&records);
            assert_eq!(known.record(&records[0]), None);
            assert_eq!(known.job(&job(&ours("run-x"), "Failed")), None);
            let pod = |labels: &Value| -> Pod {
                serde_json::from_value(json!({"metadata": {"name": "p", "labels": labels, "creationTimestamp": LONG_AGO}}))
                    .unwrap()
            };
            assert_eq!(known.pod(&pod(&ours("run-x"))), None);
            assert!(known.pod(&pod(&ours("look-y"))).is_some(), "a look of long ago");
            let lease = |name: &str| -> Lease {
                let labels = json!({"app.kubernetes.io/managed-by": "kubectl-dbmig"});
                serde_json::from_value(
                    json!({"metadata": {"name": name, "labels": labels}, "spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}),
                )
                .unwrap()
            };
            assert_eq!(known.lease(&lease("dbmig-x")), None);
            assert!(known.lease(&lease("dbmig-y")).is_some());
        }
    }

    #[test]
    fn a_job_goes_when_it_is_over_and_a_foreign_one_only_when_it_failed_long_ago() {
        let records = [record("run-x", Phase::Failed, NOW)];
        let known = known(&records);
        assert_eq!(known.record(&records[0]), None, "its record is young");
        assert!(known.job(&job(&ours("run-x"), "Failed")).is_some());
        assert!(known.job(&job(&ours("run-gone"), "Complete")).is_some());
        assert_eq!(known.job(&job(&ours("run-x"), "Suspended")), None, "it runs");
        let migration = json!({"app.kubernetes.io/component": "migration"});
        assert!(known.job(&job(&migration, "Failed")).is_some());
        assert_eq!(known.job(&job(&migration, "Complete")), None);
        assert_eq!(known.job(&job(&json!({"app": "backup"}), "Failed")), None, "it is no migration");
        let keep = Duration::from_secs(90 * 86_400);
        let young = Known { keep, records: BTreeMap::new(), now: NOW.parse().unwrap(), backups: false };
        assert_eq!(young.job(&job(&migration, "Failed")), None);
    }

    #[test]
    fn a_backup_goes_when_it_is_old_or_asked_for_and_never_before_its_operation_is_over() {
        let records = [record("run-x", Phase::Done, NOW), record("run-y", Phase::Stopped, LONG_AGO)];
        let of = |id: &str, name: &str, created: &str, backup: bool| -> ObjectMeta {
            let mut annotations = json!({});
            if backup {
                annotations[BACKUP_OF] = "postgresql://db/shop".into();
            }
            let metadata = json!({"name": name, "labels": ours(id), "annotations": annotations, "creationTimestamp": created});
            serde_json::from_value(metadata).unwrap()
        };
        let known = known(&records);
        assert!(known.copy(&of("run-x", "dbmig-run-x-backup", LONG_AGO, true)).unwrap().contains("postgresql://db/shop"));
        assert_eq!(known.copy(&of("run-x", "dbmig-run-x-backup", NOW, true)), None, "it is young");
        assert_eq!(known.copy(&of("run-y", "dbmig-run-y-backup", LONG_AGO, true)), None, "its operation is not over");
        assert!(known.copy(&of("run-gone", "dbmig-run-gone-backup", LONG_AGO, true)).is_some());
        assert!(known.copy(&of("run-x", "dbmig-run-x", LONG_AGO, false)).is_some(), "a scratch volume");
        assert_eq!(known.copy(&of("run-x", "dbmig-run-x-old", LONG_AGO, false)), None, "kept on purpose");
        let all = Known { backups: true, ..known };
        assert!(all.copy(&of("run-x", "dbmig-run-x-backup", NOW, true)).is_some());
        assert_eq!(all.copy(&of("run-y", "dbmig-run-y-backup", LONG_AGO, true)), None);
        assert_eq!(all.copy(&ObjectMeta { labels: None, ..of("run-x", "dbmig-run-x", LONG_AGO, true) }), None, "not ours");
    }
}
