//! `kubectl dbmig repair`: what can be typed. Nothing is decided here.

use clap::ArgGroup;

use super::doctor::LookArgs;
use super::output::FormatArg;
use crate::framework::Wish;

/// Set a migration framework's bookkeeping right: a dirty version, a failed row, a lock left behind
///
/// Reads the database as doctor does, and shows what is wrong, the SQL that sets it right and why that is right. Then it
/// asks, keeps the rows of before, and changes them in one transaction; `undo` puts them back. Tables of the application
/// are not touched, and no migration is run.
///
/// One thing at a time: ends with 3 when something else is wrong besides, and with 4 when nothing should be written.
#[derive(clap::Args, Clone)]
#[command(group = ArgGroup::new("wish"))]
#[command(after_long_help = "\
Examples:
  # What would be done about a dirty version?
  kubectl dbmig repair upmeter-0 -n d8-upmeter --dry-run

  # With the migrations' files, which tell whether one that was cut off took effect
  kubectl dbmig repair deploy/keeper --migrations ./migrations

  # Nothing proves which version is right, but you know
  kubectl dbmig repair deploy/shop --to 3 --force

  # Free the lock of a migration that is gone for sure
  kubectl dbmig repair deploy/shop --unlock --force

As other tools call it: `force TARGET VERSION`, `stamp TARGET VERSION`, `unlock TARGET`.")]
pub struct Args {
    /// What to work on: NAME of a pod, TYPE/NAME or TYPE NAME (pod, sts, deploy, job, … and their short names)
    #[arg(required = true, num_args = 1..=2, value_names = ["TYPE/NAME"])]
    pub target: Vec<String>,
    /// Of the repairs that are proposed, the one after which the database is at this version; none for no migration at all
    #[arg(long, value_name = "VERSION", group = "wish")]
    pub to: Option<String>,
    /// Write this migration down as applied, without running it
    #[arg(long, value_name = "VERSION", group = "wish")]
    pub stamp: Option<String>,
    /// Free the migration lock, and do nothing else
    #[arg(long, group = "wish")]
    pub unlock: bool,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub how: HowArgs,
}

/// How a repair is done; the same for `repair` and for the words of other tools that stand for one.
#[derive(clap::Args, Clone)]
pub struct HowArgs {
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub look: LookArgs,
    /// The bookkeeping table that is meant, where a database has several
    #[arg(long, value_name = "NAME")]
    pub table: Option<String>,
    /// Allow what nothing proves to be right; on a terminal it has to be confirmed by typing
    #[arg(long)]
    pub force: bool,
    /// Show what is wrong and what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub output: FormatArg,
}

impl Args {
    /// What was asked for by name, if anything was.
    #[must_use]
    pub fn wish(&self) -> Option<Wish> {
        let (to, stamp) = (self.to.clone().map(Wish::To), self.stamp.clone().map(Wish::Stamp));
        to.or(stamp).or(self.unlock.then_some(Wish::Unlock))
    }
}
