//! Whether the holder of a migration lock still lives: judged by the pod behind a host name or an address. Reads only.

use k8s_openapi::api::core::v1::Pod;

use super::neighbours::{Neighbours, Sighting, is_over};
use crate::cluster::Cluster;
use crate::cluster::pods::{is_running, statuses};
use crate::cluster::target::Target;
use crate::framework::{Fate, Lock, LockKind};

/// Looks for the pods that hold locks; which pods there are is asked once for all of them.
pub(super) async fn judge(cluster: &Cluster, target: &Target, locks: impl Iterator<Item = &mut Lock>) {
    let mut traceable: Vec<&mut Lock> =
        locks.filter(|lock| lock.holder.host.is_some() || lock.holder.address.is_some()).collect();
    if traceable.is_empty() {
        return;
    }
    let Some(pods) = Neighbours::of(cluster, &target.namespace).await else { return };
    for lock in &mut traceable {
        lock.fate = fate(&pods, target, lock).await;
    }
}

/// A row that names a host is judged by it alone: the address behind it may have been given to another pod since.
async fn fate(pods: &Neighbours<'_>, target: &Target, lock: &Lock) -> Fate {
    let (sighting, sought) = match (&lock.holder.host, &lock.holder.address) {
        (Some(host), _) => (pods.by_host(host).await, host),
        (None, Some(address)) => (pods.by_address(address).await, address),
        (None, None) => return Fate::Unknown(None),
    };
    match sighting {
        Sighting::Pod(pod) => of_pod(&pod, &pods.name(&pod), lock),
        Sighting::Unseen(_) if was_of_workload(target, lock) => Fate::Dead(gone(target, sought)),
        Sighting::Unseen(why) => Fate::Unknown(Some(why)),
        Sighting::Nowhere if was_of_workload(target, lock) => Fate::Dead(gone(target, sought)),
        Sighting::Nowhere => Fate::Unknown(Some(format!(
            "no pod of this cluster has {sought}: it may be a proxy's, or a computer's outside of it"
        ))),
    }
}

fn of_pod(pod: &Pod, name: &str, lock: &Lock) -> Fate {
    let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    if is_over(pod) {
        return Fate::Dead(format!("{name} is {phase}"));
    }
    let runs = statuses(pod).any(is_running);
    match &lock.kind {
        LockKind::Row { .. } if !runs => Fate::Dead(format!("no container of {name} runs")),
        LockKind::Row { .. } | LockKind::Session { .. } => Fate::Alive(format!("{name} is {phase}")),
    }
}

fn gone(target: &Target, host: &str) -> String {
    format!("there is no pod/{host} in namespace {} any more", target.namespace)
}

/// A host that is named like the pods of this workload was one of them; any other may be a computer somewhere.
fn was_of_workload(target: &Target, lock: &Lock) -> bool {
    let Some(host) = lock.holder.host.as_ref().filter(|_| matches!(lock.kind, LockKind::Row { .. })) else { return false };
    let family = target.pod.metadata.generate_name.clone().unwrap_or_else(|| target.pod_name());
    let workload = family.trim_end_matches('-');
    // Behind the name of the workload: a hash of the template and of the pod, or an ordinal.
    let workload = workload.rsplit_once('-').map_or(workload, |(workload, _)| workload);
    host.starts_with(&format!("{workload}-"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::framework::Holder;

    fn pod(phase: &str, state: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "keeper-5d9c-x2x"}, "status": {"phase": phase, "podIP": "10.1.2.3",
            "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}}))
        .unwrap()
    }

    #[test]
    fn a_session_is_judged_by_its_pod() {
        let holder = Holder { address: Some("10.1.2.3".to_owned()), ..Holder::default() };
        let kind = LockKind::Session { id: 1, began: None };
        let lock = Lock { kind, holder, since: None, fate: Fate::default() };
        let judged = |phase: &str, state: serde_json::Value| of_pod(&pod(phase, &state), "pod/x", &lock);
        assert!(matches!(judged("Running", json!({"running": {}})), Fate::Alive(_)));
        assert!(matches!(judged("Failed", json!({"terminated": {"exitCode": 1}})), Fate::Dead(_)));
    }
}
