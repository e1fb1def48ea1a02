//! `kubectl dbmig history`: what can be typed.

use super::doctor::LookArgs;
use super::output::OutputArgs;

/// List the migrations of a target's database, and this and earlier operations: what, by whom, when and how it ended
///
/// Changes nothing; for a target, the helper binary comes into the pod (or a helper pod beside it) to ask its database.
#[derive(clap::Args, Clone)]
#[command(after_long_help = "\
Examples:
  # All operations of the namespace
  kubectl dbmig history -n d8-upmeter

  # Migrations applied to the database of one workload, those still to come, and the operations on it
  kubectl dbmig history deploy/keeper --migrations ./migrations

  # The same for a script
  kubectl dbmig history sts/upmeter -n d8-upmeter -o json")]
pub struct Args {
    /// Migrations of the database of this, and the operations on it: NAME of a pod, TYPE/NAME or TYPE NAME; else all operations
    #[arg(num_args = 0..=2, value_names = ["TYPE/NAME"])]
    pub target: Vec<String>,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub look: LookArgs,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub output: OutputArgs,
}
