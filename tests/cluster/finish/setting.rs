//! Applications that have their connection from a Secret.

use super::{STEPS, finish, last};
use crate::support::{Moving, Namespace, Running, Side};

const ROLES: &str = concat!(
    include_str!("../../../plugin-manifest/move.yaml"),
    "\n---\n",
    include_str!("../../../plugin-manifest/move-secret.yaml")
);
/// Steps of a cut-over that switches: what is there is kept first.
const SWITCHING: usize = STEPS + 2;
/// The step that keeps what is there before the switch, and the switch.
const KEEP: usize = 12;
const SWITCH: usize = 13;

/// The setting now.
fn setting(space: &Namespace) -> String {
    space.kubectl(&["get", "secret", "app", "-o", "go-template={{.data.PGSERVICE | base64decode}}"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_in_a_secret_is_switched_and_set_back_from_wherever_the_plugin_died() {
    let space = Namespace::new("finish").await;
    let Some(moving) = Moving::new(&space) else { return };
    let moving = moving.up();
    let secret = |name: &str, key: &str, value: &str| {
        let object =
            serde_json::json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}});
        space.apply(&object.to_string());
    };
    secret("app", "PGSERVICE", "web15");
    secret("pg17", "service", "web17");
    space.kubectl(&["set", "env", "deployment/postgrest", "--from=secret/app"]);
    moving.web(1).writes(50).job().follows();
    let words = |setting: &'static str| {
        [
            "job/db-upgrade",
            "--yes",
            "--max-downtime",
            "10m",
            "--revoke",
            "anon",
            "--set-secret",
            setting,
            "--restart",
            "deploy/postgrest",
        ]
    };
    for (odd, code, word) in [
        ("secret/app:PGSERVICE=web17", 2, "never typed"),
        ("secret/app:PGSERVICE=secret/pg17:nothing", 4, "secret/pg17:nothing is not there"),
        ("secret/app:PGSERVICE=secret/app:PGSERVICE", 4, "already"),
    ] {
        let run = finish(&space, &words(odd)[1..]);
        assert!(run.code == code && run.stderr.contains(word), "{odd}: {} {}", run.code, run.stderr);
    }

    // With the documented Roles and no other right, killed again and again.
    let dir = tempfile::tempdir().unwrap();
    let user = space.user("mover", ROLES, "kubectl-dbmig-move", dir.path());
    let account = format!("--serviceaccount={}:mover", space.name());
    space.kubectl(&["create", "rolebinding", "mover-secret", "--role=kubectl-dbmig-move-secret", &account]);
    let command = |words: &[&str]| Running::start(space.dbmig_command_as(&user, words));
    let mut running = command(&[&["finish"], &words("secret/app:PGSERVICE=secret/pg17:service")[..]].concat());
    for step in [KEEP, SWITCH] {
        running.reaches(step, SWITCHING);
        running.kill();
        running = command(&["resume", &last(&space), "--yes"]);
    }
    let ended = running.ends();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(setting(&space), "web17");
    let records = space.kubectl(&["get", "configmaps", "-l", "app.kubernetes.io/managed-by=kubectl-dbmig", "-o", "yaml"]);
    assert!(records.contains("PGSERVICE") && !records.contains("web15") && !records.contains("web17"), "{records}");
    moving.writes(50);
    assert!(moving.web_counts().to_string().contains("17"), "{}", moving.web_counts());
    let acks = moving.acks();
    let there = moving.numbers(Side::Target);
    assert!(acks.written.iter().all(|number| there.binary_search(number).is_ok()), "an acknowledged row is not on the target");

    // The Secret that it came from is another one by now: what was there before is known all the same.
    secret("pg17", "service", "elsewhere");
    let id = last(&space);
    let run = command(&["undo", &id, "--yes", "--accept-data-loss"]).ends();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(setting(&space), "web15");
    assert!(moving.web_counts().to_string().contains("15"), "{}", moving.web_counts());
    assert_ne!(space.try_kubectl(&["get", "secret", "kubectl-dbmig"]).code, 0, "nothing of it is kept any more");
}
