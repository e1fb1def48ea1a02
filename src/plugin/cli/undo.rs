//! `kubectl dbmig undo`: what can be typed.

use super::database::DatabaseArgs;
use super::output::FormatArg;

/// Take an operation back: finished or not, as long as its old data is kept
///
/// Without an ID it takes the one unfinished operation of the namespace, if there is only one. What was written since a
/// vacuum is listed, and kept in a file beside the database. A repair is taken back only as long as no migration has run
/// since.
#[derive(clap::Args, Clone)]
#[command(after_long_help = "\
Examples:
  # Take the only unfinished operation of the namespace back
  kubectl dbmig undo -n d8-upmeter

  # Take a certain one back, without being asked
  kubectl dbmig undo vacuum-7kx2pq --yes")]
pub struct Args {
    /// The operation, as `history` and every message about it name it
    #[arg(value_name = "ID")]
    pub operation: Option<String>,
    /// Also go back from a cut-over, a promotion or a route although rows have been written to the new server since: they are out of use then
    #[arg(long)]
    pub accept_data_loss: bool,
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
