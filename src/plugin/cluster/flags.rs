//! What the user may say about the connection. Plain data: `cli` fills it in, [`super::config`] acts on it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// kubectl's connection flags, as typed. An empty value of everything means "as the kubeconfig says".
#[derive(Debug, Clone, Default)]
pub struct ConnectionFlags {
    /// `--kubeconfig`: this file alone, no merging.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// `--cluster`.
    pub cluster: Option<String>,
    /// `--user`.
    pub user: Option<String>,
    /// `-n`, `--namespace`.
    pub namespace: Option<String>,
    /// `-s`, `--server`.
    pub server: Option<String>,
    /// `--tls-server-name`.
    pub tls_server_name: Option<String>,
    /// `--insecure-skip-tls-verify`.
    pub insecure_skip_tls_verify: Option<bool>,
    /// `--certificate-authority`.
    pub certificate_authority: Option<PathBuf>,
    /// `--client-certificate`.
    pub client_certificate: Option<PathBuf>,
    /// `--client-key`.
    pub client_key: Option<PathBuf>,
    /// `--token`.
    pub token: Option<String>,
    /// `--as`.
    pub impersonate: Option<String>,
    /// `--as-group`, repeatable.
    pub impersonate_groups: Vec<String>,
    /// `--as-uid`.
    pub impersonate_uid: Option<String>,
    /// `--as-user-extra KEY=VALUE`, repeatable.
    pub impersonate_extra: Vec<String>,
    /// `--request-timeout`; `None` or zero: no limit.
    pub request_timeout: Option<Duration>,
    /// `--disable-compression`.
    pub disable_compression: Option<bool>,
}

/// The part of the process environment that decides how a cluster is reached. A value, so that tests need not touch
/// the environment of their own process.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `KUBECONFIG`: a list of paths.
    pub kubeconfig: Option<OsString>,
    /// The home folder, for `~/.kube/config`.
    pub home: Option<PathBuf>,
    /// `HTTPS_PROXY` or `https_proxy`.
    pub https_proxy: Option<String>,
    /// `HTTP_PROXY` or `http_proxy`.
    pub http_proxy: Option<String>,
    /// `NO_PROXY` or `no_proxy`.
    pub no_proxy: Option<String>,
    /// `KUBERNETES_SERVICE_HOST` is set: this process runs in a pod.
    pub in_pod: bool,
}

impl Environment {
    /// That of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let either = |upper: &str| text(upper).or_else(|| text(&upper.to_lowercase()));
        Self {
            kubeconfig: std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()),
            home: std::env::home_dir(),
            https_proxy: either("HTTPS_PROXY"),
            http_proxy: either("HTTP_PROXY"),
            no_proxy: either("NO_PROXY"),
            in_pod: text("KUBERNETES_SERVICE_HOST").is_some(),
        }
    }
}
