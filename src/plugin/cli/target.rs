//! What the user points at. Only the words; which object they mean is found by asking the cluster.

use clap::Args;

/// A workload, as kubectl takes it.
#[derive(Args, Debug, Clone)]
pub struct TargetArgs {
    /// What to work on: NAME of a pod, TYPE/NAME or TYPE NAME (pod, sts, deploy, job, … and their short names)
    #[arg(required = true, num_args = 1..=2, value_names = ["TYPE/NAME"])]
    pub target: Vec<String>,
    /// Container of the pod; else the one of its annotation kubectl.kubernetes.io/default-container, else the first
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
}
