//! `run --offline` as ltd-keeper needs it: a web deployment, a worker and a CronJob that share a Secret, and one that does not.

use serde_json::{Value, json};

use super::{HEAD, ends, is_tidy, newest};
use crate::database::postgres::{CLIENT, server};
use crate::database::server::Server;
use crate::support::Running;

const ROLES: &str = concat!(
    include_str!("../../../plugin-manifest/run.yaml"),
    "\n---\n",
    include_str!("../../../plugin-manifest/run-offline.yaml")
);
const WORDS: [&str; 5] = ["run", "--offline", "deployment/keeper", "--image", "migrations:1"];
/// Once it is there, the new image has no psql.
const WEB: &str = "if command -v psql; then sleep 3600 | psql \"$LTD_KEEPER_DB_URL\"; else exec sleep 3600; fi";

fn pod(name: &str, image: &str, command: &str, secret: &str) -> Value {
    let env = json!([{"name": "LTD_KEEPER_DB_URL", "valueFrom": {"secretKeyRef": {"name": secret, "key": "db-url"}}},
        {"name": "FLASK_APP", "value": "/keeper/keeper.py"}]);
    json!({"metadata": {"labels": {"app": name}}, "spec": {"automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "uwsgi", "image": image, "command": ["sh", "-c", command], "env": env,
            "readinessProbe": {"periodSeconds": 2, "exec": {"command": ["true"]}}}]}})
}

fn deploy(server: &Server) {
    let space = &server.space;
    server.sql(CLIENT, "DROP TABLE m; GRANT CREATE ON SCHEMA public TO app");
    for (secret, database) in [("keeper-secrets", "shop"), ("other", "elsewhere")] {
        let url = format!("postgresql://app:secret@db/{database}?sslmode=disable");
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "stringData": {"db-url": url}});
        space.apply(&secret.to_string());
    }
    for (name, replicas, command, secret) in [
        ("keeper", 2, WEB, "keeper-secrets"),
        ("worker", 1, "exec sleep 3600", "keeper-secrets"),
        ("redis", 1, "exec sleep 3600", "other"),
    ] {
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas,
            "selector": {"matchLabels": {"app": name}}, "template": pod(name, "databases:1", command, secret)}});
        space.apply(&deployment.to_string());
    }
}

/// It has as many replicas as it may have least, so it is scaled by nobody but us.
fn autoscale(server: &Server) {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "keeper"});
    let scaler = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "keeper"},
        "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 3}});
    server.space.apply(&scaler.to_string());
}

async fn deploy_cronjob(server: &Server) {
    let space = &server.space;
    let version = if space.cluster().features().await.unwrap().cronjob_v1 { "batch/v1" } else { "batch/v1beta1" };
    let mut template = pod("nightly", "databases:1", "true", "keeper-secrets");
    template["spec"]["restartPolicy"] = "Never".into();
    let cronjob = json!({"apiVersion": version, "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}}});
    space.apply(&cronjob.to_string());
    space.kubectl(&["wait", "--for=condition=Available", "--timeout=180s", "deployment", "keeper", "worker", "redis"]);
}

/// Replicas and images of all, and whether the CronJob is suspended.
fn state(server: &Server) -> String {
    let of = "jsonpath={range .items[*]}{.metadata.name} {.spec.replicas} {.spec.template.spec.containers[0].image},{end}";
    let deployments = server.space.kubectl(&["get", "deployments", "-o", of]);
    let of = "jsonpath={.spec.suspend} {.spec.jobTemplate.spec.template.spec.containers[0].image}";
    format!("{deployments}nightly {}", server.space.kubectl(&["get", "cronjob", "nightly", "-o", of]))
}

const FIRST: &str = "1ba709663f26";
const BEFORE: &str = "keeper 2 databases:1,redis 1 databases:1,worker 1 databases:1,nightly false databases:1";
const STOPPED: &str = "keeper 0 databases:1,redis 1 databases:1,worker 0 databases:1,nightly true databases:1";
const AFTER: &str = "keeper 2 migrations:1,redis 1 databases:1,worker 1 migrations:1,nightly false migrations:1";

fn revision(server: &Server) -> String {
    server.sql(CLIENT, "SELECT version_num FROM alembic_version").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_shares_the_secret_is_stopped_migrated_and_started_with_the_new_image() {
    let Some(server) = server("runoffline").await else { return };
    let space = &server.space;
    deploy(&server);
    autoscale(&server);
    deploy_cronjob(&server).await;
    let dir = tempfile::tempdir().unwrap();
    let user = space.user("oncall", ROLES, "kubectl-dbmig-run", dir.path());
    let account = format!("--serviceaccount={}:oncall", space.name());
    space.kubectl(&["create", "rolebinding", "offline", "--role=kubectl-dbmig-run-offline", &account]);
    let secret =
        space.try_kubectl(&["create", "role", "secret", "--verb=get", "--resource=secrets", "--resource-name=keeper-secrets"]);
    assert_eq!(secret.code, 0, "{}", secret.stderr);
    space.kubectl(&["create", "rolebinding", "secret", "--role=secret", &account]);
    let with = |command: &[&'static str]| [&WORDS[..], &["--yes", "--"], command].concat();

    // While the application runs, in a pod like its own but with a newer image.
    let from = ["run", "--from", "deployment/keeper", "--image", "migrations:1", "--yes", "--", "flask", "db", "upgrade", FIRST];
    ends(&space.dbmig_as(&user, &from), 0, &["applied 1ba709663f26"]);
    assert_eq!(state(&server), BEFORE);

    let plan = space.dbmig_as(&user, &[&WORDS[..], &["--dry-run", "--", "flask", "db", "upgrade"]].concat());
    ends(
        &plan,
        0,
        &[
            "deployment/keeper: 2 → 0 replicas; then uwsgi: databases:1 → migrations:1",
            "deployment/worker: 1 → 0 replicas",
            "cronjob/nightly: suspended",
            "secret/keeper-secrets:db-url",
            "horizontalpodautoscaler/keeper leaves it alone while it has 0 replicas",
        ],
    );
    assert!(!plan.stderr.contains("redis"), "{}", plan.stderr);
    assert_eq!(state(&server), BEFORE);

    // It fails half-way: everything stays stopped, and nothing is started again before the database is back where it was.
    let run = space.dbmig_as(&user, &with(&["sh", "-c", "flask db upgrade && flask db upgrade nonsense"]));
    let back = "kubectl dbmig rollback deployment/keeper";
    ends(&run, 8, &["'nonsense'", "still stopped", "version 1ba709663f26 → 0c0c70d73d4b", "kubectl dbmig resume", back]);
    assert_eq!((state(&server).as_str(), revision(&server).as_str()), (STOPPED, HEAD));
    ends(&space.dbmig_as(&user, &["undo", "--yes"]), 4, &["not where it was before", "nothing was changed", back]);
    let down = ["rollback", "deployment/keeper", "--yes", "--", "flask", "db", "downgrade"];
    ends(&space.dbmig_as(&user, &down), 0, &["version 0c0c70d73d4b → 1ba709663f26"]);
    assert_eq!((state(&server).as_str(), revision(&server).as_str()), (STOPPED, FIRST));
    ends(&space.dbmig_as(&user, &["undo", "--yes"]), 0, &["taken back"]);
    assert_eq!(state(&server), BEFORE);
    space.kubectl(&["wait", "--for=condition=Available", "--timeout=180s", "deployment", "keeper", "worker"]);

    // Taken back while it runs.
    let mut running = Running::start(space.dbmig_command_as(&user, &with(&["sleep", "3600"])));
    running.reaches(6, 11);
    running.interrupt();
    ends(&running.ends(), 8, &["goes on without us"]);
    assert_eq!(state(&server), STOPPED);
    ends(&space.dbmig_as(&user, &["undo", "--yes"]), 0, &["taken back"]);
    assert_eq!((state(&server).as_str(), revision(&server).as_str()), (BEFORE, FIRST));
    space.kubectl(&["wait", "--for=condition=Available", "--timeout=180s", "deployment", "keeper", "worker"]);

    // Somebody starts the worker again before the migration begins.
    let mut running = Running::start(space.dbmig_command_as(&user, &with(&["flask", "db", "upgrade"])));
    running.reaches(4, 11);
    running.paused(|| {
        space.kubectl(&["scale", "deployment", "worker", "--replicas=1"]);
        space.wait_for("the worker has a pod", || {
            space.kubectl(&["get", "pods", "-l", "app=worker", "-o", "name"]).contains("pod/")
        });
    });
    ends(
        &running.ends(),
        1,
        &[
            "was started again",
            "deployment/worker has 1 replicas again",
            "the migration has not begun",
            "everything was taken back",
        ],
    );
    assert_eq!((state(&server).as_str(), revision(&server).as_str()), (BEFORE, FIRST));
    space.kubectl(&["wait", "--for=condition=Available", "--timeout=180s", "deployment", "keeper", "worker"]);

    let run = space.dbmig_as(&user, &with(&["flask", "db", "upgrade"]));
    ends(&run, 0, &["uwsgi | creating editions", "version 1ba709663f26 → 0c0c70d73d4b", "nobody is"]);
    assert_eq!((state(&server).as_str(), revision(&server).as_str()), (AFTER, HEAD));
    ends(&space.dbmig_as(&user, &["undo", &newest(space), "--yes"]), 4, &["not where it was before", "nothing was changed"]);

    // Back by the command and the image of that run, and then the old image by `undo`.
    let id = newest(space);
    let back = space.dbmig_as(&user, &["rollback", "deployment/keeper", "--yes"]);
    ends(&back, 0, &["image migrations:1", "command    flask db downgrade", "version 0c0c70d73d4b → 1ba709663f26"]);
    ends(&space.dbmig_as(&user, &["undo", &id, "--yes"]), 0, &["taken back"]);
    assert_eq!((state(&server).as_str(), revision(&server).as_str()), (BEFORE, FIRST));
    space.kubectl(&["wait", "--for=condition=Available", "--timeout=180s", "deployment", "keeper", "worker"]);
    ends(&space.dbmig_as(&user, &with(&["flask", "db", "upgrade"])), 0, &[]);

    // What runs has the new image already.
    ends(&space.dbmig_as(&user, &with(&["flask", "db", "upgrade"])), 0, &["nothing was left to do"]);
    is_tidy(space);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_that_never_gets_ready_stays_with_its_way_back() {
    let Some(server) = server("runrollout").await else { return };
    let space = &server.space;
    deploy(&server);
    deploy_cronjob(&server).await;
    // The new image has no psql, and so the web is never ready with it.
    let probe = r#"{"spec":{"template":{"spec":{"containers":[{"name":"uwsgi","readinessProbe":{"exec":{"command":["psql","--version"]}}}]}}}}"#;
    space.kubectl(&["patch", "deployment", "keeper", "-p", probe]);
    space.kubectl(&["rollout", "status", "deployment/keeper", "--timeout=180s"]);
    space.wait_for("the pods of before are gone", || {
        space.kubectl(&["get", "pods", "-l", "app=keeper", "-o", "name"]).lines().count() == 2
    });
    let from = ["run", "--from", "deployment/keeper", "--image", "migrations:1", "--yes", "--", "flask", "db", "upgrade", FIRST];
    ends(&space.dbmig(&from), 0, &["applied 1ba709663f26"]);
    let upgrade = [&WORDS[..], &["--timeout", "45s", "--yes", "--", "flask", "db", "upgrade"]].concat();
    let run = space.dbmig(&upgrade);
    let texts =
        ["not everything got Ready within 45 s", "the migration has run, and everything was started", "kubectl dbmig undo"];
    ends(&run, 8, &texts);
    assert_eq!((state(&server).as_str(), revision(&server).as_str()), (AFTER, HEAD));

    // The old image would meet the new schema: first the way down, then the way back.
    ends(&space.dbmig(&["undo", "--yes"]), 4, &["not where it was before", "nothing was changed"]);
    let id = newest(space);
    ends(&space.dbmig(&["resume", &id, "--yes"]), 8, &["not everything got Ready within 45 s"]);
    let down = ["rollback", "deployment/keeper", "--yes", "--", "flask", "db", "downgrade"];
    ends(&space.dbmig(&down), 0, &["no backup is made first", "version 0c0c70d73d4b → 1ba709663f26"]);
    ends(&space.dbmig(&["undo", &id, "--yes"]), 0, &["taken back"]);
    assert_eq!((state(&server).as_str(), revision(&server).as_str()), (BEFORE, FIRST));
    space.kubectl(&["wait", "--for=condition=Available", "--timeout=180s", "deployment", "keeper", "worker"]);
    is_tidy(space);
}

/// Steps of an offline run with another image.
const STEPS: usize = 11;

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_run_that_is_killed_at_any_step_is_taken_back_or_resumed() {
    let Some(server) = server("runkilled").await else { return };
    let space = &server.space;
    deploy(&server);
    deploy_cronjob(&server).await;
    let run = |image: &'static str| {
        ["run", "--offline", "deployment/keeper", "--image", image, "--yes", "--", "flask", "db", "upgrade"]
    };
    let missing = space.dbmig(&run("no.such.registry.invalid/keeper:9"));
    ends(
        &missing,
        4,
        &["image no.such.registry.invalid/keeper:9 can't be had", "nothing was stopped yet", "everything was taken back"],
    );
    assert_eq!(state(&server), BEFORE);

    for step in 1..=STEPS {
        let mut running = Running::start(space.dbmig_command(&run("migrations:1")));
        running.reaches(step, STEPS);
        running.kill();
        // Once the migration has run there is no way back but its own.
        let verb = if step % 2 == 1 && step < 6 { "undo" } else { "resume" };
        ends(&space.dbmig(&[verb, "--yes"]), 0, &[]);
        let as_asked = if verb == "undo" { BEFORE } else { AFTER };
        assert_eq!(state(&server), as_asked, "{verb} after it was killed at step {step}");
        if verb == "resume" {
            assert_eq!(revision(&server), HEAD, "killed at step {step}");
            for (kind, container) in
                [("deployment/keeper", "uwsgi"), ("deployment/worker", "uwsgi"), ("cronjob/nightly", "uwsgi")]
            {
                space.kubectl(&["set", "image", kind, &format!("{container}=databases:1")]);
            }
        }
        space.kubectl(&["wait", "--for=condition=Available", "--timeout=180s", "deployment", "keeper", "worker"]);
    }

    // A backup is of what nobody writes to any more.
    let words = ["run", "--offline", "deployment/keeper", "--backup", "dump", "--backup-image", "databases:1", "--yes"];
    let backed = space.dbmig(&[&words[..], &["--image", "migrations:1", "--", "flask", "db", "upgrade"]].concat());
    ends(&backed, 0, &["backup: persistentvolumeclaim/dbmig-run-", "to get it back:"]);
    let at = |text| backed.stderr.find(text).unwrap_or_else(|| panic!("{text:?} is not said: {}", backed.stderr));
    assert!(at("nobody is in the database any more: done") < at("back up postgresql://app@db:5432/shop: done"));
    assert_eq!(state(&server), AFTER);
    let versions = server.sql(CLIENT, "SELECT string_agg(version_num, ',') FROM alembic_version");
    assert_eq!(versions.trim(), HEAD);
    is_tidy(space);
}
