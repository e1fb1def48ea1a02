//! `kubectl dbmig history`: what can be typed.

use super::output::OutputArgs;

/// List this and earlier operations: what, on what, by whom, when and how it ended
#[derive(clap::Args, Debug, Clone)]
#[command(after_long_help = "\
Examples:
  # All operations of the namespace
  kubectl dbmig history -n d8-upmeter

  # Those on one workload, for a script
  kubectl dbmig history sts/upmeter -n d8-upmeter -o json")]
pub struct Args {
    /// Only operations on this: NAME of a pod, TYPE/NAME or TYPE NAME
    #[arg(num_args = 0..=2, value_names = ["TYPE/NAME"])]
    pub target: Vec<String>,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub output: OutputArgs,
}
