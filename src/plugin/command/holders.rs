//! Whether the holder of a migration lock still lives: the pod behind a host name or an address. Reads only.

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use crate::cluster::Cluster;
use crate::cluster::pods::statuses;
use crate::cluster::target::Target;
use crate::framework::{Fate, Lock, LockKind};

/// Looks for the pods that hold locks; which pods there are is asked once for all of them.
pub(super) async fn judge(cluster: &Cluster, target: &Target, locks: impl Iterator<Item = &mut Lock>) {
    let mut traceable: Vec<&mut Lock> =
        locks.filter(|lock| lock.holder.host.is_some() || lock.holder.address.is_some()).collect();
    if traceable.is_empty() {
        return;
    }
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &target.namespace);
    let Ok(pods) = api.list(&ListParams::default()).await else { return };
    for lock in &mut traceable {
        lock.fate = fate(&pods.items, target, lock);
    }
}

fn fate(pods: &[Pod], target: &Target, lock: &Lock) -> Fate {
    let pod = pods.iter().find(|pod| is_holder(pod, lock));
    match (pod, &lock.kind) {
        (Some(pod), _) => of_pod(pod, lock),
        (None, LockKind::Row { .. }) => gone(target, lock),
        // The server has the session; whoever is behind it may be outside this namespace.
        (None, LockKind::Session { .. }) => Fate::Unknown,
    }
}

fn is_holder(pod: &Pod, lock: &Lock) -> bool {
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
    let by_address = ip.is_some() && ip == lock.holder.address.as_deref();
    by_address || lock.holder.host.as_ref() == Some(&pod.name_any())
}

fn of_pod(pod: &Pod, lock: &Lock) -> Fate {
    let name = pod.name_any();
    let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    if matches!(phase.as_str(), "Succeeded" | "Failed") {
        return Fate::Dead(format!("pod/{name} is {phase}"));
    }
    let runs = statuses(pod).any(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
    match &lock.kind {
        LockKind::Row { .. } if !runs => Fate::Dead(format!("no container of pod/{name} runs")),
        LockKind::Row { .. } | LockKind::Session { .. } => Fate::Alive(format!("pod/{name} is {phase}")),
    }
}

/// A host that is named like the pods of this workload was one of them; any other may be a computer somewhere.
fn gone(target: &Target, lock: &Lock) -> Fate {
    let Some(host) = &lock.holder.host else { return Fate::Unknown };
    let family = target.pod.metadata.generate_name.clone().unwrap_or_else(|| target.pod_name());
    let workload = family.trim_end_matches('-');
    // Behind the name of the workload: a hash of the template and of the pod, or an ordinal.
    let workload = workload.rsplit_once('-').map_or(workload, |(workload, _)| workload);
    match host.starts_with(&format!("{workload}-")) {
        true => Fate::Dead(format!("there is no pod/{host} in namespace {} any more", target.namespace)),
        false => Fate::Unknown,
    }
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

    fn session(address: &str) -> Lock {
        let holder = Holder { address: Some(address.to_owned()), ..Holder::default() };
        Lock { kind: LockKind::Session { id: 1, began: None }, holder, since: None, fate: Fate::Unknown }
    }

    #[test]
    fn a_holder_is_known_by_its_address_and_judged_by_its_pod() {
        let running = pod("Running", &json!({"running": {}}));
        assert!(is_holder(&running, &session("10.1.2.3")) && !is_holder(&running, &session("10.1.2.4")));
        assert!(matches!(of_pod(&running, &session("10.1.2.3")), Fate::Alive(_)));
        assert!(matches!(of_pod(&pod("Failed", &json!({"terminated": {"exitCode": 1}})), &session("10.1.2.3")), Fate::Dead(_)));
    }
}
