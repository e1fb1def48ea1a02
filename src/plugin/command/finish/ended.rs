//! A Job that follows no more, before anybody told it where to end: how it ended, what is left of its work, and the way on.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use super::desk::exit_code;
use crate::cli::finish::Args;
use crate::cluster::helper::LABEL_OPERATION;
use crate::cluster::target::Target;
use crate::cluster::volume::is_finished;
use crate::command::pair::Pair;
use crate::command::session::Session;
use crate::command::start;
use crate::failure::Failure;
use crate::replication::slot;
use crate::ui::human::bytes;

/// Why there is nothing to finish; `None` while it follows.
pub(super) async fn ended(session: &Session, target: &Target, args: &Args, id: &str) -> Option<Failure> {
    let (container, pod) = (&target.container, target.pod_name());
    let code = exit_code(target);
    if code.is_none() && !is_finished(&target.pod) {
        return None;
    }
    let how = match (reason(&target.pod), code) {
        (Some(reason), _) => format!("pod/{pod} has ended: {reason}"),
        (None, Some(code)) => format!("container {container} of pod/{pod} has ended with exit code {code}"),
        (None, None) => format!("pod/{pod} has ended"),
    };
    let mut failure = Failure::refused(how).fact("nobody follows the source any more: what is written now is not on the target");
    if code == Some(0) {
        failure = failure.fact("pgcopydb ends like that, too, when a signal reaches all of its processes");
    }
    let failure = failure.state("nothing was changed").next(format!("kubectl dbmig logs {}", target.asked));
    Some(with_way_on(session, target, args, id, failure).await)
}

/// What the kubelet says of a pod that it ended itself: `Evicted: The node was low on resource: memory.`
fn reason(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let reason = status.reason.as_ref()?;
    Some(status.message.iter().fold(reason.clone(), |reason, message| format!("{reason}: {}", message.trim())))
}

async fn with_way_on(session: &Session, target: &Target, args: &Args, id: &str, failure: Failure) -> Failure {
    let namespace = &target.namespace;
    let anew = anew(target);
    let kept = match of_source(session, target, &args.slot_name, id).await {
        Err(why) => return failure.fact(format!("what is left of its slot is not known: {}", why.in_a_line())).next(anew),
        Ok(None) => {
            let gone =
                format!("the source has no replication slot {} any more: its changes are lost to this copy", args.slot_name);
            return failure.fact(gone).next(anew);
        }
        Ok(Some(kept)) => kept,
    };
    let failure =
        failure.fact(format!("slot {} keeps {} on the source's disk, and more with each write", args.slot_name, bytes(kept)));
    match target.pod.labels().get(LABEL_OPERATION).filter(|id| id.starts_with(start::NAME)) {
        Some(id) => failure.next(format!("kubectl dbmig resume {id} -n {namespace}   # follows on where it stopped")),
        None => failure.next(drop_slot(&args.slot_name)).next(anew),
    }
}

/// How a copy that can't go on is begun again.
pub(super) fn anew(target: &Target) -> String {
    format!("to begin again: kubectl delete {} -n {}, and have a target without tables", target.asked, target.namespace)
}

/// What has to go first, where it is still there.
pub(super) fn drop_slot(name: &str) -> String {
    format!("SELECT pg_drop_replication_slot('{name}')   -- on the source, when it is not to be followed any more")
}

/// Bytes that the slot keeps; `None`: there is no slot.
async fn of_source(session: &Session, target: &Target, name: &str, id: &str) -> crate::failure::Result<Option<u64>> {
    let reaching = Pair::reach(&session.cluster, &session.stop, &target.pod, &target.container, id);
    let pair = session.stop.interruptible(reaching).await??;
    let found = slot(&*pair.source, name).await;
    pair.leave(&session.cluster).await?;
    Ok(found?.map(|slot| slot.retained.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eviction_is_told_in_the_kubelets_words() {
        let pod = |status| serde_json::from_value::<Pod>(serde_json::json!({ "status": status })).unwrap();
        let evicted = pod(serde_json::json!({"reason": "Evicted", "message": "The node was low on resource: memory. "}));
        assert_eq!(reason(&evicted).as_deref(), Some("Evicted: The node was low on resource: memory."));
        assert_eq!(reason(&pod(serde_json::json!({"phase": "Failed"}))), None);
    }
}
