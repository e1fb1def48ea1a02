//! `cargo xtask test`: every test of the workspace, those on a cluster included.

use std::process::{Command, Stdio};

use crate::Outcome;
use crate::cluster::{Kubernetes, lab};
use crate::process::{cargo, heading, on_path, run as run_command};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Ask nothing
    #[arg(long, short)]
    yes: bool,
    /// Use this context of your kubeconfig instead of the throwaway cluster
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Only tests whose name contains one of these
    filters: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let cluster = Kubernetes::choose(args.context.as_deref(), args.yes)?;
    if cluster.is_lab() {
        run_command(Command::new(lab().with_file_name("databases").join("build")).stdout(Stdio::null()))?;
    }
    heading(&format!("testing on {}", cluster.describe()));
    let mut tests = cargo();
    if on_path("cargo-nextest") {
        tests.args(["nextest", "run", "--profile", "cluster", "--workspace", "--all-features"]).args(&args.filters);
    } else {
        tests.args(["test", "--workspace", "--all-features", "--"]).args(&args.filters);
    }
    cluster.tell(&mut tests);
    run_command(&mut tests)
}
