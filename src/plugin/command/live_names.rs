//! Names for completion, from the kubeconfig and the cluster. Silent: what cannot be learnt is empty.

use std::future::Future;

use super::complete::Names;
use super::session::flags;
use crate::cli::connection::Connection;
use crate::cluster::config::context_names;
use crate::cluster::kind::{Kind, TargetRef};
use crate::cluster::target::Target;
use crate::cluster::{Cluster, ConnectionFlags, Environment, connect, names};
use crate::plan::Store;

/// Asks anew for each kind of name: a completion asks for one.
pub(super) struct LiveNames(ConnectionFlags);

impl LiveNames {
    /// With the connection flags on the line that is being typed.
    pub(super) fn new(typed: &Connection) -> Self {
        Self(flags(typed))
    }

    /// `complete` caps the time that this takes.
    fn ask<F: Future<Output = Vec<String>>>(&self, question: impl FnOnce(Cluster) -> F) -> Vec<String> {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
        runtime.block_on(async {
            match connect(&self.0).await {
                Ok(cluster) => question(cluster).await,
                Err(_) => Vec::new(),
            }
        })
    }
}

impl Names for LiveNames {
    fn objects(&self, kind: Kind) -> Vec<String> {
        self.ask(|cluster| async move { names::objects(&cluster, kind, &cluster.namespace).await })
    }

    fn containers(&self, target: &[String]) -> Vec<String> {
        let Ok(asked) = TargetRef::parse(target) else { return Vec::new() };
        self.ask(|cluster| async move {
            match Target::resolve(&cluster, &asked, None).await {
                Ok(found) => names::containers(&cluster, &found.namespace, &found.pod_name()).await,
                Err(_) => Vec::new(),
            }
        })
    }

    fn contexts(&self) -> Vec<String> {
        context_names(&self.0, &Environment::of_process()).unwrap_or_default()
    }

    fn namespaces(&self) -> Vec<String> {
        self.ask(|cluster| async move { names::namespaces(&cluster).await })
    }

    fn operations(&self) -> Vec<String> {
        self.ask(|cluster| async move {
            let store = Store::in_namespace(&cluster, &cluster.namespace);
            store.list(None).await.unwrap_or_default().into_iter().map(|record| record.id).collect()
        })
    }
}
