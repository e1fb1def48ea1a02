//! `kubectl dbmig vacuum`: what can be typed. Nothing is decided here.

use std::str::FromStr;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser};

use super::duration;
use super::keep::KeepArg;
use super::output::FormatArg;
use super::target::TargetArgs;

/// The image of the helper pod when nobody names another.
const HELPER_IMAGE: &str = "busybox:1";

/// Shrink a SQLite database in a pod, even on a full disk and under a crash-looping application
///
/// Finds the database, shows what would happen and asks. Then it stops whoever writes to it, builds a new file out of
/// the rows to keep, proves it, puts it in the old one's place, starts the application again and waits until it is
/// ready. Until then the old file stays where it is; `undo` puts it back.
///
/// Without --keep and without a profile, every row stays and only unused space is given back.
#[derive(clap::Args, Debug, Clone)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub target: TargetArgs,
    /// Path of the database in the container; else it is looked for on the volumes that the pod mounts
    #[arg(long, value_name = "PATH", value_parser = NonEmptyStringValueParser::new())]
    pub database: Option<String>,
    /// Keep only those rows of TABLE for which the SQL CONDITION is true; all other tables stay whole. May be repeated
    #[arg(long, value_name = "'TABLE: CONDITION'")]
    pub keep: Vec<KeepArg>,
    /// Allow a --keep rule that keeps no row at all of its table
    #[arg(long)]
    pub allow_empty: bool,
    /// Rules made for a known application: upmeter, or none to propose nothing
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(["upmeter", "none"]))]
    pub profile: Option<String>,
    /// Also clear the migration framework's dirty flag, if the schema proves which version is there
    #[arg(long)]
    pub repair: bool,
    /// Where to build the new file if it does not fit beside the old one: a PVC made and removed for it, the node's disk, or this computer's disk
    #[arg(long, value_name = "pvc[:CLASS]|node|local")]
    pub scratch: Option<Scratch>,
    /// Where the old file is kept until the application is ready, if the volume has no room: none keeps no way back
    #[arg(long, value_name = "pvc[:CLASS]|local|none")]
    pub keep_old: Option<KeepOld>,
    /// First aid only: give unused pages back to the disk while the application keeps running; removes no row
    #[arg(long, conflicts_with_all = ["keep", "allow_empty", "profile", "repair", "scratch", "keep_old", "check"])]
    pub punch: bool,
    /// Check every page of the old file before anything is done; takes as long as reading it
    #[arg(long, value_name = "full")]
    pub check: Option<Check>,
    /// Image for the helper pod: any with sh, tar and head that the node has or can pull
    #[arg(long, value_name = "IMAGE", env = "DBMIG_HELPER_IMAGE", hide_env_values = true, default_value = HELPER_IMAGE, value_parser = NonEmptyStringValueParser::new())]
    pub helper_image: String,
    /// Show what would be done and change nothing; a helper pod comes for the look and goes again
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    /// How long the application may take to become ready again before that counts as a failure
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
    pub timeout: Duration,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub output: FormatArg,
}

const EXAMPLES: &str = "\
Examples:
  # Shrink the database of a pod; shows what it found and asks before anything stops
  kubectl dbmig vacuum upmeter-0 -n d8-upmeter

  # The same, the application's migration is stuck on a full disk: clear its dirty flag too
  kubectl dbmig vacuum upmeter-0 -n d8-upmeter --repair

  # Keep the rows of the last days only
  kubectl dbmig vacuum sts/metrics --keep \"samples: at > unixepoch('now', '-7 days')\"

  # The disk is full and the application must not stop: give unused pages back at once
  kubectl dbmig vacuum deploy/shop --punch

  # Only look
  kubectl dbmig vacuum upmeter-0 --dry-run -o json";

/// A PVC that is made for an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PvcArg {
    /// Storage class; `None` means the cluster's default.
    pub class: Option<String>,
}

/// `--scratch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scratch {
    /// A PVC, made and removed by us: survives the node.
    Pvc(PvcArg),
    /// The helper's ephemeral disk: survives nothing but a cut connection.
    Node,
    /// The disk of the computer that this runs on.
    Local,
}

/// `--keep-old`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepOld {
    /// On a PVC.
    Pvc(PvcArg),
    /// On the disk of the computer that this runs on.
    Local,
    /// Nowhere: there is no way back once the new file is in place.
    None,
}

/// `--check`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Check {
    /// A full integrity check of the old file.
    Full,
}

impl FromStr for Scratch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "node" => Ok(Self::Node),
            "local" => Ok(Self::Local),
            _ => pvc(text).map(Self::Pvc).ok_or_else(|| "expected pvc, pvc:CLASS, node or local".to_owned()),
        }
    }
}

impl FromStr for KeepOld {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "local" => Ok(Self::Local),
            "none" => Ok(Self::None),
            _ => pvc(text).map(Self::Pvc).ok_or_else(|| "expected pvc, pvc:CLASS, local or none".to_owned()),
        }
    }
}

fn pvc(text: &str) -> Option<PvcArg> {
    match text.split_once(':') {
        None => (text == "pvc").then_some(PvcArg { class: None }),
        Some(("pvc", class)) if !class.is_empty() => Some(PvcArg { class: Some(class.to_owned()) }),
        Some(_) => None,
    }
}
