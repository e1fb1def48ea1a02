//! Events of the cluster (`kubectl get events`) as rows; which of them explain a failure. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt as _;

/// What the cluster says happened to an object.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// When it happened last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
    /// How often.
    pub count: i32,
    /// Somebody should look.
    pub warning: bool,
    /// The kubelet's or controller's word: `FailedMount`.
    pub reason: String,
    /// `pod/upmeter-0`.
    pub object: String,
    /// Uid of the object.
    #[serde(skip)]
    pub uid: String,
    /// Namespace.
    pub namespace: String,
    /// In words.
    pub message: String,
    /// It tells why something does not come up.
    pub explains: bool,
}

/// Reasons of events that explain why something does not come up, as written by kubelet, scheduler and controllers
/// (kubernetes: `pkg/kubelet/events/event.go` and the controllers' own).
const EXPLAINING: [&str; 27] = [
    "FailedCreate",
    "FailedScheduling",
    "FailedMount",
    "FailedAttachVolume",
    "FailedMapVolume",
    "FailedBinding",
    "ProvisioningFailed",
    "FailedCreatePodSandBox",
    "FailedCreatePodContainer",
    "Failed",
    "ErrImageNeverPull",
    "InspectFailed",
    "BackOff",
    "Unhealthy",
    "OOMKilling",
    "SystemOOM",
    "Evicted",
    "Preempted",
    "TaintManagerEviction",
    "NodeNotReady",
    "FailedKillPod",
    "FailedValidation",
    "NetworkNotReady",
    "BackoffLimitExceeded",
    "DeadlineExceeded",
    "FailedPreStopHook",
    "FailedPostStartHook",
];

impl Incident {
    /// Reads an event of either form: with first and last time, or with a time and a series.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        let object = &event.involved_object;
        let series = event.series.as_ref();
        let last = series.and_then(|series| series.last_observed_time.as_ref()).or(event.event_time.as_ref()).map(|time| time.0);
        let last = last.or_else(|| event.last_timestamp.as_ref().or(event.first_timestamp.as_ref()).map(|time| time.0));
        let reason = event.reason.clone().unwrap_or_default();
        let warning = event.type_.as_deref() == Some("Warning");
        Self {
            last: last.or_else(|| event.creation_timestamp().map(|time| time.0)),
            count: series.and_then(|series| series.count).or(event.count).unwrap_or(1).max(1),
            explains: warning && EXPLAINING.contains(&reason.as_str()),
            warning,
            reason,
            object: format!(
                "{}/{}",
                object.kind.as_deref().unwrap_or_default().to_lowercase(),
                object.name.as_deref().unwrap_or_default()
            ),
            uid: object.uid.clone().unwrap_or_default(),
            namespace: object.namespace.clone().or_else(|| event.namespace()).unwrap_or_default(),
            message: event.message.clone().unwrap_or_default().trim().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_event_are_read() {
        let old = serde_json::json!({"metadata": {"name": "a"}, "involvedObject": {"kind": "Pod", "name": "p", "uid": "u"}, "type": "Warning",
            "reason": "BackOff", "message": " restarting\n", "count": 7, "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:09:00Z"});
        let old = Incident::of(&serde_json::from_value(old).unwrap());
        assert_eq!((old.object.as_str(), old.count, old.explains, old.message.as_str()), ("pod/p", 7, true, "restarting"));
        assert_eq!(old.last.unwrap().to_string(), "2026-01-01T00:09:00Z");
        let new = serde_json::json!({"metadata": {"name": "b"}, "involvedObject": {}, "type": "Normal", "reason": "BackOff",
            "eventTime": "2026-01-01T00:00:00.000000Z", "series": {"count": 3, "lastObservedTime": "2026-01-01T00:05:00.000000Z"}});
        let new = Incident::of(&serde_json::from_value(new).unwrap());
        assert_eq!((new.count, new.explains, new.last.unwrap().to_string().as_str()), (3, false, "2026-01-01T00:05:00Z"));
    }
}
