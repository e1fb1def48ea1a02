//! `kubectl dbmig promote`: what can be typed. Nothing is decided here.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::NonEmptyStringValueParser;
use serde::{Deserialize, Serialize};

use super::duration;
use super::output::FormatArg;

/// Make a PostgreSQL replica's volume the primary of a new release, beside the old one, which goes on serving
///
/// The replica with the highest number is let go (or its volume is copied, where the storage can), its volume is given to a claim of
/// its own that no later replica can ask for, its data directory is made a primary's, and real Helm installs the release on it. Then it
/// is proven: another timeline, the same system, no row less, everything Ready, the migrations of the new release applied. `route` leads
/// traffic there; `undo` removes the release and brings the replica back. What the old primary writes meanwhile is not in the new one,
/// unless --revoke or --readonly keeps writers out: both are told.
#[derive(clap::Args, Clone)]
#[command(after_long_help = "\
Examples:
  # What would be done, and does the chart take the volume?
  kubectl dbmig promote --from sts/alpha-postgresql-slave --release beta --chart ./core --dry-run

  # Release beta on the last replica of alpha
  kubectl dbmig promote --from sts/alpha-postgresql-slave --release beta --chart ./core --values beta.yaml

  # Without losing a row: nobody writes to alpha from here on until traffic is led to beta
  kubectl dbmig promote --from sts/alpha-postgresql-slave --release beta --chart ./core --revoke app

  # Lead traffic there, and remove alpha a day later
  kubectl dbmig route --admin-release admin --chart ./admin --to beta
  kubectl dbmig promote --finalize")]
pub struct Args {
    /// StatefulSet of the replicas
    #[arg(long, value_name = "sts/NAME", required_unless_present = "finalize")]
    pub from: Option<String>,
    /// Name of the release to install
    #[arg(long, visible_alias = "future-release", value_name = "NAME", required_unless_present = "finalize",
        value_parser = NonEmptyStringValueParser::new())]
    pub release: Option<String>,
    /// Its chart: a folder, a packed chart, or one in a repository
    #[arg(long, value_name = "CHART", required_unless_present = "finalize")]
    pub chart: Option<String>,
    /// Version of a chart in a repository
    #[arg(long, value_name = "VERSION", help_heading = "Release")]
    pub chart_version: Option<String>,
    /// Files with values, as helm takes them
    #[arg(short = 'f', long, value_name = "FILE", help_heading = "Release")]
    pub values: Vec<PathBuf>,
    /// A value: a.b.c=VALUE. It is handed to helm in a file, not in its arguments
    #[arg(long, value_name = "PATH=VALUE", help_heading = "Release")]
    pub set: Vec<String>,
    /// The chart's value that says which claim its primary mounts; `[]` at its end makes it a list. Without it the usual ones are tried
    #[arg(long, value_name = "PATH", help_heading = "Release")]
    pub claim_value: Option<String>,
    /// Namespace of both releases; the same as --namespace
    #[arg(long, value_name = "NAME", help_heading = "Release")]
    pub core_namespace: Option<String>,
    /// The release that the replica belongs to; else what its labels say
    #[arg(long, value_name = "NAME", help_heading = "Release")]
    pub current_release: Option<String>,
    /// Helm
    #[arg(long, value_name = "PATH", env = "HELM_BIN", hide_env_values = true, default_value = "helm", help_heading = "Release")]
    pub helm: PathBuf,
    /// The primary that the replicas follow; else the pods of the Service whose name they connect to
    #[arg(long, value_name = "TYPE/NAME", help_heading = "Replica")]
    pub primary: Option<String>,
    /// Container in which PostgreSQL runs; else the one that mounts the claim
    #[arg(short, long, value_name = "NAME", help_heading = "Replica")]
    pub container: Option<String>,
    /// How the new release gets its volume: the replica's own, or a copy of it while the replica stays
    #[arg(long, value_name = "HOW", default_value = "auto", help_heading = "Replica")]
    pub copy: CopyWish,
    /// Class for --copy volumesnapshot; else the one for the volume's driver
    #[arg(long, value_name = "NAME", help_heading = "Replica")]
    pub snapshot_class: Option<String>,
    /// Let the last replica go, too
    #[arg(long, help_heading = "Replica")]
    pub allow_last: bool,
    /// Refuse to begin while the replica is further behind than so many MiB of write-ahead log
    #[arg(long, value_name = "MIB", default_value_t = 16, help_heading = "Limits")]
    pub max_lag: u64,
    /// How long the release may take to become ready, and each other step to end
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse, help_heading = "Limits")]
    pub timeout: Duration,
    /// Keep writers out: take the right to write from these roles on the old primary, until `route` or `undo`
    #[arg(
        long,
        visible_alias = "freeze-writers",
        value_name = "ROLE",
        value_delimiter = ',',
        conflicts_with = "readonly",
        help_heading = "Stopping writers"
    )]
    pub revoke: Vec<String>,
    /// Keep writers out by the SQL in this file, as for `finish`
    #[arg(long, value_name = "FILE", help_heading = "Stopping writers")]
    pub readonly: Option<PathBuf>,
    /// Remove the old release of a promotion that traffic was led to
    #[arg(long, conflicts_with_all = ["from", "release", "chart"], help_heading = "Afterwards")]
    pub finalize: bool,
    /// The promotion to finalize; the only one when left out
    #[arg(value_name = "OPERATION", requires = "finalize", help_heading = "Afterwards")]
    pub operation: Option<String>,
    /// How long traffic must have been led to the new release before the old one may go
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse, requires = "finalize",
        help_heading = "Afterwards")]
    pub grace: Duration,
    /// Show what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub output: FormatArg,
}

/// How the new release gets its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyWish {
    /// A snapshot or a clone where the storage can, else the replica's own volume
    Auto,
    /// A copy from a VolumeSnapshot
    #[value(name = "volumesnapshot")]
    VolumeSnapshot,
    /// A clone that the CSI driver makes
    Clone,
    /// The replica's own volume
    None,
}
