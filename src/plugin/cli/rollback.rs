//! `kubectl dbmig rollback`: what can be typed. Nothing is decided here.

use clap::ArgGroup;

use super::run::JobArgs;
use crate::framework::down::Extent;

/// Take migrations back: the framework's own way down, as one Job, judged by the database's books
///
/// Reads which framework the database has and which migrations are applied, and makes the command that takes them back out of
/// the one that applies them: of the CronJob or Job that is named, or of the last `run` from that workload, with the image of
/// that run, since older ones do not know the newest migrations. Shows which migrations go, and asks. The Job is made,
/// followed and judged as that of `run`.
///
/// Without --to and --steps it goes as far as the framework goes by itself: Knex and Laravel take back the whole last run. What
/// a migration has dropped, no way down brings back.
#[derive(clap::Args, Clone)]
#[command(group = ArgGroup::new("extent"))]
#[command(after_long_help = "\
Examples:
  # Which migrations would go, and by which command
  kubectl dbmig rollback cronjob/manual-migrate -n ws-cli --dry-run

  # One migration of a workload on which `run --from` or `run --offline` has run
  kubectl dbmig rollback deployment/keeper --steps 1

  # Until this one is the last that is applied
  kubectl dbmig rollback cronjob/manual-migrate --to 20250126000001_create_sessions_table.js

  # A command of your own
  kubectl dbmig rollback deployment/keeper --image keeper:1.16 -- flask db downgrade")]
pub struct Args {
    /// What the Job is made from, as for `run`: TYPE/NAME or TYPE NAME of a Job, a CronJob or a workload
    #[arg(index = 1, required = true, num_args = 1..=2, value_names = ["TYPE/NAME"])]
    pub target: Vec<String>,
    /// Take back all migrations after this one
    #[arg(long, value_name = "VERSION", group = "extent")]
    pub to: Option<String>,
    /// Take back so many migrations
    #[arg(long, value_name = "N", group = "extent", value_parser = clap::value_parser!(u16).range(1..))]
    pub steps: Option<u16>,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub job: JobArgs,
}

impl Args {
    /// How far it goes.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let steps = self.steps.map(|steps| Extent::Steps(steps.into()));
        self.to.clone().map(Extent::To).or(steps).unwrap_or(Extent::Last)
    }
}
