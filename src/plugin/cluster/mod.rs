//! Kubernetes: how the plugin reaches a cluster, finds what the user named, and runs commands in it. Prints nothing.

pub mod access;
pub mod agent;
mod at_rest;
pub mod bare_pod;
pub mod claim;
pub mod config;
mod credential;
pub mod ephemeral;
pub mod error;
pub mod exec;
pub mod flags;
pub mod forward;
pub mod helm;
pub mod helper;
pub mod image;
pub mod job;
pub mod kind;
pub mod names;
pub mod node;
pub mod owner;
pub mod payload;
pub mod pods;
mod proxy;
mod pump;
pub mod quit;
pub mod rebind;
pub mod relay;
pub mod rollout;
pub mod seat;
pub mod service;
pub mod setting;
pub mod snapshot;
pub mod target;
pub mod transfer;
mod transport;
pub mod twin;
pub mod upload;
pub mod vault;
pub mod version;
pub mod volume;
pub mod workload;
mod workload_pods;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use kube::api::PatchParams;
use tokio::sync::OnceCell;

pub use self::config::Source;
pub use self::error::Context;
pub use self::flags::{ConnectionFlags, Environment};
use crate::failure::Result;

/// Value of `app.kubernetes.io/managed-by` on everything we create.
pub const MANAGED_BY: &str = "kubectl-dbmig";

/// A change that the API server writes down as ours.
#[must_use]
pub fn as_ours() -> PatchParams {
    PatchParams { field_manager: Some(MANAGED_BY.to_owned()), ..PatchParams::default() }
}

/// A connection to one API server as one user. Cheap to clone; all clones share it.
#[derive(Clone)]
pub struct Cluster {
    /// Reads are repeated when the server is busy or the connection breaks, changes never.
    pub client: kube::Client,
    /// Namespace that counts when an object's own is not given.
    pub namespace: String,
    /// Context of the kubeconfig, if one was chosen.
    pub context: Option<String>,
    /// Address of the API server.
    pub server: String,
    /// Name of the user in the kubeconfig; the API server may call the same user otherwise.
    pub user: Option<String>,
    /// `--as`.
    pub impersonating: Option<String>,
    /// Where the settings came from.
    pub source: Source,
    /// What the user said about the connection, for a program that connects by itself.
    pub flags: Arc<ConnectionFlags>,
    features: Arc<OnceCell<version::Features>>,
    /// No port could be forwarded: it is not tried again.
    forwards_nothing: Arc<AtomicBool>,
}

impl Cluster {
    /// The same with another namespace in force.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    /// What a person should be told about the connection before anything else: that it is the pod's own.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        (self.source == Source::InCluster)
            .then(|| format!("no kubeconfig found: using the service account of this pod with {}", self.server))
    }
}

/// Connects as the flags and this process's environment say. Runs the credential plugin of the kubeconfig, once.
///
/// Contacts the API server only through that plugin: a server that does not answer shows with the first request.
///
/// # Errors
/// Kubeconfig missing, unreadable or contradictory; something in it that is not supported; a credential plugin that fails.
pub async fn connect(flags: &ConnectionFlags) -> Result<Cluster> {
    connect_in(flags, &Environment::of_process()).await
}

/// [`connect`] with a given environment.
///
/// # Errors
/// As [`connect`].
pub async fn connect_in(flags: &ConnectionFlags, environment: &Environment) -> Result<Cluster> {
    let settings = config::load(flags, environment)?;
    let client = transport::open(&settings).await?;
    Ok(Cluster {
        client,
        namespace: settings.namespace,
        context: settings.context,
        server: settings.config.cluster_url.to_string().trim_end_matches('/').to_owned(),
        user: settings.user,
        impersonating: settings.config.auth_info.impersonate,
        source: settings.source,
        flags: Arc::new(flags.clone()),
        features: Arc::new(OnceCell::new()),
        forwards_nothing: Arc::default(),
    })
}
