//! What an observer is pointed at. Only the words; which objects they mean is found by asking the cluster.

use clap::Args;

/// A target, a selector, or neither.
#[derive(Args, Debug, Clone, Default)]
pub struct ScopeArgs {
    /// What to look at: NAME of a pod or an operation, TYPE/NAME or TYPE NAME (pod, sts, deploy, job, cronjob, …); else what dbmig works on now, else what migrates
    #[arg(num_args = 0..=2, value_names = ["TYPE/NAME"])]
    pub target: Vec<String>,
    /// Everything that this label selector finds, like app=upmeter
    #[arg(short = 'l', long, value_name = "SELECTOR", conflicts_with = "target")]
    pub selector: Option<String>,
    /// In all namespaces
    #[arg(short = 'A', long, conflicts_with = "target")]
    pub all_namespaces: bool,
}
