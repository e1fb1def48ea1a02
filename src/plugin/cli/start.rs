//! `kubectl dbmig start`: what can be typed. Nothing is decided here.

use clap::builder::NonEmptyStringValueParser;

use super::output::FormatArg;
use crate::database::find::Reference;

/// Begin to move a PostgreSQL database: check both servers, then run a Job that clones the source and follows it
///
/// Both servers are looked at from a pod with the Job's own network and credentials: write-ahead log level, rights, free slots,
/// versions, extensions, tables without a replica identity, large objects, open and prepared transactions, and an empty target.
/// Then it makes a volume for pgcopydb's work, a ConfigMap with its script, and the Job. `finish job/NAME` ends it; `undo` removes
/// it all, the replication slot included.
#[derive(clap::Args, Clone)]
#[command(after_long_help = "\
Examples:
  # What stands in the way of moving this database?
  kubectl dbmig start db-upgrade --source secret/db:uri --target secret/pg17:uri --dry-run

  # Begin, watch it, and cut over when it has caught up
  kubectl dbmig start db-upgrade --source secret/db:uri --target secret/pg17:uri
  kubectl dbmig watch job/db-upgrade
  kubectl dbmig finish job/db-upgrade --restart deploy/app")]
pub struct Args {
    /// Name of the Job that is made, and of its ConfigMap and volume
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub name: String,
    /// Where the URI of the server to copy from is; its user must be allowed to replicate
    #[arg(long, value_name = "secret/NAME:KEY")]
    pub source: Reference,
    /// Where the URI of the server to copy to is: a database without tables
    #[arg(long, value_name = "secret/NAME:KEY")]
    pub target: Reference,
    /// Image with pgcopydb 0.17 (or 0.16) and pg_dump of the source's version or newer
    #[arg(
        long,
        value_name = "IMAGE",
        env = "DBMIG_PGCOPYDB_IMAGE",
        hide_env_values = true,
        default_value = "ghcr.io/dimitri/pgcopydb:v0.17"
    )]
    pub image: String,
    /// Size of the volume for changes that have not been applied yet
    #[arg(long, value_name = "SIZE", default_value = "10Gi")]
    pub volume_size: String,
    /// Storage class of that volume; else the cluster's default
    #[arg(long, value_name = "NAME")]
    pub storage_class: Option<String>,
    /// Tables that are copied at the same time, and indexes that are built at the same time
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    pub jobs: u16,
    /// Begin although something of what was found may lose changes
    #[arg(long)]
    pub force: bool,
    /// Only look: show what was found and what would be made
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub output: FormatArg,
}
