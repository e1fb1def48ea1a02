//! `kubectl dbmig logs`: what can be typed. The flags are those of kubectl, and those that people know from stern.

use std::time::Duration;

use jiff::Timestamp;
use regex::Regex;

use super::duration;
use super::scope::ScopeArgs;

/// Print the logs of all containers of a target, through restarts and broken connections
///
/// With -f it goes on until the target is over or you press Ctrl-C: a container that restarts goes on with its next
/// start, and pods that come later are joined. No line is lost or repeated when a connection breaks.
#[derive(clap::Args, Debug, Clone)]
#[command(after_long_help = "\
Examples:
  # What the crashed start of a container said
  kubectl dbmig logs upmeter-0 --previous -n d8-upmeter

  # Everything that a migration's pods say, and will say
  kubectl dbmig logs job/db-upgrade -f

  # Only errors of the last hour, in colour
  kubectl dbmig logs deploy/keeper --since 1h --include '(?i)error' --highlight alembic")]
pub struct Args {
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub scope: ScopeArgs,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub lines: LineArgs,
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub follow: bool,
    /// The log of the start before the present one
    #[arg(short, long, conflicts_with = "follow")]
    pub previous: bool,
    /// Print text, the lines alone (raw), one JSON object per line (json), or as --template says
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        default_value = "text",
        hide_default_value = true,
        hide_possible_values = true
    )]
    pub format: LogFormat,
    /// With -o template: {time}, {namespace}, {pod}, {container} and {message} are replaced
    #[arg(long, value_name = "TEXT", required_if_eq("format", "template"))]
    pub template: Option<String>,
}

/// How lines are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogFormat {
    Text,
    Raw,
    Json,
    Template,
}

/// Which lines, and how they look.
#[derive(clap::Args, Debug, Clone, Default)]
#[command(next_help_heading = "Lines")]
pub struct LineArgs {
    /// Only containers whose name matches this regular expression; else all, init containers first
    #[arg(short, long, value_name = "REGEX")]
    pub container: Option<Regex>,
    /// Not containers whose name matches this regular expression
    #[arg(short = 'E', long, value_name = "REGEX")]
    pub exclude_container: Option<Regex>,
    /// All containers; that is what happens anyway, the flag is there for those who type it
    #[arg(long, conflicts_with = "container")]
    pub all_containers: bool,
    /// Only lines newer than this, like 5m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, conflicts_with = "since_time")]
    pub since: Option<Duration>,
    /// Only lines after this moment (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub since_time: Option<Timestamp>,
    /// At most this many of the newest lines of each container that are there already; -1 for all
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    pub tail: Option<i64>,
    /// Put the time in front of each line
    #[arg(long)]
    pub timestamps: bool,
    /// Only lines that match this regular expression; several: any of them
    #[arg(short, long, value_name = "REGEX")]
    pub include: Vec<Regex>,
    /// Not lines that match this regular expression
    #[arg(long, value_name = "REGEX")]
    pub exclude: Vec<Regex>,
    /// Show matches of this regular expression in colour
    #[arg(short = 'H', long, value_name = "REGEX")]
    pub highlight: Vec<Regex>,
    /// Put pod and container in front of each line even when there is only one
    #[arg(long)]
    pub prefix: bool,
}
