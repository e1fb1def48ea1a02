//! What a command works with once it talks to a cluster.

use super::Context;
use crate::cli::connection::Connection;
use crate::cluster::{Cluster, ConnectionFlags, connect};
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;
use crate::ui::Ui;

/// The cluster, the screen, and whether the user asked to stop.
pub struct Session {
    /// The API server and the namespace in force.
    pub cluster: Cluster,
    /// The one place that prints and asks.
    pub ui: Ui,
    /// Ctrl-C and SIGTERM.
    pub stop: Stop,
}

impl Session {
    /// Connects as the flags say, and tells where from if that is not what people expect.
    ///
    /// # Errors
    /// No usable kubeconfig, or a credential plugin that fails.
    pub async fn begin(ctx: &Context) -> Result<Self> {
        let cluster = connect(&flags(&ctx.connection)).await?;
        if let Some(notice) = cluster.notice() {
            ctx.ui.warn(&notice);
        }
        Ok(Self { cluster, ui: ctx.ui.clone(), stop: ctx.stop.clone() })
    }

    /// The same with another namespace in force.
    #[must_use]
    pub(super) fn within(&self, namespace: &str) -> Self {
        Self { cluster: self.cluster.within(namespace), ui: self.ui.clone(), stop: self.stop.clone() }
    }
}

/// Refuses a command that would have to ask and can't. `settled`: it asks nothing; `shown`: what --dry-run shows.
///
/// # Errors
/// `Refused`, with nothing changed.
pub(super) fn refuse_unasked(ui: &Ui, settled: bool, shown: &str) -> Result<()> {
    if settled || ui.can_ask() {
        return Ok(());
    }
    Err(Failure::refused("there is no terminal to ask on")
        .state("nothing was changed")
        .next(format!("say --yes to go ahead, or --dry-run to see {shown}")))
}

/// What was typed, as the cluster side takes it.
pub(super) fn flags(typed: &Connection) -> ConnectionFlags {
    let typed = typed.clone();
    ConnectionFlags {
        kubeconfig: typed.kubeconfig,
        context: typed.context,
        cluster: typed.cluster,
        user: typed.user,
        namespace: typed.namespace,
        server: typed.server,
        tls_server_name: typed.tls_server_name,
        insecure_skip_tls_verify: typed.insecure_skip_tls_verify,
        certificate_authority: typed.certificate_authority,
        client_certificate: typed.client_certificate,
        client_key: typed.client_key,
        token: typed.token,
        impersonate: typed.impersonate,
        impersonate_groups: typed.impersonate_groups,
        impersonate_uid: typed.impersonate_uid,
        impersonate_extra: typed.impersonate_extra,
        request_timeout: typed.request_timeout.and_then(|limit| limit.0),
        disable_compression: typed.disable_compression,
    }
}
