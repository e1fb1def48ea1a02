//! `kubectl dbmig route`: what can be typed. Nothing is decided here.

use std::path::PathBuf;
use std::time::Duration;

use clap::ArgGroup;
use clap::builder::NonEmptyStringValueParser;

use super::duration;
use super::output::FormatArg;
use crate::cluster::service::Probe;

/// Lead traffic to another release: by the chart that routes, a Service's selector, or an Ingress's backends
///
/// First it looks whether the release that traffic goes to is ready and answers, and, where `promote` made it, whether the old primary
/// has written anything that it lacks. After the switch the same is asked of the way that clients take; if it does not answer, all is
/// led back. `undo` leads back at any time.
#[derive(clap::Args, Clone)]
#[command(group = ArgGroup::new("what is switched").required(true).args(["admin_release", "service", "ingress"]))]
#[command(after_long_help = "\
Examples:
  # By the admin chart, whose value says which release it serves
  kubectl dbmig route --admin-release admin --chart ./admin --to beta --probe svc/front:80/ready

  # A Service gets the pods of another one
  kubectl dbmig route --service svc/front --to-service svc/beta-front --to beta

  # Every backend of an Ingress that is one of alpha's Services becomes beta's
  kubectl dbmig route --ingress ing/front --from-release alpha --to beta

  # Back, by the id that it has said
  kubectl dbmig undo route-x7k2pq")]
pub struct Args {
    /// The release that traffic is led to
    #[arg(long, visible_alias = "core-release", value_name = "RELEASE", value_parser = NonEmptyStringValueParser::new())]
    pub to: String,
    /// The release whose chart routes traffic: it is upgraded with one other value
    #[arg(long, value_name = "NAME", requires = "chart", help_heading = "What is switched")]
    pub admin_release: Option<String>,
    /// Its chart: a folder, a packed chart, or one in a repository
    #[arg(long, value_name = "CHART", requires = "admin_release", help_heading = "What is switched")]
    pub chart: Option<String>,
    /// Version of a chart in a repository
    #[arg(long, value_name = "VERSION", requires = "chart", help_heading = "What is switched")]
    pub chart_version: Option<String>,
    /// The value of that chart that says which release it serves
    #[arg(long, value_name = "PATH", default_value = "global.managedRelease", help_heading = "What is switched")]
    pub value: String,
    /// Namespace of the release that routes; else the same as that of the release that serves
    #[arg(long, value_name = "NAME", help_heading = "What is switched")]
    pub admin_namespace: Option<String>,
    /// Namespace of the release that serves; the same as --namespace
    #[arg(long, value_name = "NAME", help_heading = "What is switched")]
    pub core_namespace: Option<String>,
    /// A Service that gets the pods of --to-service
    #[arg(long, value_name = "svc/NAME", requires = "to_service", help_heading = "What is switched")]
    pub service: Option<String>,
    /// The Service whose pods --service gets
    #[arg(long, value_name = "svc/NAME", requires = "service", help_heading = "What is switched")]
    pub to_service: Option<String>,
    /// An Ingress whose backends are switched
    #[arg(long, value_name = "ing/NAME", requires = "from_release", help_heading = "What is switched")]
    pub ingress: Option<String>,
    /// The release that it serves now
    #[arg(long, value_name = "RELEASE", help_heading = "What is switched")]
    pub from_release: Option<String>,
    /// What must answer before and after the switch; before it, a Service of the new release takes the place of one of the old
    #[arg(long, value_name = "svc/NAME:PORT/PATH", help_heading = "Proof")]
    pub probe: Vec<Probe>,
    /// How often in a row each must answer
    #[arg(long, value_name = "COUNT", default_value_t = 5, help_heading = "Proof")]
    pub probes: u32,
    /// How long the switch may take until everything answers, before all is led back
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = duration::parse, help_heading = "Proof")]
    pub timeout: Duration,
    /// Lead traffic there although the old primary has written what the new one lacks
    #[arg(long, help_heading = "Proof")]
    pub accept_divergence: bool,
    /// Helm
    #[arg(long, value_name = "PATH", env = "HELM_BIN", hide_env_values = true, default_value = "helm")]
    pub helm: PathBuf,
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
