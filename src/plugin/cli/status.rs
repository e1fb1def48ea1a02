//! `kubectl dbmig status`: what can be typed.

use super::output::OutputArgs;
use super::scope::ScopeArgs;

/// Say in one line what is wrong and what to type next, with the state of pods, Jobs, volumes and operations
///
/// With `-o wide`, also why each is as it is, and what the values of its Helm release say about migrations. Of a Job that runs
/// pgcopydb it says how far that is.
///
/// Ends with 0 when all is well or on its way, with 3 when something needs attention.
#[derive(clap::Args, Debug, Clone)]
#[command(after_long_help = "\
Examples:
  # Why does it not come up?
  kubectl dbmig status upmeter-0 -n d8-upmeter

  # All migrations of the cluster, for a script
  kubectl dbmig status -A -o json

  # Print it again whenever something changes
  kubectl dbmig status sts/upmeter -w")]
pub struct Args {
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Print it again whenever something changes
    #[arg(short, long)]
    pub watch: bool,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub output: OutputArgs,
}
