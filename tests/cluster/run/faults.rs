//! What goes wrong with a Job: killed plugins, Ctrl-C, images and quotas that are not there, migrations that fail.

use serde_json::json;

use super::{HEAD, Keeper, ends, is_tidy, newest, records};
use crate::support::{Namespace, Running, Tmux};

const UPGRADE: &str = "flask db upgrade";

/// The Role that users are given.
const ROLE: &str = include_str!("../../../plugin-manifest/run.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_killed_at_any_step_is_resumed_and_has_migrated_once() {
    let Some(keeper) = Keeper::new("runkill").await else { return };
    let (_dir, file) = keeper.file_of(UPGRADE);
    let words = ["run", "-f", &file, "--yes"];
    for step in 1..=4 {
        let mut running = Running::start(keeper.space.dbmig_command(&words));
        running.reaches(step, 5);
        running.kill();
        let record = records(&keeper.space).pop().unwrap();
        if record["phase"] != "done" {
            // Whether its Job runs, is over, or is not there yet.
            ends(&keeper.space.dbmig(&words), 5, &["nothing was changed"]);
            ends(&keeper.space.dbmig(&["resume", "--yes"]), 0, &[]);
        }
        assert_eq!(keeper.revision().as_deref(), Some(HEAD), "killed at step {step}");
        let log = keeper.space.dbmig(&["logs", record["id"].as_str().unwrap()]);
        let upgrades = log.stdout.matches("creating products").count();
        assert_eq!((log.code, upgrades), (0, 1), "killed at step {step}: {}{}", log.stdout, log.stderr);
        keeper.reset();
    }
    is_tidy(&keeper.space);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_start_is_taken_back_and_what_fails_says_why() {
    let Some(keeper) = Keeper::new("runfault").await else { return };
    let space = &keeper.space;
    let (_dir, file) = keeper.file_of(UPGRADE);
    let no_jobs = || assert_eq!(space.kubectl(&["get", "jobs", "-o", "name"]), "");

    let run = space.dbmig(&["run", "-f", &file, "--yes", "--image", "no.such.registry.invalid/keeper:9"]);
    ends(&run, 1, &["can't start", "no.such.registry.invalid/keeper:9", "everything was taken back"]);
    no_jobs();

    let quota =
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}});
    space.apply(&quota.to_string());
    space.wait_for("the quota is in force", || {
        space.try_kubectl(&["get", "quota", "none", "-o", "jsonpath={.status.hard.pods}"]).stdout == "0"
    });
    // No helper pod comes up either, so the books are not asked.
    let run = space.dbmig(&["run", "-f", &file, "--yes", "--timeout", "10s"]);
    ends(&run, 6, &["did not start within 10 s", "exceeded quota", "everything was taken back"]);
    no_jobs();
    space.kubectl(&["delete", "quota", "none"]);

    // Admission refuses the Job itself.
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"count/jobs.batch": "0"}}});
    space.apply(&quota.to_string());
    space.wait_for("the quota is in force", || {
        space.try_kubectl(&["get", "quota", "none", "-o", "jsonpath={.status.hard.count/jobs\\.batch}"]).stdout == "0"
    });
    ends(&space.dbmig(&["run", "-f", &file, "--yes"]), 1, &["cannot create job/", "exceeded quota", "everything was taken back"]);
    no_jobs();
    space.kubectl(&["delete", "quota", "none"]);

    let (_other, failing) = keeper.file_of("flask db upgrade 1ba709663f26; flask db upgrade nonsense");
    let run = space.dbmig(&["run", "-f", &failing, "--yes"]);
    ends(
        &run,
        1,
        &[
            "the migration failed",
            "exit code 1",
            "revision identified by 'nonsense'",
            "applied 1ba709663f26",
            "kubectl dbmig logs run-",
        ],
    );
    let record = records(space).pop().unwrap();
    assert_eq!((&record["phase"], keeper.revision().as_deref()), (&json!("failed"), Some("1ba709663f26")));
    let id = newest(space);
    ends(&space.dbmig(&["undo", &id, "--yes"]), 4, &["not where it was before", "nothing was changed"]);
    // The Job that failed is in nobody's way.
    ends(&space.dbmig(&["run", "-f", &file, "--yes"]), 0, &["version 1ba709663f26 → 0c0c70d73d4b", "done"]);
    assert_eq!(keeper.revision().as_deref(), Some(HEAD));

    // A try that fails is not the end where more were asked for.
    keeper.reset();
    let (_third, flaky) =
        keeper.file_of("[ -e /data/tried ] || { touch /data/tried; echo the first try; exit 3; }; flask db upgrade");
    let run = space.dbmig(&["run", "-f", &flaky, "--yes", "--backoff-limit", "2"]);
    ends(&run, 0, &["the first try", "exit code 3", "its Job tries again", "applied 0c0c70d73d4b"]);
    let failing = "echo one more try; exit 3";
    let (_fourth, failing) = keeper.file_of(failing);
    let run = space.dbmig(&["run", "-f", &failing, "--yes", "--backoff-limit", "1"]);
    ends(&run, 1, &["its Job tries again", "the migration failed", "exit code 3"]);
    assert_eq!(run.stderr.matches("| one more try").count(), 2, "{}", run.stderr);
    is_tidy(space);
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_it_running_and_its_role_is_enough() {
    let Some(keeper) = Keeper::new("runleave").await else { return };
    let space = &keeper.space;
    let dir = tempfile::tempdir().unwrap();
    let user = space.user("oncall", ROLE, "kubectl-dbmig-run", dir.path());
    let (_dir, file) = keeper.file_of("until [ -e /data/go ]; do sleep 1; done; flask db upgrade");
    let words = ["run", "-f", &file, "--yes"];
    let mut running = Running::start(space.dbmig_command_as(&user, &words));
    running.reaches(3, 5);
    let job = || space.kubectl(&["get", "jobs", "-o", "jsonpath={.items[*].status.active}"]);
    space.wait_for("the migration runs", || job() == "1");
    running.interrupt();
    ends(&running.ends(), 8, &["goes on without us", "kubectl dbmig watch run-", "kubectl dbmig resume", "kubectl dbmig undo"]);
    assert_eq!(job(), "1");
    ends(&space.dbmig_as(&user, &words), 5, &["nothing was changed"]);

    // Taken back while it runs: nothing of it is left.
    ends(&space.dbmig_as(&user, &["undo", "--yes"]), 0, &["taken back"]);
    assert_eq!(space.kubectl(&["get", "jobs", "-o", "name"]), "");

    // Who sits at a terminal is asked.
    let tmux = Tmux::run(&space.dbmig_command_as(&user, &words), 160, 40);
    space.wait_for("the migration runs", || job() == "1");
    tmux.presses("C-c");
    tmux.until("it asks what is to become of it", |screen| screen.contains("Stop it instead"));
    tmux.types("y");
    tmux.presses("Enter");
    space.wait_for("it has left", || tmux.screen().contains("left with"));
    let screen = tmux.screen();
    assert!(screen.contains("left with 130") && screen.contains("taken back"), "{screen}");
    assert_eq!(space.kubectl(&["get", "jobs", "-o", "name"]), "");

    let mut running = Running::start(space.dbmig_command_as(&user, &words));
    running.reaches(3, 5);
    running.interrupt();
    ends(&running.ends(), 8, &[]);
    let id = newest(space);
    std::fs::write(keeper.file.with_file_name("go"), "").unwrap();
    let watched = space.dbmig_as(&user, &["watch", &id, "--until", "complete", "--timeout", "170s"]);
    assert_eq!(watched.code, 0, "{}{}", watched.stdout, watched.stderr);
    ends(&space.dbmig_as(&user, &["resume", "--yes"]), 0, &["applied 0c0c70d73d4b", "done"]);
    assert_eq!(keeper.revision().as_deref(), Some(HEAD));
    is_tidy(space);
}

/// A webhook that is asked of each Job of one namespace, and that nobody answers.
struct Webhook<'a>(&'a Namespace);

impl<'a> Webhook<'a> {
    fn new(space: &'a Namespace) -> Self {
        // Servers before 1.21 don't label a namespace with its name.
        space.kubectl(&["label", "namespace", space.name(), &format!("dbmig-webhook={}", space.name())]);
        let rule = json!({"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]});
        let webhook = json!({"name": "jobs.dbmig.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "timeoutSeconds": 5, "namespaceSelector": {"matchLabels": {"dbmig-webhook": space.name()}}, "rules": [rule],
            "clientConfig": {"service": {"namespace": space.name(), "name": "nobody", "path": "/"}}});
        let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": space.name()}, "webhooks": [webhook]});
        space.apply(&object.to_string());
        let made = Self(space);
        space.wait_for("the webhook is asked", || {
            let words = ["create", "job", "asked", "--image=busybox:1", "--dry-run=server"];
            space.try_kubectl(&words).stderr.contains("failed calling webhook")
        });
        made
    }
}

impl Drop for Webhook<'_> {
    fn drop(&mut self) {
        self.0.try_kubectl(&["delete", "validatingwebhookconfiguration", self.0.name()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_admission_refuses_is_never_there_and_nothing_is_migrated() {
    let Some(keeper) = Keeper::new("runadmit").await else { return };
    let space = &keeper.space;
    let (_dir, file) = keeper.file_of(UPGRADE);
    let webhook = Webhook::new(space);
    let run = space.dbmig(&["run", "-f", &file, "--yes"]);
    ends(&run, 1, &["cannot create job/", "jobs.dbmig.dev", "everything was taken back"]);
    assert_eq!((space.kubectl(&["get", "jobs", "-o", "name"]).as_str(), keeper.revision()), ("", None));
    assert_eq!(records(space).pop().unwrap()["phase"], "undone");
    is_tidy(space);
    drop(webhook);
    space.wait_for("the webhook is asked no more", || {
        space.try_kubectl(&["create", "job", "asked", "--image=busybox:1", "--dry-run=server"]).code == 0
    });
    ends(&space.dbmig(&["run", "-f", &file, "--yes"]), 0, &["applied 0c0c70d73d4b"]);
    is_tidy(space);
}
