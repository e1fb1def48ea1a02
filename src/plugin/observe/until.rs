//! What `watch --until` waits for. Pure.

use std::str::FromStr;

use k8s_openapi::api::core::v1::Pod;

use super::facts::Facts;
use super::workload::JobState;

/// A state to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Until {
    /// All pods that should be there are ready.
    Ready,
    /// The Job, or all pods, ended well.
    Complete,
    /// The Job, or a pod, failed for good.
    Failed,
    /// This condition has this status on the workload, the Job, or all pods.
    Condition(String, String),
}

/// How far that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// It holds.
    Yes,
    /// Not yet.
    NotYet,
    /// It cannot hold any more; why.
    Never(String),
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ready" => return Ok(Self::Ready),
            "complete" => return Ok(Self::Complete),
            "failed" => return Ok(Self::Failed),
            _ => {}
        }
        let condition = text.strip_prefix("condition=").filter(|condition| !condition.is_empty());
        let condition = condition.ok_or("use ready, complete, failed, or condition=TYPE[=STATUS]")?;
        let (kind, status) = condition.split_once('=').unwrap_or((condition, "True"));
        Ok(Self::Condition(kind.to_owned(), status.to_owned()))
    }
}

impl std::fmt::Display for Until {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Complete => f.write_str("complete"),
            Self::Failed => f.write_str("failed"),
            Self::Condition(kind, status) => write!(f, "condition={kind}={status}"),
        }
    }
}

impl Until {
    /// Judges what is known.
    #[must_use]
    pub fn reached(&self, facts: &Facts) -> Reached {
        let jobs = facts.job_rows();
        let pods = facts.pod_rows();
        let yes = |holds: bool| if holds { Reached::Yes } else { Reached::NotYet };
        match self {
            Self::Ready => {
                let workload = facts.workload_row();
                let enough = workload.is_none_or(|row| row.observed && row.ready >= row.desired && row.updated >= row.desired);
                yes(enough && !pods.is_empty() && pods.iter().all(|pod| pod.is_ready))
            }
            Self::Complete => match jobs.last() {
                Some(job) if job.state == JobState::Failed => Reached::Never(format!("{} failed: {}", job.name, job.message)),
                Some(job) => yes(job.state == JobState::Complete),
                None => yes(!pods.is_empty() && pods.iter().all(|pod| matches!(pod.status.as_str(), "Completed" | "Succeeded"))),
            },
            Self::Failed => match jobs.last() {
                Some(job) if job.state == JobState::Complete => Reached::Never(format!("{} is complete", job.name)),
                Some(job) => yes(job.state == JobState::Failed),
                None => yes(facts.pods().any(|pod| phase(pod) == "Failed")),
            },
            Self::Condition(kind, status) => yes(has_condition(facts, kind, status)),
        }
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn has_condition(facts: &Facts, kind: &str, status: &str) -> bool {
    let holds = |data: serde_json::Value| {
        let conditions = data.pointer("/status/conditions").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
        let text = |condition: &serde_json::Value, key: &str| {
            condition.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_lowercase()
        };
        conditions
            .iter()
            .any(|condition| text(condition, "type") == kind.to_lowercase() && text(condition, "status") == status.to_lowercase())
    };
    if facts.workload_data().is_some_and(|data| holds(data.clone())) {
        return true;
    }
    let mut pods = facts.pods().map(|pod| serde_json::to_value(pod).unwrap_or_default()).peekable();
    pods.peek().is_some() && pods.all(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_waited_for_is_understood() {
        assert_eq!("ready".parse(), Ok(Until::Ready));
        assert_eq!("condition=Available".parse(), Ok(Until::Condition("Available".to_owned(), "True".to_owned())));
        assert_eq!("condition=Ready=false".parse(), Ok(Until::Condition("Ready".to_owned(), "false".to_owned())));
        assert!("done".parse::<Until>().is_err() && "condition=".parse::<Until>().is_err());
    }
}
