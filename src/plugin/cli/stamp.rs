//! `kubectl dbmig stamp`: what can be typed. Alembic's word for a repair.

use super::repair::HowArgs;

/// Write a migration down as applied without running it, as Alembic's and Flask-Migrate's `stamp` do: `repair --stamp VERSION`
///
/// Nothing proves that what the migration does is there, so it wants --force. Asks first; `undo` takes it back.
#[derive(clap::Args, Clone)]
#[command(after_long_help = "\
Examples:
  # As `alembic stamp 3f2a`, once you know that what it does is there
  kubectl dbmig stamp deploy/keeper 3f2a --force")]
pub struct Args {
    /// What to work on: NAME of a pod, TYPE/NAME or TYPE NAME; then the revision, as the framework writes it down
    #[arg(required = true, num_args = 2..=3, value_names = ["TYPE/NAME", "VERSION"])]
    pub target: Vec<String>,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub how: HowArgs,
}
