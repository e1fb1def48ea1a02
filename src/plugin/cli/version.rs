//! `kubectl dbmig version`: what can be typed.

use super::output::FormatArg;

/// Show the version of this plugin, of the helper binaries inside it, and of the server
#[derive(clap::Args, Debug, Clone)]
pub struct Args {
    /// Do not ask the server for its version
    #[arg(long)]
    pub client: bool,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub output: FormatArg,
}
