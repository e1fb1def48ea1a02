//! `kubectl dbmig force`: what can be typed. golang-migrate's word for a repair.

use super::repair::HowArgs;
use crate::framework::Wish;

/// Set a database to a version, clean, as golang-migrate's `force` does: `repair --to VERSION --force`
///
/// Where no repair leads to that version, it is written down as `repair --stamp VERSION --force` does. Runs no migration. Asks
/// first, and the answer has to be typed unless the version is proven right; `undo` takes it back.
#[derive(clap::Args, Clone)]
#[command(after_long_help = "\
Examples:
  # As `migrate force 4`
  kubectl dbmig force sts/shop 4

  # As `migrate force -1`: no migration is applied
  kubectl dbmig force sts/shop none")]
pub struct Args {
    /// What to work on: NAME of a pod, TYPE/NAME or TYPE NAME; then the version, or none for no migration at all
    #[arg(required = true, num_args = 2..=3, value_names = ["TYPE/NAME", "VERSION"], allow_negative_numbers = true)]
    pub target: Vec<String>,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub how: HowArgs,
}

impl Args {
    /// What is asked for, the first that can be had.
    #[must_use]
    pub fn wishes(version: String) -> Vec<Wish> {
        // golang-migrate's word for no version.
        let version = if version == "-1" { "none".to_owned() } else { version };
        vec![Wish::To(version.clone()), Wish::Stamp(version)]
    }
}
