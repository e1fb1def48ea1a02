//! `cargo xtask`: what this repository does to itself. Never part of the product, and nothing here is linked into it.

mod bench;
mod check;
mod cluster;
mod demo;
mod dist;
mod picture;
mod process;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Why a task stopped, as a person would say it.
type Outcome<T = ()> = Result<T, String>;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about = "What this repository does to itself")]
struct Command {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring the throwaway Kubernetes up or down, look at it, or talk to it
    Cluster(cluster::Args),
    /// Show the plugin at work on a pod that is stuck: crash-looping, dirty, its disk full
    Demo(demo::Args),
    /// Run every test, those on a real cluster included
    Test(test::Args),
    /// Pack the archives and the krew manifest of a release
    Dist(dist::Args),
    /// Measure, and print a table (or JSON lines) of ratios and goals
    Bench(bench::Args),
    /// Put the screen of `watch` during the demo's vacuum into README
    Picture,
    /// Check the rules of the repository that no other tool checks
    Check,
}

fn main() -> ExitCode {
    let outcome = match Command::parse().task {
        Task::Cluster(args) => cluster::run(&args),
        Task::Demo(args) => demo::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Dist(args) => dist::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Picture => picture::run(),
        Task::Check => check::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            process::say(&format!("error: {why}"));
            ExitCode::FAILURE
        }
    }
}
