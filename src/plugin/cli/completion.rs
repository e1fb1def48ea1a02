//! `kubectl dbmig completion`: what can be typed.

/// Make the Tab key complete `kubectl dbmig`
///
/// kubectl completes a plugin by running a file `kubectl_complete-dbmig` from the PATH (kubectl 1.26 and newer);
/// `completion install` puts it beside this program. `completion bash|zsh|fish` prints a script for calling
/// kubectl-dbmig without kubectl.
#[derive(clap::Args, Debug, Clone)]
#[command(
    args_conflicts_with_subcommands = true,
    after_long_help = "\
Examples:
  # For `kubectl dbmig`
  kubectl dbmig completion install

  # For `kubectl-dbmig` in the bash of today
  source <(kubectl dbmig completion bash)"
)]
pub struct Args {
    #[allow(missing_docs, reason = "documented at its type")]
    #[command(subcommand)]
    pub what: What,
}

/// What to do for completion.
#[derive(clap::Subcommand, Debug, Clone)]
pub enum What {
    /// Print the script for bash
    Bash,
    /// Print the script for zsh
    Zsh,
    /// Print the script for fish
    Fish,
    /// Put a link named kubectl_complete-dbmig beside this program, so that kubectl completes it
    Install(Install),
}

/// `completion install`.
#[derive(clap::Args, Debug, Clone)]
pub struct Install {
    /// Do not ask
    #[arg(short = 'y', long)]
    pub yes: bool,
}
