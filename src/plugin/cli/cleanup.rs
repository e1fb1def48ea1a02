//! `kubectl dbmig cleanup`: what can be typed. Nothing is decided here.

use std::time::Duration;

use super::duration;
use super::output::OutputArgs;

/// Remove what operations have left behind, and old failed migration Jobs: lists first, never touches what runs
///
/// In one namespace: Jobs and helper pods of operations that are over, Leases that nobody renews, failed Jobs that carry
/// app.kubernetes.io/component=migration or are Helm hooks that migrate, and records of operations with the logs they have
/// kept; and the backups of `run --backup`, claims and snapshots. What is younger than --keep stays: records and failed Jobs are the only
/// ones that know why. An operation that is not over keeps everything it has. What was kept on purpose (`vacuum --keep-old pvc`) is
/// not touched.
#[derive(clap::Args, Debug, Clone)]
#[command(after_long_help = "\
Examples:
  # What would go
  kubectl dbmig cleanup -n ws-cli --dry-run

  # Without being asked; records and failed Jobs of the last day stay
  kubectl dbmig cleanup -n ws-cli --keep 24h --yes")]
pub struct Args {
    /// Records, failed Jobs that are not ours, and backups stay for so long after their end
    #[arg(long, value_name = "DURATION", default_value = "168h", value_parser = duration::parse)]
    pub keep: Duration,
    /// Remove backups of operations that are over, however young they are
    #[arg(long)]
    pub backups: bool,
    /// Show what would be removed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub output: OutputArgs,
}
