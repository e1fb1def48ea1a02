//! `cargo xtask test`: every test of the workspace, those on a cluster and those with real migration tools included.

use std::process::{Command, Stdio};

use crate::Outcome;
use crate::cluster::{Kubernetes, lab};
use crate::process::{cargo, heading, on_path, root, run as run_command};

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
        for image in ["databases", "helm", "migrations", "moving", "steady"] {
            run_command(Command::new(lab().with_file_name(image).join("build")).stdout(Stdio::null()))?;
        }
    }
    heading(&format!("testing on {}", cluster.describe()));
    let mut tests = cargo();
    if on_path("cargo-nextest") {
        tests.args(["nextest", "run", "--profile", "cluster", "--workspace", "--all-features"]).args(&args.filters);
    } else {
        tests.args(["test", "--workspace", "--all-features", "--"]).args(&args.filters);
    }
    cluster.tell(&mut tests);
    with_tools(&mut tests)
}

/// Runs the tests with the migration tools installed and their databases up, which end with the tests.
fn with_tools(tests: &mut Command) -> Outcome {
    let scripts = root().join("tests/framework/tools");
    let tools = root().join("target/test-tools");
    heading("migration tools for the framework tests");
    run_command(Command::new(scripts.join("up")).arg(&tools))?;
    let outcome = run_command(tests.env("DBMIG_TEST_TOOLS", &tools));
    run_command(Command::new(scripts.join("down")).arg(&tools))?;
    outcome
}
