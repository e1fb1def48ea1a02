//! `kubectl dbmig run`: what can be typed. Nothing is decided here.

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgGroup;

use super::backup::BackupArgs;
use super::database::DatabaseArgs;
use super::duration;
use super::output::FormatArg;

/// Run a migration as one Job: never twice at once, on its own when this computer is gone, judged by the database's books
///
/// Makes one Job (one pod, one try) out of a CronJob, a Job, a file, the hook of a Helm release, or a pod of the application
/// with a command of yours; the pod's own image, variables, account, volumes and sidecars stay. Shows it and asks, follows its log until the container
/// that migrates has ended, reads the migration framework's tables before and after, and ends sidecars that would keep the
/// Job up. The log is kept with the operation: `logs ID` shows it for as long as the record is there.
///
/// Ctrl-C asks whether to stop the Job, and leaves it running where nobody can be asked: `watch`, `resume` and `undo` find it
/// from any computer. Ends with 0 when the migration went
/// well, with 1 when it failed, with 3 when only its exit code says that it went well, with 5 when it runs already.
#[derive(clap::Args, Clone)]
#[command(group = ArgGroup::new("what").required(true))]
#[command(after_long_help = "\
Examples:
  # The Job of a CronJob, now
  kubectl dbmig run cronjob/manual-migrate -n ws-cli

  # A Job that ran before, once more; the file of one
  kubectl dbmig run job/cliscale-migrate
  kubectl dbmig run -f migrate-job.yaml

  # The hook Job of a Helm release, as its newest revision has it, without an upgrade
  kubectl dbmig run helm-hook/cliscale

  # A command in a pod like the application's own, with a newer image
  kubectl dbmig run --from deployment/keeper -c uwsgi --image keeper:1.16 -- flask db upgrade

  # Rather not at all than behind a lock for which the application queues up
  kubectl dbmig run cronjob/manual-migrate --lock-timeout 5s

  # While the application and its workers are stopped; afterwards they get the new image
  kubectl dbmig run --offline deployment/keeper --image keeper:1.16 -- flask db upgrade

  # What would be run, and where the database is
  kubectl dbmig run cronjob/manual-migrate --dry-run")]
pub struct Args {
    /// The Job or CronJob to run: TYPE/NAME or TYPE NAME; helm-hook/RELEASE for the Job that helm runs around an upgrade
    #[arg(index = 1, num_args = 1..=2, value_names = ["TYPE/NAME"], group = "what")]
    pub target: Vec<String>,
    /// A file with the Job to run; - for standard input
    #[arg(short, long, value_name = "FILE", group = "what")]
    pub filename: Option<PathBuf>,
    /// Run COMMAND in a pod like those of this deployment, statefulset, daemonset or replicaset
    #[arg(long, value_name = "TYPE/NAME", group = "what", requires = "command")]
    pub from: Option<String>,
    /// As --from, while nothing else uses its database: whatever is told of the same one is scaled to 0 or suspended, and started again as it was, with --image in place of the old image
    #[arg(long, value_name = "TYPE/NAME", group = "what", requires = "command")]
    pub offline: Option<String>,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub job: JobArgs,
}

/// How a Job is made and followed, whatever it runs.
#[derive(clap::Args, Clone)]
pub struct JobArgs {
    /// Another image for the container that migrates
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Container that migrates; else the one of the annotation kubectl.kubernetes.io/default-container, one named after migrations, or the first that is no known sidecar
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub backup: BackupArgs,
    /// Image for the helper pod, where one is needed to ask the database: any with sh, tar and head that the node has or can pull
    #[arg(long, value_name = "IMAGE", env = "DBMIG_HELPER_IMAGE", default_value = crate::cluster::helper::IMAGE)]
    pub helper_image: String,
    /// How long pods may take to start or to stop; the migration itself may take as long as it likes
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Give up on a lock after this: told by PGOPTIONS, or Flyway's FLYWAY_INIT_SQL; refused where the framework's driver reads neither
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub lock_timeout: Option<Duration>,
    /// Give up on a statement after this, told in the same way
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub statement_timeout: Option<Duration>,
    /// How often to try again after a try that failed, as the Job's backoffLimit; for migrations that can't do harm twice
    #[arg(long, value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=20))]
    pub backoff_limit: i32,
    /// Run it even where the books say that a migration has failed before or one holds the lock, or beside what can't be stopped
    #[arg(long)]
    pub force: bool,
    /// Show what would be run and change nothing; a helper pod may come for the look at the database and go again
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub output: FormatArg,
    /// What the container that migrates is to run instead of its own command
    #[arg(index = 2, last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}
