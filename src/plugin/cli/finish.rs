//! `kubectl dbmig finish`: what can be typed. Nothing is decided here.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;

use super::duration;
use super::output::FormatArg;
use crate::cluster::setting::Setting;
use crate::replication::Verify;

/// Cut over to the new PostgreSQL: stop writers, prove that everything has arrived, end pgcopydb, switch the application
///
/// For a Job that runs `pgcopydb clone --follow` with PGCOPYDB_SOURCE_PGURI and PGCOPYDB_TARGET_PGURI. Looks whether all is
/// copied and followed, shows what it will do and asks. Then it compares both sides while writers still write, takes the
/// writers' rights (the SQL of readonly.sql in the Job's pod, or --revoke), waits for open transactions, sends a row of its own
/// through, compares what was written since, and only then tells pgcopydb where to end. Until the application is switched, whatever goes wrong gives the rights back; as long as
/// pgcopydb has not been told to end, following goes on.
#[derive(clap::Args, Clone)]
#[command(after_long_help = "\
Examples:
  # How long would writes be refused? Changes nothing
  kubectl dbmig finish job/db-upgrade --dry-run

  # Cut over with the readonly.sql that the Job mounts, and restart what uses the database
  kubectl dbmig finish job/db-upgrade --restart deploy/postgrest

  # Stop two roles from writing instead, and point a Service at the new server
  kubectl dbmig finish job/db-upgrade --revoke app,anon --switch-service svc/db --to svc/pg17

  # Applications that have their URI from a Secret
  kubectl dbmig finish job/db-upgrade --set-secret secret/app:DATABASE_URL=secret/pg17:uri --restart deploy/app

  # A large database: compare the number of rows and the newest ones, and take everything back after five minutes
  kubectl dbmig finish job/db-upgrade --verify sample --max-downtime 5m")]
pub struct Args {
    /// The Job, or a pod of it: NAME of a pod, TYPE/NAME or TYPE NAME
    #[arg(required = true, num_args = 1..=2, value_names = ["TYPE/NAME"])]
    pub target: Vec<String>,
    /// Container of the pod that runs pgcopydb; else the one that kubectl would take
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    /// SQL on this computer that takes the writers' rights; else readonly.sql in the pod's folder /migration
    #[arg(long, value_name = "FILE", conflicts_with = "revoke", help_heading = "Stopping writers")]
    pub readonly: Option<PathBuf>,
    /// Take the right to write from these roles, in all schemas, in place of readonly.sql
    #[arg(long, value_name = "ROLE", value_delimiter = ',', help_heading = "Stopping writers")]
    pub revoke: Vec<String>,
    /// Also scale these down before, and up again after it
    #[arg(long, value_name = "TYPE/NAME", value_delimiter = ',', help_heading = "Stopping writers")]
    pub scale_down: Vec<String>,
    /// Refuse to begin while the target is further behind than so many MiB of write-ahead log
    #[arg(long, value_name = "MIB", default_value_t = 16, help_heading = "Limits")]
    pub max_lag: u64,
    /// Take everything back when writes have been refused for so long before the application could be switched
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::parse, help_heading = "Limits")]
    pub max_downtime: Duration,
    /// How long what is restarted may take to become ready
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse, help_heading = "Limits")]
    pub timeout: Duration,
    /// What is compared before the switch: full is every row, sample the number of rows and the newest 10,000 of each table, counts
    /// only their number. pgcopydb 0.17 is known to change values without a word, which only full shows
    #[arg(long, value_name = "HOW", default_value = "full", help_heading = "Limits")]
    pub verify: Verify,
    /// Restart these at the end, so that they connect anew, and wait until they are ready
    #[arg(long, value_name = "TYPE/NAME", value_delimiter = ',', help_heading = "Switching")]
    pub restart: Vec<String>,
    /// Point this Service to where --to leads
    #[arg(long, value_name = "svc/NAME", requires = "to", help_heading = "Switching")]
    pub switch_service: Option<String>,
    /// Where --switch-service points to: the pods of another Service
    #[arg(long, value_name = "svc/NAME", requires = "switch_service", help_heading = "Switching")]
    pub to: Option<String>,
    /// Give this key of a Secret the value that another one has; the value itself is never typed or shown. What reads it sees it after a
    /// restart
    #[arg(long, value_name = "secret/NAME:KEY=secret/NAME:KEY", value_delimiter = ',', help_heading = "Switching")]
    pub set_secret: Vec<Setting>,
    /// Name of pgcopydb's replication slot on the source
    #[arg(long, value_name = "NAME", default_value = "pgcopydb", help_heading = "pgcopydb")]
    pub slot_name: String,
    /// Name of pgcopydb's replication origin on the target
    #[arg(long, value_name = "NAME", default_value = "pgcopydb", help_heading = "pgcopydb")]
    pub origin: String,
    /// Working directory of pgcopydb, where it was started with --dir
    #[arg(long, value_name = "PATH", value_parser = NonEmptyStringValueParser::new(), help_heading = "pgcopydb")]
    pub dir: Option<String>,
    /// Show what would be done and for how long writes would be refused, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub output: FormatArg,
}
