//! `kubectl dbmig`: get a database migration on Kubernetes unstuck, run, watched, finished or taken back.
//!
//! Dependencies point downwards only: `cli` and `command` → `plan`, `observe` → `cluster`, `database`, `framework`.

pub mod cli;
pub mod cluster;
pub mod command;
pub mod database;
pub mod event;
pub mod exit;
pub mod failure;
pub mod framework;
pub mod observe;
pub mod plan;
pub mod replication;
pub mod shutdown;
pub mod ui;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::path::PathBuf;

use crate::cli::Cli;
use crate::command::{Context, complete};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;
use crate::ui::{Format, Terminals, Ui};

/// The whole program: argv in, exit code out. Prints nothing but through [`ui`].
pub fn run(argv: impl IntoIterator<Item = OsString>) -> Exit {
    let terminals = Terminals::of_process();
    let talk = Ui::new(terminals, Format::Table, false);
    std::panic::set_hook(Box::new({
        let talk = talk.clone();
        move |panic| talk.fail(&bug(panic))
    }));
    let argv: Vec<OsString> = argv.into_iter().collect();
    let ended = catch_unwind(AssertUnwindSafe(|| answer(argv, terminals, &talk)));
    match ended {
        Ok(Ok(exit)) => exit,
        Ok(Err(failure)) => {
            talk.fail(&failure);
            failure.exit
        }
        // The hook has told.
        Err(_) => Exit::Failed,
    }
}

fn answer(argv: Vec<OsString>, terminals: Terminals, talk: &Ui) -> Result<Exit> {
    if let Some(words) = complete::asked_by(&argv) {
        // Completion must not talk, not even about a bug: the shell would show it in the middle of the line.
        std::panic::set_hook(Box::new(|_| ()));
        talk.print_text(&complete::run(words, command::names))?;
        return Ok(Exit::Done);
    }
    let program = argv.first().map(PathBuf::from).unwrap_or_default();
    match cli::parse(argv) {
        Ok(cli) => carry_out(cli, terminals, program),
        Err(error) if error.use_stderr() => {
            talk.fail_usage(&error);
            Ok(Exit::Usage)
        }
        Err(asked) => talk.print_text(&asked.render().to_string()).map(|()| Exit::Done),
    }
}

fn carry_out(cli: Cli, terminals: Terminals, program: PathBuf) -> Result<Exit> {
    trace(cli.connection.verbosity, terminals);
    let (format, no_headers) = cli.command.output();
    let ui = Ui::new(terminals, format, no_headers);
    let ctx = Context { connection: cli.connection, ui, stop: Stop::default(), program };
    command::dispatch(cli.command, &ctx)
}

/// `-v`: like kubectl's levels, requests from 6 on. Only our own and the client's words: the layers below would show
/// what is in a request.
fn trace(verbosity: u8, terminals: Terminals) {
    let level = match verbosity {
        0 => return,
        1..=3 => "info",
        4..=7 => "debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::new(format!("off,dbmig={level},kube={level}"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminals.colour);
    // The only place that sets one.
    let _ = subscriber.try_init();
}

fn bug(panic: &PanicHookInfo<'_>) -> Failure {
    let payload = panic.payload();
    let said = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let place = panic.location().map_or_else(String::new, |at| format!(" ({}:{})", at.file(), at.line()));
    Failure::failed(concat!("internal error: this is a bug in kubectl-dbmig ", env!("CARGO_PKG_VERSION")))
        .fact(format!("{said}{place}"))
        .state("an operation that had begun stays as it is, whole and recorded")
        .next("kubectl dbmig history")
        .next(concat!("report the lines above at ", env!("CARGO_PKG_REPOSITORY"), "/issues"))
}
