//! `kubectl dbmig version`: what this program is made of, and what server it would talk to. Changes nothing.

use std::time::Duration;

use serde::Serialize;

use super::Context;
use crate::cli::version::Args;
use crate::exit::Exit;
use crate::failure::Result;
use crate::ui::{Report, Table};

/// How long the server may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(3);

/// A helper binary inside this program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentInfo {
    /// Processor it runs on, as Kubernetes names it: `amd64`, `arm64`.
    pub architecture: &'static str,
    /// SHA-256 in lower-case hex.
    pub sha256: String,
    /// Length in bytes.
    pub bytes: u64,
}

/// Tells the versions. `server` is asked unless `--client` is given; that it does not answer is no error.
///
/// # Errors
/// Stdout takes no more.
pub async fn run(
    args: &Args,
    ctx: &Context,
    agents: Vec<AgentInfo>,
    server: impl Future<Output = Option<String>>,
) -> Result<Exit> {
    let server =
        if args.client { None } else { ctx.stop.interruptible(tokio::time::timeout(PATIENCE, server)).await?.ok().flatten() };
    ctx.ui.print(&Version::new(agents, server))?;
    Ok(Exit::Done)
}

/// The report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    client_version: &'static str,
    platform: String,
    build: &'static str,
    agents: Vec<AgentInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_version: Option<String>,
}

impl Version {
    fn new(agents: Vec<AgentInfo>, server_version: Option<String>) -> Self {
        Self {
            client_version: env!("CARGO_PKG_VERSION"),
            platform: format!("{}/{}", std::env::consts::OS, architecture()),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            agents,
            server_version,
        }
    }
}

/// The processor as Kubernetes and krew name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Report for Version {
    fn kind(&self) -> &'static str {
        "Version"
    }

    fn table(&self, _wide: bool) -> Table {
        let agents = self.agents.iter().map(|agent| {
            let size = crate::ui::human::bytes(agent.bytes);
            ("Agent", format!("linux/{}, {size}, sha256 {}", agent.architecture, agent.sha256))
        });
        let client = ("Client Version", format!("{} ({}, {} build)", self.client_version, self.platform, self.build));
        let server = self.server_version.iter().map(|version| ("Server Version", version.clone()));
        Table::pairs(std::iter::once(client).chain(agents).chain(server))
    }

    fn names(&self) -> Vec<String> {
        vec![format!("version/{}", self.client_version)]
    }
}
