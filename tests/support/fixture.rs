//! The upmeter-like application in the shapes that its StatefulSet had over the years, on a database made for the test.

use super::Namespace;

const CLAIM: &str = "data-upmeter-0";
const SEED_POD: &str = "make-database";

/// How the StatefulSet looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Around 2020: root, the server migrates.
    Root,
    /// Around 2021: user 65534, read-only root, the server migrates.
    Nobody,
    /// Around 2024: user 64535, read-only root, an init container migrates.
    Migrator,
}

impl Shape {
    fn manifest(self) -> &'static str {
        match self {
            Self::Root => include_str!("upmeter/root.yaml"),
            Self::Nobody => include_str!("upmeter/nobody.yaml"),
            Self::Migrator => include_str!("upmeter/migrator.yaml"),
        }
    }

    /// The container that migrates, and so the one whose log tells why it fails.
    pub(crate) fn migrating_container(self) -> &'static str {
        match self {
            Self::Migrator => "migrator",
            Self::Root | Self::Nobody => "upmeter",
        }
    }
}

/// StatefulSet `upmeter` with its volume.
pub(crate) struct Upmeter<'a> {
    space: &'a Namespace,
    shape: Shape,
    size: &'a str,
    image: String,
}

impl<'a> Upmeter<'a> {
    /// The application of this shape on a volume of this size (`64Mi`).
    pub(crate) fn new(space: &'a Namespace, shape: Shape, size: &'a str) -> Self {
        Self { space, shape, size, image: image("DBMIG_TEST_APP_IMAGE", "upmeter:1") }
    }

    /// The image without shell and tar.
    #[must_use]
    pub(crate) fn bare(mut self) -> Self {
        self.image = image("DBMIG_TEST_BARE_IMAGE", "upmeter:bare");
        self
    }

    /// Makes the claim and, by `upmeter generate` with these options, the database on it. No application runs yet.
    pub(crate) fn seed(&self, options: &str) -> &Self {
        self.space.volume(CLAIM, self.size);
        let pod = include_str!("upmeter/seed.yaml")
            .replace("@IMAGE@", &image("DBMIG_TEST_APP_IMAGE", "upmeter:1"))
            .replace("@COMMAND@", &format!("/upmeter generate /db/downtime.db.sqlite {options}"));
        self.space.apply(&pod);
        self.space.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", "pod", SEED_POD]);
        self
    }

    /// A shell command in the pod that made the database, with the volume at /db; its stdout.
    pub(crate) fn on_volume(&self, command: &str) -> String {
        self.space.kubectl(&["exec", SEED_POD, "--", "sh", "-c", command])
    }

    /// Lets go of the volume.
    pub(crate) fn seeded(&self) -> &Self {
        self.space.kubectl(&["delete", "pod", SEED_POD, "--grace-period=1"]);
        self
    }

    /// Deploys the StatefulSet; does not wait.
    pub(crate) fn deploy(&self) -> &Self {
        let class = if std::env::var_os("DBMIG_TEST_LAB").is_some() { "storageClassName: sized" } else { "" };
        let manifest = self
            .shape
            .manifest()
            .replace("@IMAGE@", &self.image)
            .replace("@HELPER@", &image("DBMIG_TEST_HELPER_IMAGE", "busybox:1"))
            .replace("@SIZE@", self.size)
            .replace("storageClassName: @CLASS@", class);
        self.space.apply(&manifest);
        self
    }

    /// Waits until the pod is Ready.
    pub(crate) fn ready(&self) -> &Self {
        self.space.wait_for("upmeter-0 is Ready", || {
            let status = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
            self.space.try_kubectl(&["get", "pod", "upmeter-0", "-o", status]).stdout == "True"
        });
        self
    }

    /// Waits until the migrating container crash-loops and its last log has this text; that log.
    pub(crate) fn stuck(&self, text: &str) -> String {
        let container = self.shape.migrating_container();
        let waiting = format!(
            "jsonpath={{..status['containerStatuses','initContainerStatuses'][?(@.name=='{container}')].state.waiting.reason}}"
        );
        let mut log = String::new();
        self.space.wait_for(&format!("{container} crash-loops, saying {text:?}"), || {
            let reason = self.space.try_kubectl(&["get", "pod", "upmeter-0", "-o", &waiting]).stdout;
            log = self.space.try_kubectl(&["logs", "upmeter-0", "-c", container, "--previous"]).stdout;
            reason == "CrashLoopBackOff" && log.contains(text)
        });
        log
    }
}

fn image(variable: &str, ours: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| ours.to_owned())
}
