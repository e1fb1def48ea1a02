//! `cargo xtask demo`: the seed's story from end to end, as a person would type it. Uses the plugin only through kubectl.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::Outcome;
use crate::cluster::{Kubernetes, agree, lab};
use crate::process::{capture, cargo, heading, path_with, root, run as run_command, say};

/// Volume of the story, 1/16 of the seed's 1 GiB; a file system of this size has about 53 MiB for files.
const VOLUME: &str = "64Mi";
/// 27 days of 30 s rows, 40 of 5 min rows: 33 MiB, which the application's migration 4 would double, and of which 5 MiB are worth keeping.
const DATABASE: &str = "/upmeter generate /db/downtime.db.sqlite --days 27 --summed-days 40 --retired 1";
/// Namespace of the demo, and name of its volume.
const DEMO: &str = "dbmig-demo";
/// Those of the benchmark, so that it stands in no demo's way.
const BENCH: &str = "dbmig-bench";
const SEED_POD: &str = "make-database";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Ask nothing
    #[arg(long, short)]
    yes: bool,
    /// Use this context of your kubeconfig instead of the throwaway cluster
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Image of the upmeter-like application, where the cluster can pull it
    #[arg(long, value_name = "IMAGE")]
    app_image: Option<String>,
    /// Image with a shell, where the cluster can pull it
    #[arg(long, value_name = "IMAGE")]
    helper_image: Option<String>,
    /// Leave the namespace as it is at the end
    #[arg(long)]
    keep: bool,
}

struct Demo {
    /// Namespace, and name of the volume.
    name: &'static str,
    cluster: Kubernetes,
    app: String,
    helper: String,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.context.is_some() && (args.app_image.is_none() || args.helper_image.is_none()) {
        return Err("a cluster of yours has to pull two images: make them with `tests/cluster/lab/upmeter/build` (it names the archives), push \
                    them, and name them with --app-image (upmeter:1) and --helper-image (busybox:1, any busybox will do)"
            .to_owned());
    }
    let cluster = Kubernetes::choose(args.context.as_deref(), args.yes)?;
    say(&format!("the demo runs on {}, in its own namespace {DEMO}", cluster.describe()));
    if !cluster.is_lab() {
        say("volumes here are of the default storage class: their size may not be enforced, so the disk may not be full");
        agree(args.yes)?;
    }
    let image = |named: &Option<String>, ours: &str| named.clone().unwrap_or_else(|| ours.to_owned());
    let demo =
        Demo { name: DEMO, cluster, app: image(&args.app_image, "upmeter:1"), helper: image(&args.helper_image, "busybox:1") };
    heading("building the plugin");
    run_command(cargo().args(["build", "--package", "kubectl-dbmig"]))?;
    demo.clear()?;
    let outcome = demo.story();
    if !args.keep {
        heading("cleaning up");
        demo.clear()?;
    }
    outcome
}

/// The story once more, for a benchmark: the JSON lines that `kubectl dbmig vacuum … -o json` prints meanwhile.
pub(crate) fn told_in_json() -> Outcome<String> {
    let cluster = Kubernetes::choose(None, true)?;
    let demo = Demo { name: BENCH, cluster, app: "upmeter:1".to_owned(), helper: "busybox:1".to_owned() };
    run_command(cargo().args(["build", "--package", "kubectl-dbmig"]))?;
    demo.clear()?;
    let told = demo.deploy().and_then(|()| demo.show_stuck()).and_then(|()| capture(demo.vacuuming()?.args(["-o", "json"])));
    demo.clear()?;
    told
}

/// The story once more, for a picture: `work` gets the command that watches and the one that vacuums.
pub(crate) fn while_it_vacuums<T>(work: impl FnOnce(&Command, Command) -> Outcome<T>) -> Outcome<T> {
    let cluster = Kubernetes::choose(None, true)?;
    let demo = Demo { name: BENCH, cluster, app: "upmeter:1".to_owned(), helper: "busybox:1".to_owned() };
    run_command(cargo().args(["build", "--package", "kubectl-dbmig"]))?;
    demo.clear()?;
    let done = demo
        .deploy()
        .and_then(|()| demo.show_stuck())
        .and_then(|()| work(&demo.plugin(&["watch", "upmeter-0"])?, demo.vacuuming()?));
    demo.clear()?;
    done
}

impl Demo {
    fn kubectl(&self) -> Command {
        let mut kubectl = self.cluster.kubectl();
        kubectl.args(["--namespace", self.name]);
        kubectl
    }

    /// Removes what this or an earlier demo left.
    fn clear(&self) -> Outcome {
        run_command(self.cluster.kubectl().args(["delete", "namespace", self.name, "--ignore-not-found"]))?;
        if self.cluster.is_lab() {
            run_command(Command::new(lab()).args(["pv-gone", self.name]))?;
        }
        Ok(())
    }

    fn story(&self) -> Outcome {
        heading(&format!("an upmeter with {VOLUME} of disk that nobody ever tidied up"));
        self.deploy()?;
        self.show_stuck()?;
        heading("kubectl dbmig vacuum upmeter-0 --repair --yes");
        self.vacuum()?;
        self.show_healed()
    }

    fn deploy(&self) -> Outcome {
        run_command(self.cluster.kubectl().args(["create", "namespace", self.name]).stdout(Stdio::null()))?;
        let class = if self.cluster.is_lab() {
            run_command(Command::new(lab()).args(["pv", self.name, VOLUME, self.name, "data-upmeter-0"]).stdout(Stdio::null()))?;
            "storageClassName: sized"
        } else {
            ""
        };
        let manifest = read("tests/support/upmeter/root.yaml")?
            .replace("@IMAGE@", &self.app)
            .replace("@HELPER@", &self.helper)
            .replace("@SIZE@", VOLUME)
            .replace("storageClassName: @CLASS@", class);
        if !self.cluster.is_lab() {
            self.apply(&format!(
                "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: data-upmeter-0}}\nspec: {{accessModes: [ReadWriteOnce], \
                 resources: {{requests: {{storage: {VOLUME}}}}}}}\n"
            ))?;
        }
        self.apply(&read("tests/support/upmeter/seed.yaml")?.replace("@IMAGE@", &self.app).replace("@COMMAND@", DATABASE))?;
        run_command(
            self.kubectl().args(["wait", "--for=condition=Ready", "--timeout=180s", "pod", SEED_POD]).stdout(Stdio::null()),
        )?;
        self.apply(&manifest)
    }

    /// Waits for the dirty crash loop, and shows it.
    fn show_stuck(&self) -> Outcome {
        heading("its release brings a migration that needs twice the space");
        self.until("upmeter-0 crash-loops with a dirty database", || {
            let log = capture(self.kubectl().args(["logs", "upmeter-0", "-c", "upmeter", "--previous"])).unwrap_or_default();
            log.contains("Dirty database version 4")
        })?;
        run_command(self.kubectl().args(["get", "pod", "upmeter-0"]))?;
        run_command(self.kubectl().args(["logs", "upmeter-0", "-c", "upmeter", "--tail=1"]))?;
        run_command(self.kubectl().args(["exec", SEED_POD, "--", "sh", "-c", "ls -l /db; df -m /db"]))?;
        run_command(self.kubectl().args(["delete", "pod", SEED_POD, "--grace-period=1"]).stdout(Stdio::null()))?;
        heading("kubectl dbmig status upmeter-0");
        // Exit code 3: something needs attention.
        self.plugin(&["status", "upmeter-0"])?.status().map(|_| ()).map_err(|e| format!("cannot run kubectl: {e}"))?;
        say(&format!(
            "\nto see all of it live, type in another terminal: kubectl dbmig watch upmeter-0 --namespace {}",
            self.name
        ));
        Ok(())
    }

    /// As a person would: kubectl finds the plugin on the PATH.
    fn vacuum(&self) -> Outcome {
        run_command(&mut self.vacuuming()?)
    }

    fn vacuuming(&self) -> Outcome<Command> {
        self.plugin(&["vacuum", "upmeter-0", "--repair", "--yes", "--helper-image", &self.helper])
    }

    fn plugin(&self, words: &[&str]) -> Outcome<Command> {
        let mut kubectl = Command::new("kubectl");
        kubectl.env("PATH", path_with(&root().join("target/debug"))?);
        kubectl.arg("dbmig").args(words).args(["--namespace", self.name]);
        match &self.cluster {
            Kubernetes::Lab { kubeconfig } => kubectl.env("KUBECONFIG", kubeconfig),
            Kubernetes::Named { context } => kubectl.args(["--context", context]),
        };
        Ok(kubectl)
    }

    fn show_healed(&self) -> Outcome {
        heading("afterwards");
        run_command(
            self.kubectl().args(["wait", "--for=condition=Ready", "--timeout=120s", "pod", "upmeter-0"]).stdout(Stdio::null()),
        )?;
        run_command(self.kubectl().args(["get", "pod", "upmeter-0"]))?;
        let version = capture(self.kubectl().args([
            "exec", "upmeter-0", "-c", "upmeter", "--", "sh", "-c",
            "/migrate -path=/data/migrations/server -database=sqlite3:///db/downtime.db.sqlite version 2>&1; ls -l /db; df -m /db",
        ]))?;
        say(&format!("schema version {version}"));
        if version.lines().next() != Some("9") {
            return Err("the application's migrations were not all applied".to_owned());
        }
        Ok(())
    }

    fn apply(&self, manifest: &str) -> Outcome {
        let file = tempfile::NamedTempFile::new().map_err(|e| format!("cannot make a temporary file: {e}"))?;
        std::fs::write(file.path(), manifest).map_err(|e| format!("{}: {e}", file.path().display()))?;
        run_command(self.kubectl().args(["apply", "-f"]).arg(file.path()).stdout(Stdio::null()))
    }

    fn until(&self, what: &str, mut seen: impl FnMut() -> bool) -> Outcome {
        for _ in 0..180 {
            if seen() {
                return Ok(());
            }
            sleep(Duration::from_secs(1));
        }
        Err(format!(
            "after 3 minutes it is still not so that {what}; look with `kubectl -n {} describe pod upmeter-0`",
            self.name
        ))
    }
}

fn read(path: &str) -> Outcome<String> {
    let path: &Path = &root().join(path);
    std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}
