//! `kubectl dbmig watch`: what can be typed.

use std::time::Duration;

use super::duration;
use super::logs::LineArgs;
use super::scope::ScopeArgs;
use crate::observe::Until;

/// Show logs and states side by side, live: is it moving, is it stuck, why, and what next
///
/// On a terminal it is a full-screen view; press ? in it for its keys. Without a terminal, or with --plain, it prints one
/// line for each log line and each change. Of a Job that runs pgcopydb it also shows how far that is, and what the source keeps for it.
#[derive(clap::Args, Debug, Clone)]
#[command(after_long_help = "\
Examples:
  # The whole story of a pod, its volume and the operation on it
  kubectl dbmig watch upmeter-0 -n d8-upmeter

  # In CI: wait until the migration is complete, at most ten minutes, and show what happens
  kubectl dbmig watch job/db-upgrade --until complete --timeout 10m

  # All migrations of the cluster
  kubectl dbmig watch -A")]
pub struct Args {
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub scope: ScopeArgs,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub lines: LineArgs,
    /// Print lines instead of the full-screen view
    #[arg(long)]
    pub plain: bool,
    /// Print one JSON object per line with -o json
    #[arg(short = 'o', long = "output", value_name = "json", value_parser = ["json"])]
    pub format: Option<String>,
    /// End with 0 as soon as this holds: ready, complete, failed, or condition=TYPE of a pod, Job or workload
    #[arg(long, value_name = "WHAT")]
    pub until: Option<Until>,
    /// Longest time for --until, like 10m; then it fails
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, requires = "until")]
    pub timeout: Option<Duration>,
}
