//! Which Kubernetes the tests and the demo use, and how it comes up. The work itself is done by tests/cluster/lab.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Subcommand;

use crate::Outcome;
use crate::process::{capture, heading, on_path, root, run as run_command, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Install what is missing, build, start, and make the test images; a second time does nothing
    Up {
        /// Ask nothing
        #[arg(long, short)]
        yes: bool,
    },
    /// Stop and remove all of it; what was built stays cached
    Down,
    /// What runs
    Status,
    /// kubectl as the cluster's admin
    #[command(disable_help_flag = true)]
    Kubectl {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// A Kubernetes to test on.
pub(crate) enum Kubernetes {
    /// Our own throwaway one.
    Lab {
        /// Its admin's kubeconfig.
        kubeconfig: PathBuf,
    },
    /// One that the user named, in the kubeconfig in force.
    Named {
        /// The context.
        context: String,
    },
}

/// The script that does the work.
pub(crate) fn lab() -> PathBuf {
    root().join("tests/cluster/lab/lab")
}

pub(crate) fn run(args: &Args) -> Outcome {
    match &args.what {
        What::Up { yes } => {
            let cluster = Kubernetes::lab(*yes)?;
            say(&format!("cluster up: {}", cluster.describe()));
            Ok(())
        }
        What::Down => run_command(Command::new(lab()).arg("down")),
        What::Status => run_command(Command::new(lab()).arg("status")),
        What::Kubectl { words } => run_command(Command::new(lab()).arg("kubectl").args(words)),
    }
}

impl Kubernetes {
    /// The named context; else our own cluster where it can run; else kind where Docker answers.
    pub(crate) fn choose(context: Option<&str>, yes: bool) -> Outcome<Self> {
        if let Some(context) = context {
            let named = Self::Named { context: context.to_owned() };
            capture(named.kubectl().args(["get", "--raw", "/version"]))?;
            return Ok(named);
        }
        match obstacle() {
            None => Self::lab(yes),
            Some(_) if on_path("kind") && capture(Command::new("docker").arg("info")).is_ok() => Self::kind(),
            Some(why) => Err(format!(
                "the throwaway cluster needs Debian 12 on amd64 as root: {why}; name a cluster of yours with --context NAME, \
                 or install kind and start Docker"
            )),
        }
    }

    fn lab(yes: bool) -> Outcome<Self> {
        if let Some(why) = obstacle() {
            return Err(format!("the throwaway cluster needs Debian 12 on amd64 as root: {why}; nothing was changed"));
        }
        let plan = capture(Command::new(lab()).arg("plan"))?;
        if !plan.is_empty() {
            heading("bringing up the throwaway cluster; this will");
            for line in plan.lines() {
                say(&format!("  - {line}"));
            }
            agree(yes)?;
        }
        let kubeconfig = capture_last_line(Command::new(lab()).arg("up"))?;
        run_command(Command::new(root().join("tests/cluster/lab/upmeter/build")).stdout(std::process::Stdio::null()))?;
        Ok(Self::Lab { kubeconfig: kubeconfig.into() })
    }

    fn kind() -> Outcome<Self> {
        if !capture(Command::new("kind").args(["get", "clusters"]))?.lines().any(|name| name == "dbmig") {
            heading("creating the kind cluster `dbmig` (remove it with `kind delete cluster --name dbmig`)");
            run_command(Command::new("kind").args(["create", "cluster", "--name", "dbmig", "--wait", "120s"]))?;
        }
        Ok(Self::Named { context: "kind-dbmig".to_owned() })
    }

    /// One line saying which cluster this is.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Lab { kubeconfig } => format!("the throwaway cluster (KUBECONFIG={})", kubeconfig.display()),
            Self::Named { context } => format!("context {context}"),
        }
    }

    /// Volumes with a real size limit are to be had only in our own.
    pub(crate) fn is_lab(&self) -> bool {
        matches!(self, Self::Lab { .. })
    }

    /// kubectl, already pointed at this cluster. Flags of a plugin come after its name, so the cluster goes into the environment where it can.
    pub(crate) fn kubectl(&self) -> Command {
        let mut kubectl = Command::new("kubectl");
        match self {
            Self::Lab { kubeconfig } => kubectl.env("KUBECONFIG", kubeconfig),
            Self::Named { context } => kubectl.args(["--context", context]),
        };
        kubectl
    }

    /// What the tests need to know, as environment variables.
    pub(crate) fn tell(&self, command: &mut Command) {
        match self {
            Self::Lab { kubeconfig } => command.env("DBMIG_TEST_KUBECONFIG", kubeconfig).env("DBMIG_TEST_LAB", lab()),
            Self::Named { context } => command.env("DBMIG_TEST_CONTEXT", context),
        };
    }
}

/// What keeps the throwaway cluster from running on this machine.
fn obstacle() -> Option<String> {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Some("this is another system".to_owned());
    }
    if !release.contains("VERSION_CODENAME=bookworm") {
        return Some("/etc/os-release does not say bookworm".to_owned());
    }
    let uid = capture(Command::new("id").arg("-u")).unwrap_or_default();
    (uid != "0").then(|| format!("you are user {uid}"))
}

/// Asks on a terminal; refuses without one.
pub(crate) fn agree(yes: bool) -> Outcome {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err("not asked to go on, since this is no terminal; nothing was changed; add --yes".to_owned());
    }
    match dialoguer::Confirm::new().with_prompt("Go on?").default(true).interact() {
        Ok(true) => Ok(()),
        Ok(false) => Err("stopped by you; nothing was changed".to_owned()),
        Err(e) => Err(format!("cannot ask: {e}")),
    }
}

/// The last line of stdout, while stderr (the progress) goes to the terminal.
fn capture_last_line(command: &mut Command) -> Outcome<String> {
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot run {}: {e}", Path::new(command.get_program()).display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().last() {
        Some(line) if output.status.success() => Ok(line.to_owned()),
        _ => Err("the throwaway cluster did not come up; its own message is above".to_owned()),
    }
}
