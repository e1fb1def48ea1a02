//! Kubeconfig files and flags become one kube [`Config`], as kubectl would do it. Reads files; contacts nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use http::Uri;
use kube::Config;
use kube::config::{AuthInfo, Cluster, Context, ExecConfig, Kubeconfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::flags::{ConnectionFlags, Environment};
use super::proxy::proxy_for;
use crate::failure::{Failure, Result};

/// Where the connection's settings came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// These files (or flags alone, when the list is empty).
    Kubeconfig(Vec<PathBuf>),
    /// The service account of the pod that this process runs in.
    InCluster,
}

/// Everything needed to connect; the credential plugin has not run yet.
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) plugin: Option<ExecConfig>,
    pub(super) namespace: String,
    pub(super) context: Option<String>,
    pub(super) user: Option<String>,
    pub(super) source: Source,
    pub(super) request_timeout: Option<Duration>,
}

/// Loads what kubectl would load: `--kubeconfig` alone, else the `KUBECONFIG` list, else `~/.kube/config`, else the
/// service account of the pod we run in.
pub(super) fn load(flags: &ConnectionFlags, environment: &Environment) -> Result<Settings> {
    let Some((kubeconfig, files)) = read_files(flags, environment)? else {
        return in_cluster(flags);
    };
    let chosen = Chosen::from(kubeconfig, flags)?;
    chosen.settings(flags, environment, Source::Kubeconfig(files))
}

/// Names of the contexts in the kubeconfig, in its order.
///
/// # Errors
/// Files that cannot be read or understood.
pub fn context_names(flags: &ConnectionFlags, environment: &Environment) -> Result<Vec<String>> {
    let loaded = read_files(flags, environment)?;
    Ok(loaded.map(|(kubeconfig, _)| kubeconfig.contexts.into_iter().map(|named| named.name).collect()).unwrap_or_default())
}

/// `None`: there is no file, and nobody named one.
fn read_files(flags: &ConnectionFlags, environment: &Environment) -> Result<Option<(Kubeconfig, Vec<PathBuf>)>> {
    if let Some(path) = &flags.kubeconfig {
        return Ok(Some((read_file(path)?, vec![path.clone()])));
    }
    let (candidates, named) = match &environment.kubeconfig {
        Some(list) => (std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect::<Vec<_>>(), true),
        None => (environment.home.iter().map(|home| home.join(".kube").join("config")).collect(), false),
    };
    let present: Vec<PathBuf> = candidates.iter().filter(|path| path.exists()).cloned().collect();
    if present.is_empty() {
        if flags.server.is_some() {
            return Ok(Some((Kubeconfig::default(), Vec::new())));
        }
        return if named && !candidates.is_empty() { Err(all_absent(&candidates)) } else { absent(environment, &candidates) };
    }
    let mut merged = Kubeconfig::default();
    for path in &present {
        merged = merged.merge(read_file(path)?).map_err(|error| {
            Failure::failed(format!("cannot merge {} with the files before it in KUBECONFIG", path.display()))
                .fact(error.to_string())
        })?;
    }
    Ok(Some((merged, present)))
}

fn all_absent(candidates: &[PathBuf]) -> Failure {
    Failure::failed("none of the files that KUBECONFIG names is there")
        .facts(candidates.iter().map(|path| path.display().to_string()))
        .next("set KUBECONFIG, or give --kubeconfig FILE")
}

fn absent<T>(environment: &Environment, candidates: &[PathBuf]) -> Result<Option<T>> {
    if environment.in_pod {
        return Ok(None);
    }
    let looked = candidates.iter().map(|path| format!("looked for {}", path.display()));
    Err(Failure::failed("no kubeconfig found, and this is not a pod of a cluster")
        .facts(looked)
        .next("set KUBECONFIG, or give --kubeconfig FILE"))
}

fn read_file(path: &Path) -> Result<Kubeconfig> {
    Kubeconfig::read_from(path).map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        // A parser's excerpt could show a token: only its first line is told.
        Failure::failed(format!("cannot read the kubeconfig {}", path.display()))
            .fact(cause.lines().next().unwrap_or_default().to_owned())
    })
}

fn in_cluster(flags: &ConnectionFlags) -> Result<Settings> {
    let mut config = Config::incluster_env().map_err(|error| {
        Failure::failed("no kubeconfig found, and the service account of this pod cannot be used").fact(error.to_string())
    })?;
    finish(&mut config);
    if let Some(server) = &flags.server {
        config.cluster_url = server_url(server)?;
    }
    edit_user(&mut config.auth_info, flags)?;
    check_impersonation(&config.auth_info)?;
    let namespace = flags.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    Ok(Settings {
        config,
        plugin: None,
        namespace,
        context: None,
        user: None,
        source: Source::InCluster,
        request_timeout: limit(flags),
    })
}

/// The entries of the kubeconfig that count, with the flags written over them.
struct Chosen {
    context_name: Option<String>,
    user_name: Option<String>,
    namespace: Option<String>,
    cluster: Cluster,
    user: AuthInfo,
}

impl Chosen {
    fn from(kubeconfig: Kubeconfig, flags: &ConnectionFlags) -> Result<Self> {
        let current = kubeconfig.current_context.filter(|name| !name.is_empty());
        let context_name = flags.context.clone().or(current);
        let contexts = kubeconfig.contexts.into_iter().filter_map(|named| Some((named.name, named.context?))).collect::<Vec<_>>();
        let context = pick("context", contexts, context_name.as_ref())?.unwrap_or_else(Context::default);
        let cluster_name = flags.cluster.clone().or(Some(context.cluster)).filter(|name| !name.is_empty());
        let clusters = kubeconfig.clusters.into_iter().filter_map(|named| Some((named.name, named.cluster?))).collect();
        let mut cluster = pick("cluster", clusters, cluster_name.as_ref())?.unwrap_or_default();
        let user_name = flags.user.clone().or(context.user).filter(|name| !name.is_empty());
        // An entry without anything in it is legal: client-go takes it for an anonymous user.
        let users = kubeconfig.auth_infos.into_iter().map(|named| (named.name, named.auth_info.unwrap_or_default())).collect();
        let mut user = pick("user", users, user_name.as_ref())?.unwrap_or_default();
        edit_cluster(&mut cluster, flags);
        edit_user(&mut user, flags)?;
        Ok(Self { context_name, user_name, namespace: context.namespace, cluster, user })
    }

    fn settings(mut self, flags: &ConnectionFlags, environment: &Environment, source: Source) -> Result<Settings> {
        let server = self.cluster.server.as_deref().filter(|server| !server.is_empty()).ok_or_else(|| {
            Failure::usage("no API server: the kubeconfig has no current context with a cluster")
                .next("kubectl config get-contexts")
                .next("kubectl config use-context NAME, or give --context NAME")
        })?;
        let url = server_url(server)?;
        refuse_unsupported(&self.user)?;
        check_impersonation(&self.user)?;
        let mut plugin = self.user.exec.take();
        if self.user.token.is_some() || self.user.token_file.is_some() {
            plugin = None;
        }
        if let Some(exec) = plugin.as_mut().filter(|exec| exec.provide_cluster_info) {
            let cluster = (&self.cluster).try_into();
            exec.cluster = Some(cluster.map_err(|error: kube::config::KubeconfigError| certificate_failure(&error))?);
        }
        let mut config = Config::new(url);
        config.proxy_url = proxy_for(&config.cluster_url, self.cluster.proxy_url.as_deref(), environment)?;
        config.accept_invalid_certs = self.cluster.insecure_skip_tls_verify.unwrap_or(false);
        config.root_cert = root_certificates(&self.cluster)?;
        if config.accept_invalid_certs && config.root_cert.is_some() {
            return Err(Failure::usage("specifying a root certificates file with the insecure flag is not allowed"));
        }
        config.tls_server_name = self.cluster.tls_server_name;
        config.disable_compression = self.cluster.disable_compression.unwrap_or(false);
        config.auth_info = self.user;
        let namespace = flags.namespace.clone().or(self.namespace).filter(|name| !name.is_empty());
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        config.default_namespace.clone_from(&namespace);
        finish(&mut config);
        let request_timeout = limit(flags);
        Ok(Settings { config, plugin, namespace, context: self.context_name, user: self.user_name, source, request_timeout })
    }
}

fn pick<T>(kind: &str, entries: Vec<(String, T)>, name: Option<&String>) -> Result<Option<T>> {
    let Some(name) = name else { return Ok(None) };
    let known: Vec<String> = entries.iter().map(|(name, _)| name.clone()).collect();
    let found = entries.into_iter().find(|(entry, _)| entry == name);
    found.map(|(_, value)| Some(value)).ok_or_else(|| {
        let failure = Failure::usage(format!("{kind} {name:?} does not exist in the kubeconfig"));
        let failure = if known.is_empty() { failure } else { failure.fact(format!("there are: {}", known.join(", "))) };
        failure.next("kubectl config get-contexts")
    })
}

fn edit_cluster(cluster: &mut Cluster, flags: &ConnectionFlags) {
    if flags.server.is_some() {
        cluster.server.clone_from(&flags.server);
    }
    if flags.tls_server_name.is_some() {
        cluster.tls_server_name.clone_from(&flags.tls_server_name);
    }
    if flags.disable_compression.is_some() {
        cluster.disable_compression = flags.disable_compression;
    }
    if let Some(path) = &flags.certificate_authority {
        cluster.certificate_authority = Some(path.display().to_string());
        cluster.certificate_authority_data = None;
        cluster.insecure_skip_tls_verify = None;
    }
    if let Some(insecure) = flags.insecure_skip_tls_verify {
        cluster.insecure_skip_tls_verify = Some(insecure);
        // Only what the file says gives way; both as flags is a contradiction that is refused later.
        if insecure && flags.certificate_authority.is_none() {
            cluster.certificate_authority = None;
            cluster.certificate_authority_data = None;
        }
    }
}

fn edit_user(user: &mut AuthInfo, flags: &ConnectionFlags) -> Result<()> {
    if let Some(token) = &flags.token {
        user.token = Some(token.clone().into());
        (user.token_file, user.username, user.password, user.auth_provider, user.exec) = (None, None, None, None, None);
    }
    if let Some(path) = &flags.client_certificate {
        user.client_certificate = Some(path.display().to_string());
        user.client_certificate_data = None;
    }
    if let Some(path) = &flags.client_key {
        user.client_key = Some(path.display().to_string());
        user.client_key_data = None;
    }
    if flags.impersonate.is_some() {
        user.impersonate.clone_from(&flags.impersonate);
    }
    if flags.impersonate_uid.is_some() {
        user.impersonate_uid.clone_from(&flags.impersonate_uid);
    }
    if !flags.impersonate_groups.is_empty() {
        user.impersonate_groups = Some(flags.impersonate_groups.clone());
    }
    if !flags.impersonate_extra.is_empty() {
        user.impersonate_user_extra = Some(extra(&flags.impersonate_extra)?);
    }
    Ok(())
}

fn extra(pairs: &[String]) -> Result<HashMap<String, Vec<String>>> {
    let mut extra: HashMap<String, Vec<String>> = HashMap::new();
    for pair in pairs {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Failure::usage(format!("--as-user-extra must be KEY=VALUE, not {pair:?}")))?;
        extra.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    Ok(extra)
}

fn check_impersonation(user: &AuthInfo) -> Result<()> {
    let filled = |groups: &Option<Vec<String>>| groups.as_ref().is_some_and(|groups| !groups.is_empty());
    let more = user.impersonate_uid.is_some()
        || filled(&user.impersonate_groups)
        || user.impersonate_user_extra.as_ref().is_some_and(|extra| !extra.is_empty());
    if more && user.impersonate.as_ref().is_none_or(String::is_empty) {
        return Err(Failure::usage("requesting uid, groups or user-extra without impersonating a user").next("add --as USER"));
    }
    Ok(())
}

fn refuse_unsupported(user: &AuthInfo) -> Result<()> {
    let Some(provider) = &user.auth_provider else { return Ok(()) };
    let instead = match provider.name.as_str() {
        "oidc" if user.exec.is_some() => {
            return Err(Failure::usage("the user has both exec and auth-provider, which cannot be combined"));
        }
        "oidc" => return Ok(()),
        "gcp" => "gke-gcloud-auth-plugin: gcloud container clusters get-credentials NAME",
        "azure" => "kubelogin: kubelogin convert-kubeconfig",
        _ => "a credential plugin (exec) of your provider",
    };
    Err(Failure::failed(format!("the kubeconfig uses the auth-provider {:?}, which is not supported", provider.name))
        .fact("kubectl removed it too, in version 1.26")
        .next(format!("switch to {instead}")))
}

fn server_url(server: &str) -> Result<Uri> {
    let with_scheme = if server.contains("://") { server.to_owned() } else { format!("https://{server}") };
    let url: Uri = with_scheme.parse().map_err(|_| Failure::usage(format!("{server:?} is not a valid server address")))?;
    match (url.scheme_str(), url.host()) {
        (Some("http" | "https"), Some(_)) => Ok(url),
        _ => Err(Failure::usage(format!("{server:?} is not a valid server address")).next("write https://HOST:PORT")),
    }
}

fn root_certificates(cluster: &Cluster) -> Result<Option<Vec<Vec<u8>>>> {
    let (pem, origin) = if let Some(data) = &cluster.certificate_authority_data {
        let origin = "certificate-authority-data of the kubeconfig".to_owned();
        let pem = base64::engine::general_purpose::STANDARD.decode(data.trim());
        (pem.map_err(|error| Failure::failed(format!("{origin} is not valid base64")).fact(error.to_string()))?, origin)
    } else if let Some(path) = cluster.certificate_authority.as_deref().filter(|path| !path.is_empty()) {
        let pem = std::fs::read(path)
            .map_err(|error| Failure::failed(format!("cannot read the certificate authority {path}")).fact(error.to_string()))?;
        (pem, path.to_owned())
    } else {
        return Ok(None);
    };
    let certificates: Result<Vec<Vec<u8>>, _> =
        CertificateDer::pem_slice_iter(&pem).map(|item| item.map(|der| der.to_vec())).collect();
    match certificates {
        Ok(list) if !list.is_empty() => Ok(Some(list)),
        _ => Err(Failure::failed(format!("{origin} holds no certificate in PEM form"))),
    }
}

fn certificate_failure(error: &kube::config::KubeconfigError) -> Failure {
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Failure::failed("cannot read the certificate authority of the kubeconfig").fact(cause)
}

fn finish(config: &mut Config) {
    // kube's own retry repeats every verb, evictions and creations included, for minutes.
    config.default_retry = false;
    let agent = http::HeaderValue::from_static(concat!("kubectl-dbmig/", env!("CARGO_PKG_VERSION")));
    config.headers.push((http::header::USER_AGENT, agent));
}

fn limit(flags: &ConnectionFlags) -> Option<Duration> {
    flags.request_timeout.filter(|limit| !limit.is_zero())
}
