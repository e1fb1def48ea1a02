//! `kubectl dbmig resume`: what can be typed.

use super::database::DatabaseArgs;
use super::output::FormatArg;

/// Go on with an operation that was interrupted, from any computer
///
/// Looks first what is already done. Without an ID it takes the one unfinished operation of the namespace, if there is
/// only one.
#[derive(clap::Args, Clone)]
#[command(after_long_help = "\
Examples:
  # Go on with the only unfinished operation of the namespace
  kubectl dbmig resume -n d8-upmeter

  # A certain one, without being asked
  kubectl dbmig resume vacuum-7kx2pq --yes")]
pub struct Args {
    /// The operation, as `history` and every message about it name it
    #[arg(value_name = "ID")]
    pub operation: Option<String>,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub output: FormatArg,
}
