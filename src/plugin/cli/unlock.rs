//! `kubectl dbmig unlock`: what can be typed. The word of Knex for a repair; Liquibase says releaseLocks.

use super::repair::HowArgs;

/// Free the migration lock, as `knex migrate:unlock` and `liquibase releaseLocks` do: `repair --unlock`
///
/// Does nothing else. A lock whose holder is not known to be gone wants --force. Asks first; `undo` puts a lock that is a row
/// back, a session that was ended stays ended.
#[derive(clap::Args, Clone)]
#[command(after_long_help = "\
Examples:
  # Who holds it, and what would be done?
  kubectl dbmig unlock deploy/shop --dry-run

  # Its migration is gone for sure
  kubectl dbmig unlock deploy/shop --force")]
pub struct Args {
    /// What to work on: NAME of a pod, TYPE/NAME or TYPE NAME (pod, sts, deploy, job, … and their short names)
    #[arg(required = true, num_args = 1..=2, value_names = ["TYPE/NAME"])]
    pub target: Vec<String>,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub how: HowArgs,
}
