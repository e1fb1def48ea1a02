//! Runs the credential plugin (`exec`) of a kubeconfig. Never prints or keeps what it returns anywhere else.
//!
//! Protocol: client.authentication.k8s.io v1 and v1beta1, as client-go speaks it. kube would run the plugin three
//! times for each client, which means three prompts.

use std::io::IsTerminal as _;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use jiff::{SignedDuration, Timestamp};
use kube::config::{AuthInfo, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;

use crate::failure::{Failure, Result};

/// How long before a credential expires a new one is fetched, if it lives that long at all.
const MARGIN: SignedDuration = SignedDuration::from_secs(60);

/// What the plugin returned.
pub(super) struct Credential {
    status: Status,
    /// From then on a new one is needed.
    pub(super) renew_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct ExecCredential {
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

impl Credential {
    /// Writes it into `user`, where kube looks for static credentials.
    pub(super) fn apply(&self, user: &mut AuthInfo) {
        let encode = |pem: &String| base64::engine::general_purpose::STANDARD.encode(pem);
        if let Some(token) = &self.status.token {
            user.token = Some(token.clone().into());
        }
        if let (Some(certificate), Some(key)) = (&self.status.client_certificate_data, &self.status.client_key_data) {
            user.client_certificate_data = Some(encode(certificate));
            user.client_key_data = Some(encode(key).into());
        }
    }
}

/// Runs the plugin once. It may ask on the terminal, so call it before any full screen.
pub(super) async fn obtain(plugin: &ExecConfig) -> Result<Credential> {
    let name = plugin.command.as_deref().filter(|command| !command.is_empty());
    let name = name.ok_or_else(|| Failure::failed("the kubeconfig names a credential plugin without a command"))?;
    let mut command = tokio::process::Command::new(name);
    command.args(plugin.args.iter().flatten()).envs(variables(plugin)).env("KUBERNETES_EXEC_INFO", request(plugin)?);
    command.stdin(if interactive(plugin)? { Stdio::inherit() } else { Stdio::null() });
    command.stderr(Stdio::inherit()).stdout(Stdio::piped()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| cannot_run(plugin, name, &error))?;
    if !output.status.success() {
        return Err(Failure::failed(format!("getting credentials: the credential plugin {name} failed with {}", output.status))
            .next(format!("log in again with {name}, or see what it said above")));
    }
    understand(name, &output.stdout)
}

fn cannot_run(plugin: &ExecConfig, name: &str, error: &std::io::Error) -> Failure {
    let failure = Failure::failed(format!("getting credentials: exec: executable {name} cannot be run")).fact(error.to_string());
    match &plugin.install_hint {
        Some(hint) => failure.facts(hint.trim().lines()),
        None => failure.next(format!("install {name}, or put it on the PATH")),
    }
}

fn variables(plugin: &ExecConfig) -> impl Iterator<Item = (&String, &String)> {
    plugin.env.iter().flatten().filter_map(|entry| Some((entry.get("name")?, entry.get("value")?)))
}

fn interactive(plugin: &ExecConfig) -> Result<bool> {
    let terminal = std::io::stdin().is_terminal();
    match plugin.interactive_mode {
        Some(ExecInteractiveMode::Never) => Ok(false),
        Some(ExecInteractiveMode::Always) if !terminal => {
            Err(Failure::failed("the credential plugin of the kubeconfig needs to ask on a terminal, and there is none"))
        }
        _ => Ok(terminal),
    }
}

fn request(plugin: &ExecConfig) -> Result<String> {
    let version = plugin.api_version.as_deref().unwrap_or_default();
    if !matches!(version, "client.authentication.k8s.io/v1" | "client.authentication.k8s.io/v1beta1") {
        return Err(Failure::failed(format!(
            "the credential plugin of the kubeconfig has the apiVersion {version:?}, which is not supported"
        ))
        .fact("supported: client.authentication.k8s.io/v1, client.authentication.k8s.io/v1beta1")
        .next("let your provider's tool write the kubeconfig again"));
    }
    let mut spec = serde_json::json!({ "interactive": interactive(plugin)? });
    if let Some(cluster) = &plugin.cluster {
        spec["cluster"] = serde_json::to_value(cluster).map_err(|error| Failure::failed(error.to_string()))?;
    }
    Ok(serde_json::json!({ "kind": "ExecCredential", "apiVersion": version, "spec": spec }).to_string())
}

fn understand(name: &str, stdout: &[u8]) -> Result<Credential> {
    let unusable = |why: &str| Failure::failed(format!("getting credentials: the credential plugin {name} {why}"));
    // YAML holds JSON, and client-go takes both. The parser's own text is left out: it could show a token.
    let answer: ExecCredential = serde_saphyr::from_slice(stdout).map_err(|_| unusable("printed no ExecCredential object"))?;
    let status = answer.status.ok_or_else(|| unusable("printed an ExecCredential without a status"))?;
    if status.token.is_none() && (status.client_certificate_data.is_none() || status.client_key_data.is_none()) {
        return Err(unusable("returned neither a token nor a certificate with its key"));
    }
    let expires: Option<Timestamp> = match status.expiration_timestamp.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => {
            Some(text.parse().map_err(|_| unusable(&format!("returned the expirationTimestamp {text:?}, which is no time")))?)
        }
        None => None,
    };
    Ok(Credential { status, renew_at: expires.map(|at| renewal(Timestamp::now(), at)) })
}

/// A minute early, or half-way through for those that live less than two: never at once, which would run the plugin for every request.
fn renewal(now: Timestamp, expires: Timestamp) -> Timestamp {
    let left = expires.duration_since(now).max(SignedDuration::ZERO);
    let wait = (left - MARGIN).max(left / 2);
    now.checked_add(Duration::try_from(wait).unwrap_or_default()).unwrap_or(expires)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_lived_token_is_renewed_half_way_and_a_long_lived_one_a_minute_early() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(renewal(now, at(3600)), at(3540));
        assert_eq!(renewal(now, at(60)), at(30));
        assert_eq!(renewal(now, at(-5)), now);
    }

    #[test]
    fn what_the_plugin_printed_is_never_repeated() {
        let failure = understand("p", b"token: hunter2 {{{").err().unwrap();
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
    }

    #[test]
    fn yaml_is_understood_as_well_as_json() {
        assert!(understand("p", b"status:\n  token: abc\n").is_ok());
        assert!(understand("p", br#"{"status":{"token":"abc"}}"#).is_ok());
    }
}
