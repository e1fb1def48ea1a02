//! kubectl's connection flags, with kubectl's names. Plain data; nothing is read or contacted here.

use std::path::PathBuf;

use clap::builder::ArgAction;
use clap::{Args, ValueHint};

use super::duration::{self, Limit};
use crate::failure::{Failure, Result};

/// How to reach the cluster. Every field is as typed; absent means "as the kubeconfig says".
///
/// It can hold a bearer token, so it cannot be printed.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// Namespace of the target
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Context of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Kubeconfig file, instead of KUBECONFIG and ~/.kube/config
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub kubeconfig: Option<PathBuf>,
    /// Cluster of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub cluster: Option<String>,
    /// User of the kubeconfig to use
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub user: Option<String>,
    /// Address and port of the API server
    #[arg(short, long, global = true, value_name = "URL", hide_short_help = true)]
    pub server: Option<String>,
    /// Bearer token for the API server; visible to everyone who can list processes
    #[arg(long, global = true, value_name = "TOKEN", hide_short_help = true)]
    pub token: Option<String>,
    /// User to impersonate
    #[arg(long = "as", global = true, value_name = "USER", hide_short_help = true)]
    pub impersonate: Option<String>,
    /// Group to impersonate; may be repeated
    #[arg(long = "as-group", global = true, value_name = "GROUP", hide_short_help = true)]
    pub impersonate_groups: Vec<String>,
    /// UID to impersonate
    #[arg(long = "as-uid", global = true, value_name = "UID", hide_short_help = true)]
    pub impersonate_uid: Option<String>,
    /// Further facts about the impersonated user; may be repeated
    #[arg(long = "as-user-extra", global = true, value_name = "KEY=VALUE", value_parser = key_and_value, hide_short_help = true)]
    pub impersonate_extra: Vec<String>,
    /// Certificate to show to the API server
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub client_certificate: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub client_key: Option<PathBuf>,
    /// Certificate authority that the API server must prove itself by
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, hide_short_help = true)]
    pub certificate_authority: Option<PathBuf>,
    /// Do not check the API server's certificate: anyone in between can read and change everything
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true)]
    pub insecure_skip_tls_verify: Option<bool>,
    /// Name that the API server's certificate must carry
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub tls_server_name: Option<String>,
    /// How long to wait for one answer of the API server: 30, 30s, 5m; 0 means for ever
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration::parse_limit, hide_short_help = true)]
    pub request_timeout: Option<Limit>,
    /// Ask the API server not to compress its answers
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true)]
    pub disable_compression: Option<bool>,
    /// Accepted as kubectl does; nothing is cached
    #[arg(long, global = true, value_name = "FOLDER", value_hint = ValueHint::DirPath, hide_short_help = true)]
    pub cache_dir: Option<PathBuf>,
    /// How much to tell on stderr about what is going on: 0 to 10
    #[arg(short = 'v', long = "v", global = true, value_name = "LEVEL", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=10), hide_default_value = true, hide_short_help = true)]
    pub verbosity: u8,
    #[arg(long, global = true, hide = true, action = ArgAction::Append)]
    username: Vec<String>,
    #[arg(long, global = true, hide = true, action = ArgAction::Append)]
    password: Vec<String>,
}

impl Connection {
    /// Refuses what kubectl itself has given up.
    ///
    /// # Errors
    /// `--username` or `--password` was given (usage).
    pub fn check(&self) -> Result<()> {
        if self.username.is_empty() && self.password.is_empty() {
            return Ok(());
        }
        Err(Failure::usage("--username and --password are not supported: Kubernetes dropped basic authentication in 1.19")
            .next("pass --token TOKEN, or name a user of the kubeconfig with --user"))
    }
}

fn key_and_value(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(text.to_owned()),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}
