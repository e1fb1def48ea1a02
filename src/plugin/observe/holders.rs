//! Whether somebody still works on an operation: its Lease is renewed as long as its process lives. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;

use crate::plan::{Phase, Record};

/// A Lease that was not renewed for so long has lost its process: three times what a live one needs, for clocks that differ.
const DEAD: SignedDuration = SignedDuration::from_secs(90);

/// The Leases of operations, by namespace and name, with the time of their last renewal.
#[derive(Debug, Default)]
pub(super) struct Holders {
    renewed: BTreeMap<(String, String), Option<Timestamp>>,
    /// All that there are have been listed; who may not see Leases never gets there.
    complete: bool,
}

impl Holders {
    pub(super) fn take(&mut self, lease: &Lease) {
        let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
        self.renewed.insert(key(lease), renewed);
    }

    pub(super) fn gone(&mut self, lease: &Lease) {
        self.renewed.remove(&key(lease));
    }

    pub(super) fn begin(&mut self) {
        self.renewed.clear();
        self.complete = false;
    }

    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// The record says that the operation is at work, and nobody is.
    pub(super) fn have_left(&self, record: &Record, now: Timestamp) -> bool {
        if !self.complete || !matches!(record.phase, Phase::Running | Phase::Undoing) {
            return false;
        }
        let renewed = self.renewed.get(&(record.namespace.clone(), record.lock.clone())).copied().flatten();
        // A record that was written a moment ago may be ahead of the watch.
        [renewed, Some(record.updated)].into_iter().flatten().all(|alive| now.duration_since(alive) > DEAD)
    }
}

fn key(lease: &Lease) -> (String, String) {
    (lease.namespace().unwrap_or_default(), lease.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(phase: &str, updated: &str) -> Record {
        serde_json::from_value(serde_json::json!({"id": "vacuum-x", "command": "vacuum", "namespace": "n", "target": "pod/p",
            "lock": "dbmig-lock", "by": "admin", "from": "here", "version": "1", "created": updated, "updated": updated,
            "phase": phase, "message": "", "spec": {}, "steps": [], "memory": {}}))
        .unwrap()
    }

    fn lease(renewed: &str) -> Lease {
        serde_json::from_value(
            serde_json::json!({"metadata": {"name": "dbmig-lock", "namespace": "n"}, "spec": {"renewTime": renewed}}),
        )
        .unwrap()
    }

    #[test]
    fn an_operation_is_left_when_nobody_renews_its_lease() {
        let now: Timestamp = "2026-11-21T12:10:00Z".parse().unwrap();
        let (old, fresh) = ("2026-11-21T12:00:00Z", "2026-11-21T12:09:30.000000Z");
        let mut holders = Holders::default();
        assert!(!holders.have_left(&record("running", old), now), "nothing is known of Leases");
        holders.complete();
        assert!(holders.have_left(&record("running", old), now));
        assert!(holders.have_left(&record("undoing", old), now));
        assert!(!holders.have_left(&record("stopped", old), now), "nobody has to work on it");
        assert!(!holders.have_left(&record("running", fresh), now));
        holders.take(&lease(fresh));
        assert!(!holders.have_left(&record("running", old), now));
        holders.take(&lease("2026-11-21T12:00:30.000000Z"));
        assert!(holders.have_left(&record("running", old), now));
        holders.take(&lease(fresh));
        holders.gone(&lease(fresh));
        assert!(holders.have_left(&record("running", old), now));
        holders.begin();
        assert!(!holders.have_left(&record("running", old), now), "a new list is on its way");
    }
}
