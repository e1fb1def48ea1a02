//! `kubectl dbmig doctor`: what can be typed.

use std::path::PathBuf;

use super::database::DatabaseArgs;
use super::output::OutputArgs;
use super::scope::ScopeArgs;

/// Say why a migration is stuck and what to type next: pods, logs, events, volumes, the database and its migration framework
///
/// Changes nothing in the cluster or the database; the helper binary comes into the pod (or a helper pod beside it) for the
/// look, and the migrations' files are read in the running container or in a pod of its image. Ends with 0 when all is well, with 3 when something needs attention.
#[derive(clap::Args, Clone)]
#[command(after_long_help = "\
Examples:
  # What is wrong with this one?
  kubectl dbmig doctor upmeter-0 -n d8-upmeter

  # With the migrations' files, so that pending ones and half-applied ones are known
  kubectl dbmig doctor deploy/keeper --migrations ./migrations

  # Every migration of this namespace, its databases included
  kubectl dbmig doctor

  # Every migration of the cluster that is not over
  kubectl dbmig doctor -A -o json")]
pub struct Args {
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub scope: ScopeArgs,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub look: LookArgs,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub output: OutputArgs,
}

/// How a database is looked at.
#[derive(clap::Args, Clone)]
pub struct LookArgs {
    /// Container of the pod; else the one of its annotation kubectl.kubernetes.io/default-container, else the first
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Folder of this computer that has the migrations' files; else they are looked for in the application's image
    #[arg(long, value_name = "PATH")]
    pub migrations: Option<PathBuf>,
    /// Image for the helper pod, where one is needed: any with sh, tar and head that the node has or can pull
    #[arg(long, value_name = "IMAGE", env = "DBMIG_HELPER_IMAGE", default_value = crate::cluster::helper::IMAGE)]
    pub helper_image: String,
}
