//! How a command ended, read from what the server says. Guesses nothing: what is not said is unknown.

use std::fmt;

use serde::Deserialize;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ran and ended with this code.
    Exited(i32),
    /// It never ran: program not found or not executable, container missing or not running.
    NotStarted(String),
    /// Nobody knows: the stream ended without an exit status. It may have ended well, failed, or still be running.
    Unknown(String),
}

impl Outcome {
    /// It ran and ended with code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        *self == Self::Exited(0)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::NotStarted(why) => write!(f, "not started: {why}"),
            Self::Unknown(why) => write!(f, "outcome unknown: {why}"),
        }
    }
}

/// A `metav1.Status`, as far as exec uses it. Own, because kube's insists on fields that old servers leave out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Status {
    status: String,
    message: String,
    reason: String,
    details: Details,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cause {
    reason: String,
    message: String,
}

/// The first bytes that a command printed: some runtimes report a failed start there, with exit code 126 or 127.
#[derive(Default)]
pub(super) struct Evidence(Vec<u8>);

impl Evidence {
    const BYTES: usize = 1024;

    pub(super) fn see(&mut self, bytes: &[u8]) {
        super::keep(&mut self.0, bytes, Self::BYTES);
    }

    /// The outcome that a status frame tells.
    pub(super) fn outcome(&self, frame: &[u8]) -> Outcome {
        let Ok(status) = serde_json::from_slice::<Status>(frame) else {
            return Outcome::Unknown("the server told an exit status that cannot be read".to_owned());
        };
        if status.status == "Success" {
            return Outcome::Exited(0);
        }
        let code = status
            .details
            .causes
            .iter()
            .find(|cause| cause.reason == "ExitCode")
            .and_then(|cause| cause.message.trim().parse().ok());
        match (code, status.reason.as_str()) {
            (Some(code @ (126 | 127)), _) => self.by_the_runtime().map_or(Outcome::Exited(code), Outcome::NotStarted),
            (Some(code), _) => Outcome::Exited(code),
            (None, _) if is_failed_start(&status.message) => Outcome::NotStarted(short(&status.message)),
            _ => Outcome::Unknown(short(&status.message)),
        }
    }

    fn by_the_runtime(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.0);
        (text.contains("OCI runtime exec failed") || text.contains("exec failed: ")).then(|| short(&text))
    }
}

/// A request to start that was refused because of the container's state.
pub(super) fn refused_start(error: &kube::Error) -> Option<Outcome> {
    let kube::Error::Api(status) = error else { return None };
    is_container_state(&status.message).then(|| Outcome::NotStarted(short(&status.message)))
}

/// The container, not the program, is why nothing could be started.
pub(in crate::cluster) fn is_container_state(message: &str) -> bool {
    const STATES: [&str; 6] = [
        "container not found",
        "is not valid for pod",
        "completed pod",
        "does not have a host assigned",
        "is not running",
        "not created or running",
    ];
    STATES.iter().any(|state| message.contains(state))
}

fn is_failed_start(message: &str) -> bool {
    const SIGNS: [&str; 5] = [
        "executable file not found",
        "no such file or directory",
        "permission denied",
        "exec format error",
        "failed to start exec",
    ];
    is_container_state(message) || SIGNS.iter().any(|sign| message.contains(sign)) || message.contains("exec failed")
}

/// Runtimes wrap the cause in layer upon layer: the innermost one says it.
fn short(message: &str) -> String {
    let message = message.trim().trim_end_matches(": unknown");
    let start = message.rfind("exec: \"").or_else(|| message.rfind("container not found"));
    start
        .map_or(message, |at| message[at..].trim_start_matches("exec: "))
        .trim_end_matches('"')
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(status: &serde_json::Value, said: &str) -> Outcome {
        let mut evidence = Evidence::default();
        evidence.see(said.as_bytes());
        evidence.outcome(status.to_string().as_bytes())
    }

    fn exit(code: i32) -> serde_json::Value {
        serde_json::json!({"status": "Failure", "reason": "NonZeroExitCode", "message": "command terminated with non-zero exit code",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]}})
    }

    #[test]
    fn exit_codes_are_read_from_the_causes() {
        assert_eq!(outcome(&serde_json::json!({"metadata": {}, "status": "Success"}), ""), Outcome::Exited(0));
        assert_eq!(outcome(&exit(7), ""), Outcome::Exited(7));
    }

    #[test]
    fn a_shell_that_exits_with_127_has_run_and_a_runtime_that_says_so_has_not() {
        assert_eq!(outcome(&exit(127), "sh: 1: nosuch: not found"), Outcome::Exited(127));
        let said = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"tar\": executable file not found in $PATH: unknown";
        assert_eq!(outcome(&exit(127), said), Outcome::NotStarted("\"tar\": executable file not found in $PATH".to_owned()));
    }

    #[test]
    fn a_status_that_says_nothing_is_unknown() {
        assert!(matches!(
            outcome(&serde_json::json!({"status": "Failure", "message": "error dialing backend"}), ""),
            Outcome::Unknown(_)
        ));
        assert!(matches!(Evidence::default().outcome(b"{"), Outcome::Unknown(_)));
    }
}
