//! `doctor` and `history` in front of databases that are stuck.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::postgres::{CLIENT, server};
use crate::support::{Namespace, Run, Running};

pub(super) fn object(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", run.stdout, run.stderr))
}

/// The one finding whose words have this.
pub(super) fn finding<'a>(diagnosis: &'a Value, words: &str) -> &'a Value {
    let all = diagnosis["findings"].as_array().unwrap();
    let found = all.iter().find(|finding| finding["what"].as_str().unwrap().contains(words));
    found.unwrap_or_else(|| panic!("{words}: {all:#?}"))
}

const DIRTY: &str = "echo 'error: Dirty database version 4. Fix and force version.'; sleep 1; exit 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_dirty_database_of_a_crash_looping_pod_is_diagnosed_and_left_as_it_is() {
    let space = Namespace::new("doctor").await;
    space.volume("data", "32Mi");
    let file = space.folder("data").join("app.sqlite");
    let sql = "CREATE TABLE schema_migrations (version uint64, dirty bool); INSERT INTO schema_migrations VALUES (4, 1);
        CREATE TABLE users (id int);";
    Connection::open(&file).unwrap().execute_batch(sql).unwrap();
    let before = std::fs::read(&file).unwrap();
    space.has_account();
    let scripts = json!({"1_users.up.sql": "CREATE TABLE users (id int)", "4_orders.up.sql": "CREATE TABLE orders (id int)",
        "5_prices.up.sql": "CREATE TABLE prices (id int)"});
    space.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "scripts"}, "data": scripts}).to_string());
    space.apply(
        &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}, "spec": {"automountServiceAccountToken": false,
            "containers": [{"name": "main", "image": "busybox:1", "command": ["sh", "-c", DIRTY],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "scripts", "mountPath": "/app/migrations"}]}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "scripts", "configMap": {"name": "scripts"}}]}})
        .to_string(),
    );
    let restarts = "jsonpath={.status.containerStatuses[0].restartCount}";
    // After the second restart it counts as sick also while it runs.
    space.wait_for("it was restarted twice", || {
        space.try_kubectl(&["get", "pod", "app", "-o", restarts]).stdout.parse().is_ok_and(|count: u32| count > 1)
    });
    let run = space.dbmig(&["doctor", "app", "-o", "json"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    let diagnosis = object(&run);
    assert_eq!(diagnosis["databases"][0]["location"], "sqlite:/data/app.sqlite");
    assert_eq!(diagnosis["databases"][0]["states"][0]["framework"], "golang-migrate");
    // The files of the image are read though nothing of it runs: what is pending, and what became of the one that failed.
    let state = &diagnosis["databases"][0]["states"][0];
    assert_eq!((&state["pending"][0]["id"], &state["failed"][0]["before"]["id"]), (&json!("5"), &json!("1")), "{state}");
    assert_eq!(state["failed"][0]["effect"]["effect"], "notApplied", "{state}");
    let files = diagnosis["databases"][0]["files"][0].as_str().unwrap();
    assert_eq!(files, "golang-migrate: 3 files of migrations in /app/migrations of container main");
    finding(&diagnosis, "pod/app is ");
    let said = finding(&diagnosis, "migration 4 began and its end was never written down");
    assert!(said["evidence"].as_str().unwrap().contains("Dirty database version 4"), "{said}");
    let stuck = finding(&diagnosis, "golang-migrate: migration 4 did not end well");
    assert_eq!(stuck["next"][0], format!("kubectl dbmig repair app -n {}", space.name()));

    let run = space.dbmig(&["history", "app"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.lines().any(|line| line.starts_with("failed") && line.contains(" 4 ")), "{}", run.stdout);

    // Whoever is told to stop in the middle leaves nothing behind either.
    let mut running = Running::start(space.dbmig_command(&["doctor", "app"]));
    space.wait_for("a pod of the image is there", || space.kubectl(&["get", "pods", "-o", "name"]).contains("-image"));
    running.interrupt();
    let run = running.ends();
    assert_eq!(run.code, 130, "{}", run.stderr);

    // Whoever looks, leaves: no byte is changed, no pod of ours stays.
    assert!(std::fs::read(&file).unwrap() == before);
    space.wait_for("no helper pod is left", || !space.kubectl(&["get", "pods", "-o", "name"]).contains("dbmig-"));
    assert_eq!(
        std::fs::read_dir(file.parent().unwrap()).unwrap().filter(|one| one.as_ref().unwrap().path().is_file()).count(),
        1
    );

    // Set right since: what the log says is no more than what was.
    Connection::open(&file).unwrap().execute_batch("UPDATE schema_migrations SET version = 1, dirty = 0").unwrap();
    let diagnosis = object(&space.dbmig(&["doctor", "app", "-o", "json"]));
    let said = finding(&diagnosis, "migration 4 began and its end was never written down");
    assert!(said["what"].as_str().unwrap().ends_with("so it was said before, and the bookkeeping table is well now"), "{said}");
    assert_eq!((&said["level"], &said["next"]), (&json!("note"), &json!([])), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_asked_with_what_a_secret_says_and_its_troubles_are_findings() {
    let Some(server) = server("doctor-pg").await else { return };
    let space = &server.space;
    let books =
        "CREATE TABLE knex_migrations (id serial PRIMARY KEY, name varchar(255), batch integer, migration_time timestamptz);
        CREATE TABLE knex_migrations_lock (\"index\" serial PRIMARY KEY, is_locked integer);
        INSERT INTO knex_migrations (name, batch, migration_time) VALUES
            ('001_users.js', 1, '2026-01-01T10:00:00Z'), ('002_orders.js', 2, '2026-02-01T10:00:00Z');
        INSERT INTO knex_migrations_lock (is_locked) VALUES (1);
        GRANT ALL ON ALL TABLES IN SCHEMA public TO app;";
    server.sql(CLIENT, books);
    for (name, url) in [
        ("good", "postgres://app:secret@db/shop"),
        ("wrong", "postgres://app:guessed@db/shop"),
        ("away", "postgres://app:secret@nowhere/shop"),
    ] {
        space.kubectl(&["create", "secret", "generic", name, &format!("--from-literal=url={url}")]);
    }
    let dir = tempfile::tempdir().unwrap();
    for name in ["001_users.js", "002_orders.js", "003_items.js"] {
        std::fs::write(dir.path().join(name), "exports.up = () => {};").unwrap();
    }
    let migrations = dir.path().to_str().unwrap();
    let ask = |words: &[&str]| space.dbmig(&[words, &["--migrations", migrations, "-o", "json"]].concat());

    let run = ask(&["doctor", "app", "--database-from", "secret/good:url"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    let diagnosis = object(&run);
    assert_eq!(diagnosis["databases"][0]["location"], "postgresql://app@db:5432/shop");
    let knex = diagnosis["databases"][0]["states"].as_array().unwrap().iter().find(|state| state["framework"] == "Knex").unwrap();
    assert_eq!((knex["count"].as_u64(), &knex["pending"][0]["id"]), (Some(2), &json!("003_items.js")), "{knex}");
    finding(&diagnosis, "holds the migration lock");

    let run = ask(&["history", "app", "--database-from", "secret/good:url"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let table = space.dbmig(&["history", "app", "--database-from", "secret/good:url", "--migrations", migrations]).stdout;
    let rows: Vec<(&str, &str)> = table
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(state, rest)| (state, rest.split_whitespace().next().unwrap()))
        .collect();
    for row in [("applied", "001_users.js"), ("applied", "002_orders.js"), ("pending", "003_items.js")] {
        assert!(rows.contains(&row), "{row:?}: {table}");
    }

    for (secret, words) in [
        ("wrong", "it refuses the user or the password"),
        ("wrong", "password authentication failed"),
        ("away", "the pod's name service does not know its host"),
    ] {
        let run = ask(&["doctor", "app", "--database-from", &format!("secret/{secret}:url")]);
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(run.stdout.contains(words), "{}", run.stdout);
        assert!(!format!("{}{}", run.stdout, run.stderr).contains("guessed"), "a password was printed");
    }
    let run = ask(&["history", "app", "--database-from", "secret/wrong:url"]);
    assert!(run.code == 3 && run.stderr.contains("cannot connect to"), "{}: {}", run.code, run.stderr);
}

/// A Job that chart authors would mark as a migration, with a volume of its own.
fn migration(space: &Namespace, name: &str, script: &str) {
    let labels = json!({"app.kubernetes.io/component": "migration", "app.kubernetes.io/instance": "shop"});
    let container = json!({"name": "main", "image": "busybox:1", "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    let pod = json!({"automountServiceAccountToken": false, "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
        "containers": [container], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "labels": labels},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": pod}}});
    space.apply(&job.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_migration_of_a_namespace_is_looked_at_with_its_database_and_its_volume() {
    let space = Namespace::new("doctorall").await;
    space.has_account();
    for (name, dirty) in [("broken", 1), ("going", 0), ("over", 1)] {
        space.volume(name, "16Mi");
        let sql = "CREATE TABLE schema_migrations (version uint64, dirty bool); INSERT INTO schema_migrations VALUES (4, ";
        let file = Connection::open(space.folder(name).join("app.sqlite")).unwrap();
        file.execute_batch(&format!("{sql}{dirty});")).unwrap();
    }
    migration(
        &space,
        "broken",
        "df -k /data | awk 'NR==2 {print int($4 * 9 / 10)}' | xargs -I N dd if=/dev/zero of=/data/fill bs=1k count=N; exit 1",
    );
    migration(&space, "going", "sleep 3600");
    migration(&space, "over", "true");
    for (job, field) in [("broken", "failed"), ("going", "active"), ("over", "succeeded")] {
        let field = format!("jsonpath={{.status.{field}}}");
        space.wait_for("the Jobs are where they should be", || {
            space.try_kubectl(&["get", "job", job, "-o", &field]).stdout == "1"
        });
    }
    let run = space.dbmig(&["doctor", "-o", "json"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    let diagnosis = object(&run);
    let databases = diagnosis["databases"].as_array().unwrap();
    assert_eq!(databases.len(), 2, "that of the Job that is over is left alone: {databases:#?}");
    let pod = space.kubectl(&["get", "pods", "-l", "job-name=broken", "-o", "jsonpath={.items[0].metadata.name}"]);
    let stuck = finding(&diagnosis, "golang-migrate: migration 4 did not end well");
    assert!(stuck["what"].as_str().unwrap().starts_with(&format!("{}/{pod}: ", space.name())), "{stuck}");
    assert_eq!(stuck["next"][0], format!("kubectl dbmig repair pod/{pod} -n {}", space.name()));
    let full = finding(&diagnosis, "pvc/broken, mounted at /data, is 9");
    assert!(full["evidence"].as_str().unwrap().contains(" of 1"), "{full}");
    finding(&diagnosis, "job/broken failed");

    // Whoever asks about the application itself is told of the migration that it waits for.
    let web = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"app.kubernetes.io/instance": "shop"}},
        "spec": {"automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "busybox:1", "command": ["sleep", "3600"]}]}});
    space.apply(&web.to_string());
    space.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", "pod", "web"]);
    let diagnosis = object(&space.dbmig(&["doctor", "web", "-o", "json"]));
    let failed = finding(&diagnosis, "job/broken, which migrates this release, failed");
    assert_eq!(failed["next"][1], format!("kubectl dbmig doctor job/broken -n {}", space.name()));
    space.wait_for("no helper pod is left", || !space.kubectl(&["get", "pods", "-o", "name"]).contains("dbmig-"));
}
