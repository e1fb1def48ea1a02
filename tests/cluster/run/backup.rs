//! `--backup`: made and proven before anything is migrated, kept by whatever comes after, and brought back by the commands that are
//! printed.

use serde_json::{Value, json};

use super::shop::{FROM, deploy_to};
use super::{Keeper, ends, is_tidy, newest, records};
use crate::database::postgres::{self, CLIENT};
use crate::database::{mariadb, server::Server};
use crate::support::snapshots::{Snapshots, say};
use crate::support::{Namespace, Run, Running};

const ROLES: &str = concat!(
    include_str!("../../../plugin-manifest/run.yaml"),
    "\n---\n",
    include_str!("../../../plugin-manifest/run-backup.yaml")
);

/// What the newest operation has made.
fn made(space: &Namespace) -> Value {
    records(space).pop().unwrap()["memory"]["backup"].clone()
}

/// Claims of ours that are not on their way out.
fn claims(space: &Namespace) -> String {
    let words = ["get", "persistentvolumeclaims", "-l", "app.kubernetes.io/managed-by=kubectl-dbmig", "-o", "json"];
    let list: Value = serde_json::from_str(&space.kubectl(&words)).unwrap();
    let stay = list["items"].as_array().unwrap().iter().filter(|claim| claim["metadata"]["deletionTimestamp"].is_null());
    stay.map(|claim| format!("persistentvolumeclaim/{}\n", claim["metadata"]["name"].as_str().unwrap())).collect()
}

/// Types the commands that a backup came with, with a password for whoever asks for one.
fn bring_back(space: &Namespace, made: &Value, password: &str) {
    let commands: Vec<&str> = made["restore"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(commands.len() > 4, "{commands:?}");
    for command in commands {
        let mut shell = std::process::Command::new("sh");
        // A person sits at a terminal; psql's kind asks on stdin where there is none, and MariaDB's reads it from the file.
        let here = command.replace(" -it ", " -i ").replace("mariadb --password", "mariadb");
        let here = here.replace("-- sh -c", &format!("-- env MYSQL_PWD=\"{password}\" sh -c"));
        shell.args(["-c", &here]);
        if let Some(kubeconfig) = std::env::var_os("DBMIG_TEST_KUBECONFIG") {
            shell.env("KUBECONFIG", kubeconfig);
        }
        let run = Run::with_input(&mut shell, &format!("{password}\n"));
        assert_eq!(run.code, 0, "{command}: {}{}", run.stdout, run.stderr);
        if command.contains("sha256sum") {
            assert!(run.stdout.starts_with(made["file"]["sha256"].as_str().unwrap()), "{command}: {}", run.stdout);
        }
    }
    space.wait_for("the pod in which it was restored is gone", || space.try_kubectl(&["get", "pod", "dbmig-restore"]).code != 0);
}

/// A user with no more than the Roles give.
fn user(space: &Namespace, dir: &std::path::Path) -> std::path::PathBuf {
    let user = space.user("oncall", ROLES, "kubectl-dbmig-run", dir);
    let account = format!("--serviceaccount={}:oncall", space.name());
    space.kubectl(&["create", "rolebinding", "backup", "--role=kubectl-dbmig-run-backup", &account]);
    user
}

async fn shop(purpose: &str) -> Option<Server> {
    let server = postgres::server(purpose).await?;
    server.sql(
        CLIENT,
        "DROP TABLE m; DROP TYPE mood; GRANT CREATE ON SCHEMA public TO app; SET ROLE app;
        CREATE TABLE precious AS SELECT n, repeat('ä', 100) FROM generate_series(1, 1000) n",
    );
    deploy_to(&server.space, "db").await;
    Some(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_proven_kept_and_brought_back_by_what_is_printed() {
    let Some(server) = shop("runbackup").await else { return };
    let space = &server.space;
    let dir = tempfile::tempdir().unwrap();
    let user = user(space, dir.path());
    let secret = ["create", "role", "secret", "--verb=get", "--resource=secrets", "--resource-name=pg"];
    space.kubectl(&secret);
    let account = format!("--serviceaccount={}:oncall", space.name());
    space.kubectl(&["create", "rolebinding", "secret", "--role=secret", &account]);
    let tables = "SELECT string_agg(tablename, ',' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'";

    // The application's own image has no such tool: nothing is migrated, and nothing stays.
    let words = ["run", FROM, "--yes", "--backup", "dump"];
    let run = space.dbmig_as(&user, &words);
    let texts = [
        "image migrations:1 can't back the database up",
        "it has no pg_dump",
        "--backup-image IMAGE",
        "everything was taken back",
    ];
    ends(&run, 4, &texts);
    assert_eq!((claims(space), server.sql(CLIENT, tables).trim()), (String::new(), "precious"));
    ends(
        &space.dbmig_as(&user, &["run", FROM, "--yes", "--backup", "pvc"]),
        4,
        &["is a server", "--backup dump", "nothing was changed"],
    );
    ends(
        &space.dbmig_as(&user, &["run", FROM, "--yes", "--backup", "dump", "--backup-image", "no.such.registry.invalid/pg:9"]),
        4,
        &["can't be had", "everything was taken back"],
    );

    let with_image = [&words[..], &["--backup-image", "databases:1"]].concat();
    let plan = space.dbmig_as(&user, &[&with_image[..], &["--dry-run"]].concat());
    ends(&plan, 0, &["backup     the server's own tool of image databases:1, to persistentvolumeclaim/dbmig-run-"]);
    assert_eq!(claims(space), "");

    // Killed before and while it is made, and taken up again: one backup, from before the one migration.
    let mut running = Running::start(space.dbmig_command_as(&user, &with_image));
    running.reaches(2, 7);
    running.kill();
    ends(&space.dbmig_as(&user, &["undo", "--yes"]), 0, &["taken back"]);
    assert_eq!(claims(space), "");
    let mut running = Running::start(space.dbmig_command_as(&user, &with_image));
    running.reaches(3, 7);
    running.kill();
    let run = space.dbmig_as(&user, &["resume", "--yes"]);
    ends(
        &run,
        0,
        &["applied 1_users.js, 2_orders.js", "backup: persistentvolumeclaim/dbmig-run-", "to get it back:", "pg_restore"],
    );
    let (made, id) = (made(space), newest(space));
    assert!(made["file"]["bytes"].as_u64().unwrap() > 1000 && made["name"] == format!("shop-{id}.dump"), "{made}");
    assert_eq!(claims(space).trim(), format!("persistentvolumeclaim/dbmig-{id}-backup"));
    assert_eq!(server.sql(CLIENT, tables).trim(), "knex_migrations,knex_migrations_lock,orders,precious,users");
    for text in
        [&run.stderr, &space.kubectl(&["get", "configmaps", "-o", "yaml"]), &space.kubectl(&["get", "jobs,pods", "-o", "yaml"])]
    {
        assert!(!text.contains("secret@"), "the password is said: {text}");
    }

    // It stays with the operation's record, and goes when that is asked for.
    assert_eq!(space.dbmig(&["cleanup", "--dry-run", "-o", "name"]).stdout.matches("persistentvolumeclaim").count(), 0);
    server.sql(CLIENT, "TRUNCATE precious");
    bring_back(space, &made, "secret");
    assert_eq!(server.sql(CLIENT, "SELECT count(*), sum(n) FROM precious").trim(), "1000|500500");

    // The way down warns without one, and has one of its own.
    ends(&space.dbmig(&["rollback", FROM, "--dry-run"]), 0, &["no backup is made first"]);
    let back = ["rollback", FROM, "--yes", "--backup", "dump", "--backup-image", "databases:1"];
    ends(
        &space.dbmig_as(&user, &back),
        0,
        &["took back 1_users.js, 2_orders.js", "backup: persistentvolumeclaim/dbmig-rollback-"],
    );
    let gone = space.dbmig(&["cleanup", "--backups", "--yes", "-o", "name"]);
    ends(&gone, 0, &["removed"]);
    assert_eq!(gone.stdout.matches("persistentvolumeclaim/dbmig-").count(), 2, "{}", gone.stdout);
    space.wait_for("the claims are gone", || claims(space).is_empty());
    is_tidy(space);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sqlite_file_is_copied_by_sqlite_and_brought_back() {
    let Some(keeper) = Keeper::new("runcopy").await else { return };
    let space = &keeper.space;
    let dir = tempfile::tempdir().unwrap();
    let user = user(space, dir.path());
    let (_dir, file) = keeper.file_of("flask db upgrade");
    let words = ["run", "-f", &file, "--yes", "--backup", "pvc"];
    let run = space.dbmig_as(&user, &words);
    ends(&run, 0, &["applied 0c0c70d73d4b", "backup: persistentvolumeclaim/dbmig-run-", "to get it back:"]);
    let made = made(space);
    assert!(made["name"].as_str().unwrap().starts_with("keeper.db-run-"), "{made}");
    is_tidy(space);
    bring_back(space, &made, "");
    assert_eq!(keeper.revision(), None, "it is as it was before the migration");

    // Killed while it is made: what is left is taken up or taken back.
    for (step, verb, code) in [(3, "resume", 0), (3, "undo", 0), (2, "resume", 0)] {
        keeper.reset();
        let before = claims(space).lines().count();
        let mut running = Running::start(space.dbmig_command_as(&user, &words));
        running.reaches(step, 7);
        running.kill();
        ends(&space.dbmig_as(&user, &[verb, "--yes"]), code, &[]);
        let more = claims(space).lines().count() - before;
        assert_eq!(
            (more, keeper.revision().is_some()),
            (usize::from(verb == "resume"), verb == "resume"),
            "{verb} at step {step}"
        );
    }
    is_tidy(space);
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_writes_itself_out_and_its_lock_keeps_other_namespaces_out() {
    let Some(server) = mariadb::server("runmaria").await else { return };
    let space = &server.space;
    server.sql(mariadb::CLIENT, "DROP TABLE m");
    let job = |host: &str, command: &str| {
        let env = json!([{"name": "DATABASE_URL", "value": format!("mysql://app:se%27cret@{host}/shop")}]);
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"}, "spec": {"template": {"spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "migrate", "image": "databases:1", "command": ["sh", "-c", command], "env": env}]}}}})
        .to_string()
    };
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let other = Namespace::new("runother").await;
    other.has_account();
    let here = file("here.yaml", job("db", "sleep 3600"));
    let there = file("there.yaml", job(&format!("db.{}", space.name()), "true"));
    let mut first = Running::start(space.dbmig_command(&["run", "-f", &here, "--yes"]));
    first.reaches(3, 5);
    let held = other.dbmig(&["run", "-f", &there, "--yes"]);
    ends(&held, 5, &["another kubectl dbmig works on", "its lock in the database is held by connection", "nothing was changed"]);
    first.interrupt();
    ends(&first.ends(), 8, &["goes on without us"]);
    // The lock is of whoever looks, and the first one does so no more; its Job still runs, in its own namespace.
    ends(&space.dbmig(&["undo", "--yes"]), 0, &["taken back"]);

    server.sql(
        mariadb::CLIENT,
        "CREATE TABLE precious (n int, b blob); INSERT INTO precious SELECT seq, UNHEX('00ff') FROM seq_1_to_1000",
    );
    let drops =
        file("drops.yaml", job("db", "MYSQL_PWD=\"se'cret\" mariadb -h db -u app --skip-ssl shop -e 'DELETE FROM precious'"));
    let run = space.dbmig(&["run", "-f", &drops, "--yes", "--backup", "dump"]);
    // Nobody's books: only the exit code says so.
    ends(&run, 3, &["mariadb-dump of image databases:1", "backup: persistentvolumeclaim/dbmig-run-", "only the exit code"]);
    let count = "SELECT COUNT(*), HEX(MIN(b)) FROM precious";
    assert_eq!(server.sql(mariadb::CLIENT, count).trim(), "0\tNULL");
    bring_back(space, &made(space), "se'cret");
    assert_eq!(server.sql(mariadb::CLIENT, count).trim(), "1000\t00FF");
    is_tidy(space);
    is_tidy(&other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_refused_by_name_without_the_api_and_waited_for_with_a_stand_in_for_its_driver() {
    let Some(keeper) = Keeper::new("runsnap").await else { return };
    let space = &keeper.space;
    let (_dir, file) = keeper.file_of("flask db upgrade");
    let words = ["run", "-f", &file, "--yes", "--backup", "volumesnapshot", "--timeout", "20s"];
    ends(
        &space.dbmig(&words),
        4,
        &["persistentvolumeclaim/data can't be snapshotted", "snapshot.storage.k8s.io/v1", "nothing was changed"],
    );

    let api = Snapshots::served(space);
    space.kubectl(&[
        "annotate",
        "persistentvolumeclaim",
        "data",
        "volume.beta.kubernetes.io/storage-provisioner=stand-in.dbmig.dev",
    ]);
    ends(&space.dbmig(&words), 4, &["no VolumeSnapshotClass for its driver stand-in.dbmig.dev", "nothing was changed"]);
    api.class();
    let snapshots = || api.names();

    // Nobody makes it: all is taken back.
    ends(&space.dbmig(&words), 4, &["did not get ready within 20 s", "everything was taken back"]);
    assert_eq!((snapshots(), keeper.revision()), (Vec::new(), None));

    // The stand-in says what a driver says, first that it can't.
    let set = |status: &Value| {
        space.wait_for("the snapshot is there", || !snapshots().is_empty());
        let object: Value = serde_json::from_str(&space.kubectl(&["get", &snapshots()[0], "-o", "json"])).unwrap();
        assert_eq!(
            object["spec"],
            json!({"volumeSnapshotClassName": "stand-in", "source": {"persistentVolumeClaimName": "data"}})
        );
        let run = say(&object, status);
        assert_eq!(run.code, 0, "{}", run.stderr);
    };
    let mut running = Running::start(space.dbmig_command(&words));
    set(&json!({"readyToUse": false, "error": {"message": "the array is full"}}));
    ends(&running.ends(), 4, &["could not be made", "the array is full", "everything was taken back"]);
    assert_eq!((snapshots(), keeper.revision()), (Vec::new(), None));

    let mut running = Running::start(space.dbmig_command(&words));
    set(&json!({"readyToUse": true, "boundVolumeSnapshotContentName": "snapcontent-1", "restoreSize": "32Mi"}));
    let run = running.ends();
    ends(&run, 0, &["is ready, of sqlite:/data/keeper.db", "applied 0c0c70d73d4b", "data-restored", "32Mi"]);
    let name = snapshots();
    ends(&space.dbmig(&["undo", &newest(space), "--yes"]), 4, &["nothing was changed"]);
    assert_eq!((snapshots(), name.is_empty()), (name, false));
    let gone = space.dbmig(&["cleanup", "--backups", "--yes", "-o", "name"]);
    assert!(gone.stdout.contains("volumesnapshot/dbmig-run-"), "{}{}", gone.stdout, gone.stderr);
    assert!(snapshots().is_empty());
    is_tidy(space);
}
