//! `kubectl dbmig events`: what can be typed.

use super::output::OutputArgs;
use super::scope::ScopeArgs;

/// List the events of a target and of all that it owns; those that explain a failure come first
#[derive(clap::Args, Debug, Clone)]
#[command(after_long_help = "\
Examples:
  # Why are there no pods?
  kubectl dbmig events sts/upmeter -n d8-upmeter

  # Those of a Job's pods as they happen
  kubectl dbmig events job/db-upgrade -w")]
pub struct Args {
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// After the list, print each event as it happens
    #[arg(short, long)]
    pub watch: bool,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub output: OutputArgs,
}
