//! What the user can type: the root and the list of commands, one file per command. No I/O, no Kubernetes types.
//!
//! A new command is one file here, one line in [`Command`] and one in [`crate::command::dispatch`].

pub mod backup;
pub mod cleanup;
pub mod completion;
pub mod connection;
pub mod database;
pub mod doctor;
pub mod duration;
pub mod events;
pub mod finish;
pub mod force;
pub mod history;
pub mod keep;
pub mod logs;
pub mod output;
pub mod promote;
pub mod repair;
pub mod resume;
pub mod rollback;
pub mod route;
pub mod run;
pub mod scope;
pub mod stamp;
pub mod start;
pub mod status;
pub mod target;
pub mod undo;
pub mod unlock;
pub mod vacuum;
pub mod version;
pub mod watch;

use std::fmt::Write as _;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::connection::Connection;
use crate::exit::Exit;
use crate::ui::Format;

/// Get a database migration on Kubernetes unstuck, run, watched, finished or taken back
///
/// Nothing is installed in the cluster, and at every instant one complete, proven copy of the data is on disk.
/// Every command that changes something shows what it would do and asks first; --dry-run only shows.
#[derive(Parser)]
#[command(name = "kubectl-dbmig", bin_name = "kubectl dbmig", version, subcommand_required = true, arg_required_else_help = true)]
#[command(max_term_width = 110, disable_help_subcommand = true)]
pub struct Cli {
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(flatten)]
    pub connection: Connection,
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, in the order in which the help lists them.
#[derive(Subcommand)]
#[allow(missing_docs, reason = "each variant is documented at its type")]
pub enum Command {
    Vacuum(vacuum::Args),
    Watch(watch::Args),
    Logs(logs::Args),
    Status(status::Args),
    Events(events::Args),
    Doctor(doctor::Args),
    Repair(repair::Args),
    Force(force::Args),
    Stamp(stamp::Args),
    Unlock(unlock::Args),
    Run(run::Args),
    Rollback(rollback::Args),
    Start(start::Args),
    Finish(finish::Args),
    Promote(promote::Args),
    Route(route::Args),
    Resume(resume::Args),
    Undo(undo::Args),
    History(history::Args),
    Cleanup(cleanup::Args),
    Version(version::Args),
    Completion(completion::Args),
}

impl Command {
    /// How the result is to be shown, and whether the table's head is left out.
    #[must_use]
    pub fn output(&self) -> (Format, bool) {
        match self {
            Self::Vacuum(args) => (args.output.format, false),
            Self::Watch(args) => (if args.format.is_some() { Format::Json } else { Format::Table }, false),
            Self::Logs(_) => (Format::Table, false),
            Self::Status(args) => (args.output.format, args.output.no_headers),
            Self::Events(args) => (args.output.format, args.output.no_headers),
            Self::Doctor(args) => (args.output.format, args.output.no_headers),
            Self::Repair(repair::Args { how, .. })
            | Self::Force(force::Args { how, .. })
            | Self::Stamp(stamp::Args { how, .. })
            | Self::Unlock(unlock::Args { how, .. }) => (how.output.format, false),
            Self::Run(args) => (args.job.output.format, false),
            Self::Rollback(args) => (args.job.output.format, false),
            Self::Start(args) => (args.output.format, false),
            Self::Finish(args) => (args.output.format, false),
            Self::Promote(args) => (args.output.format, false),
            Self::Route(args) => (args.output.format, false),
            Self::Resume(args) => (args.output.format, false),
            Self::Undo(args) => (args.output.format, false),
            Self::Cleanup(args) => (args.output.format, args.output.no_headers),
            Self::History(args) => (args.output.format, args.output.no_headers),
            Self::Version(args) => (args.output.format, false),
            Self::Completion(_) => (Format::Table, false),
        }
    }
}

/// The whole command line for clap, with the table of exit codes at its end.
#[must_use]
pub fn definition() -> clap::Command {
    let mut codes = String::from("Exit codes:");
    for (exit, meaning) in Exit::ALL {
        // Writing to a string cannot fail.
        let _ = write!(codes, "\n  {:>3}  {meaning}", exit.code());
    }
    Cli::command().after_long_help(codes).after_help("See --help for all connection flags and the exit codes.")
}

/// Parses the command line.
///
/// # Errors
/// The command line makes no sense, or asks for help or the version; clap's error renders all three.
pub fn parse(argv: impl IntoIterator<Item = std::ffi::OsString>) -> Result<Cli, clap::Error> {
    let mut definition = definition();
    let mut matches = definition.try_get_matches_from_mut(argv)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut definition))
}
