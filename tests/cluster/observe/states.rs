//! Crash loops, Jobs of several attempts, containers that begin late: what `logs` and `status` make of them.

use std::path::Path;

use serde_json::json;

use super::{container, create_job, create_pod, follow, object, spec, spec_with_claim};
use crate::support::Namespace;

/// Counts its starts in an emptyDir, says which one it is, and fails; the first time as soon as it is let go. A start lasts long enough
/// for a busy kubelet to tell of it.
const CRASHING: &str = "n=$(cat /count/n 2>/dev/null || echo 0); n=$((n+1)); echo $n >/count/n; echo \"start $n begins\"
    until [ -e /count/go ]; do sleep 0.2; done; sleep 5; echo \"start $n gives up\"; exit 3";

fn create_crashing(space: &Namespace) {
    let mut main = container("main", CRASHING);
    main["volumeMounts"] = json!([{"name": "count", "mountPath": "/count"}]);
    let mut crashing = spec(&[main]);
    crashing["restartPolicy"] = "Always".into();
    crashing["volumes"] = json!([{"name": "count", "emptyDir": {}}]);
    create_pod(space, "crashing", &crashing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_told_start_by_start_and_judged_wrong() {
    let space = Namespace::new("crash").await;
    create_crashing(&space);
    let mut running = follow(&space, &["logs", "crashing", "-f"]);
    let mut watching = follow(&space, &["watch", "crashing", "--plain"]);
    running.prints("start 1 begins");
    watching.prints("start 1 begins");
    space.kubectl(&["exec", "crashing", "--", "touch", "/count/go"]);
    running.prints("start 3 gives up");
    watching.prints_so_that("the end of the third start is told", |text| {
        text.contains("start 3 gives up") && text.matches("crashing › main: exit code 3").count() >= 3
    });
    running.interrupt();
    running.ends();
    watching.interrupt();
    watching.ends();
    let said = |starts: usize| (1..=starts).map(|n| format!("start {n} begins\nstart {n} gives up\n")).collect::<String>();
    assert!(running.printed().starts_with(&said(3)), "{}", running.printed());
    assert!(running.said().contains("+ crashing/main: start 2") && running.said().contains("- crashing/main: exit code 3"));
    // Old start, its end, new start: in this order.
    let told = watching.printed();
    let places = ["start 1 gives up", "- crashing › main: exit code 3", "+ crashing › main: start 2", "start 2 begins"];
    let places: Vec<_> = places.iter().map(|text| told.find(text)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}: {told}");

    space.wait_for("the kubelet waits before the next start", || {
        space.kubectl(&["get", "pod", "crashing"]).contains("CrashLoopBackOff")
    });
    let run = space.dbmig(&["status", "crashing", "-o", "json"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    let status = object(&run);
    let text = status["verdict"]["text"].as_str().unwrap();
    assert_eq!(status["verdict"]["state"], "wrong");
    assert!(text.contains("CrashLoopBackOff") && text.contains("exit code 3"), "{text}");
    assert!(status["verdict"]["next"][0].as_str().unwrap().contains("--previous"), "{status}");
    let run = space.dbmig(&["logs", "crashing", "--previous"]);
    let kubectl = space.kubectl(&["logs", "crashing", "--previous"]);
    assert_eq!((run.code, run.stdout), (0, kubectl), "{}", run.stderr);
    assert_eq!(space.dbmig(&["status", "crashing"]).stdout.lines().next().map(|line| &line[..6]), Some("wrong:"));
}

/// Fails twice, then succeeds. Its sidecar ends with a failed attempt, and never with a successful one.
fn create_migration(space: &Namespace) {
    let migrate = "n=$(cat /data/n 2>/dev/null || echo 0); n=$((n+1)); echo $n >/data/n; echo \"attempt $n migrates\"
        [ $n -lt 3 ] && { touch /data/failed-$HOSTNAME; exit 1; }; echo migrated";
    let sidecar =
        "echo \"the proxy listens\"; trap 'exit 0' TERM; until [ -e /data/failed-$HOSTNAME ]; do sleep 0.2; done; exit 0";
    let pod = spec_with_claim("data", &[container("migrate", migrate), container("cloud-sql-proxy", sidecar)]);
    create_job(space, "db-upgrade", json!({"backoffLimit": 4}), &pod);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_three_attempts_is_judged_by_the_container_that_migrates() {
    let space = Namespace::new("attempts").await;
    space.volume("data", "16Mi");
    create_migration(&space);
    let mut running = follow(&space, &["logs", "job/db-upgrade", "-f"]);
    let mut until = follow(&space, &["watch", "job/db-upgrade", "--until", "complete", "--timeout", "2m", "--plain"]);
    running.prints("› migrate attempt 1 migrates");
    space.wait_for("the first attempt has failed", || {
        space.kubectl(&["get", "job", "db-upgrade", "-o", "jsonpath={.status.failed}"]) == "1"
    });
    let run = space.dbmig(&["status", "job/db-upgrade"]);
    assert!(run.code == 3 && run.stdout.contains("tries failed"), "{}: {}{}", run.code, run.stdout, run.stderr);
    running.prints("› migrate migrated");
    space.wait_for("the kubelet tells that the migration is over", || {
        let run = space.dbmig(&["status", "job/db-upgrade", "-o", "json"]);
        object(&run)["jobs"][0]["state"] == "migrated"
    });
    let run = space.dbmig(&["status", "job/db-upgrade"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let first = run.stdout.lines().next().unwrap();
    assert_eq!(first, "moving: job/db-upgrade: migrated; cloud-sql-proxy still runs, so the Job does not end");
    let run = space.dbmig(&["logs", "job/db-upgrade"]);
    for attempt in 1..=3 {
        assert_eq!(run.stdout.matches(&format!("› migrate attempt {attempt} migrates\n")).count(), 1, "{}", run.stdout);
    }
    assert_eq!(run.stdout.matches("› cloud-sql-proxy the proxy listens\n").count(), 3, "{}", run.stdout);

    // What the verdict tells to do lets the Job end, and with it those who follow it.
    let pods =
        space.kubectl(&["get", "pods", "-l", "job-name=db-upgrade", "--field-selector=status.phase=Running", "-o", "name"]);
    space.kubectl(&["exec", pods.trim(), "-c", "cloud-sql-proxy", "--", "kill", "-TERM", "1"]);
    assert_eq!(running.ends().code, 0, "{}", running.said());
    assert_eq!(until.ends().code, 0, "{}", until.said());
    let run = space.dbmig(&["status", "job/db-upgrade"]);
    assert!(run.code == 0 && run.stdout.starts_with("ok: job/db-upgrade is complete"), "{}{}", run.stdout, run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_begin_late_are_joined_in_their_order() {
    let space = Namespace::new("late").await;
    let mut late = spec(&[container("main", "echo main; sleep 1"), container("side", "sleep 2; echo side")]);
    late["initContainers"] = json!([container("first", "sleep 3; echo first"), container("second", "sleep 1; echo second")]);
    create_pod(&space, "late", &late);
    let mut running = follow(&space, &["logs", "late", "-f"]);
    assert_eq!(running.ends().code, 0, "{}", running.said());
    let text = running.printed();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[2..].sort_unstable();
    assert_eq!(lines, ["late › first first", "late › second second", "late › main main", "late › side side"]);
    let chosen = space.dbmig(&["logs", "late", "-c", "^(first|side)$"]);
    assert_eq!((chosen.code, chosen.stdout.as_str()), (0, "late › first first\nlate › side side\n"), "{}", chosen.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_see_everything_sees_the_rest_and_is_told() {
    const ROLE: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: ROLE}\nrules:\n\
        - {apiGroups: [''], resources: [pods, pods/log, persistentvolumeclaims, KINDS], verbs: [get, list, watch]}\n\
        - {apiGroups: [apps, batch], resources: ['*'], verbs: [get, list, watch]}\n";
    let space = Namespace::new("rights").await;
    create_pod(&space, "talker", &spec(&[container("main", "echo hello; sleep 600")]));
    space.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", "pod", "talker"]);
    let dir = tempfile::tempdir().unwrap();
    let user =
        |name: &str, kinds: &str, dir: &Path| space.user(name, &ROLE.replace("ROLE", name).replace("KINDS", kinds), name, dir);
    let (no_events, no_records) = (user("no-events", "configmaps", dir.path()), user("no-records", "events", dir.path()));
    for (kubeconfig, missing) in [(&no_events, "events are not shown"), (&no_records, "operations (configmaps) are not shown")] {
        let run = space.dbmig_as(kubeconfig, &["status", "talker"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.starts_with("ok: pod/talker is ready\n"), "{}", run.stdout);
        assert!(run.stderr.contains(missing) && run.stderr.matches("not shown").count() == 1, "{}", run.stderr);
        let run = space.dbmig_as(kubeconfig, &["logs", "talker"]);
        assert_eq!((run.code, run.stdout.as_str()), (0, "hello\n"), "{}", run.stderr);
        let run = space.dbmig_as(kubeconfig, &["watch", "talker", "--plain", "--until", "ready", "--timeout", "30s"]);
        assert!(run.code == 0 && run.stderr.contains(missing), "{}: {}", run.code, run.stderr);
    }
    let run = space.dbmig_as(&no_events, &["events", "talker"]);
    assert!(run.code == 4 && run.stderr.contains("may not list and watch events"), "{}: {}", run.code, run.stderr);
    assert_eq!(space.dbmig_as(&no_records, &["events", "talker"]).code, 0);
}
