//! One file per command: what was typed → what is found → a plan → carried out → a report. This file only connects them.

mod books;
pub mod cleanup;
pub mod complete;
pub mod completion;
pub mod doctor;
pub mod events;
pub mod finish;
pub mod history;
mod holders;
mod kept_logs;
mod live_names;
pub mod logs;
mod migrations;
mod neighbours;
mod operation;
mod pair;
pub mod promote;
mod reach;
pub mod repair;
mod report;
pub mod resume;
pub mod route;
pub mod run;
mod scope;
pub mod session;
pub mod start;
pub mod status;
pub mod undo;
pub mod vacuum;
pub mod version;
pub mod watch;
mod watch_screen;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Builder;

use self::complete::Names;
use self::live_names::LiveNames;
use self::version::AgentInfo;
use crate::cli::Command;
use crate::cli::connection::Connection;
use crate::cluster::connect;
use crate::cluster::payload::{PAYLOADS, Payload};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::shutdown::{self, Stop};
use crate::ui::Ui;

/// What every command gets.
#[derive(Clone)]
pub struct Context {
    /// How to reach the cluster.
    pub connection: Connection,
    /// Where to print and ask.
    pub ui: Ui,
    /// Whether to stop.
    pub stop: Stop,
    /// The name this program was called by.
    pub program: PathBuf,
}

/// Runs a command to its end.
///
/// # Errors
/// Whatever the command has to say.
pub fn dispatch(command: Command, ctx: &Context) -> Result<Exit> {
    ctx.connection.check()?;
    match command {
        Command::Vacuum(args) => on_runtime(ctx, vacuum::run(ctx, args.into())),
        Command::Watch(args) => on_one_thread(ctx, watch::run(ctx, args)),
        Command::Logs(args) => on_one_thread(ctx, logs::run(ctx, args)),
        Command::Status(args) => on_one_thread(ctx, status::run(ctx, args)),
        Command::Doctor(args) => on_runtime(ctx, doctor::run(ctx, args)),
        Command::Repair(args) => on_runtime(ctx, repair::run(ctx, args.try_into())),
        Command::Force(args) => on_runtime(ctx, repair::run(ctx, args.try_into())),
        Command::Stamp(args) => on_runtime(ctx, repair::run(ctx, args.try_into())),
        Command::Unlock(args) => on_runtime(ctx, repair::run(ctx, args.try_into())),
        Command::Start(args) => on_runtime(ctx, start::run(ctx, args)),
        Command::Finish(args) => on_runtime(ctx, finish::run(ctx, args)),
        Command::Promote(args) => on_runtime(ctx, promote::run(ctx, args)),
        Command::Route(args) => on_runtime(ctx, route::run(ctx, args)),
        Command::Events(args) => on_one_thread(ctx, events::run(ctx, args)),
        Command::Run(args) => on_runtime(ctx, run::run(ctx, args)),
        Command::Rollback(args) => on_runtime(ctx, run::roll_back(ctx, args)),
        Command::Resume(args) => on_runtime(ctx, resume::run(ctx, args)),
        Command::Undo(args) => on_runtime(ctx, undo::run(ctx, args)),
        Command::Cleanup(args) => on_runtime(ctx, cleanup::run(ctx, args)),
        Command::History(args) => on_runtime(ctx, history::run(ctx, args)),
        Command::Version(args) => on_runtime(ctx, version::run(&args, ctx, agents(), server_version(&ctx.connection))),
        Command::Completion(args) => on_runtime(ctx, completion::run(args.what, ctx)),
    }
}

/// Runs work that has several things to do at once.
fn on_runtime(ctx: &Context, work: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    carry_through(ctx, Builder::new_multi_thread().worker_threads(2), work)
}

/// Runs work that mostly waits: to wake up another thread for each line of a log costs more than the line.
fn on_one_thread(ctx: &Context, work: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    carry_through(ctx, &mut Builder::new_current_thread(), work)
}

/// With signals caught: the first asks the work to stop, the second leaves without waiting for it.
fn carry_through(ctx: &Context, runtime: &mut Builder, work: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start: {error}")).state("nothing was changed"))?;
    let ended = runtime.block_on(async {
        let signals = shutdown::signals()?;
        tokio::select! {
            biased;
            ended = work => ended,
            leave = shutdown::escalate(signals, &ctx.stop, &ctx.ui) => Err(leave),
        }
    });
    ctx.ui.end_drawing();
    // A thread may still wait for an answer at a prompt.
    runtime.shutdown_background();
    ended
}

/// The helper binaries inside this program.
fn agents() -> Vec<AgentInfo> {
    let info =
        |payload: &Payload| AgentInfo { architecture: payload.arch, sha256: payload.sha256.to_owned(), bytes: payload.bytes };
    PAYLOADS.iter().map(info).collect()
}

/// The version of the server that the flags lead to, if it tells.
async fn server_version(connection: &Connection) -> Option<String> {
    let cluster = connect(&session::flags(connection)).await.ok()?;
    Some(cluster.features().await.ok()?.version.clone())
}

/// The names that complete a line with these connection flags.
#[must_use]
pub fn names(connection: &Connection) -> Arc<dyn Names> {
    Arc::new(LiveNames::new(connection))
}
