//! A CronJob as cliscale's: Knex against PostgreSQL beside a sidecar that never ends.

use serde_json::{Value, json};

use super::{ends, is_tidy, newest, records};
use crate::database::postgres::{CLIENT, server};
use crate::database::server::Server;
use crate::support::{Namespace, Running};

pub(super) const FROM: &str = "cronjob/manual-migrate";

/// The CronJob and its Secret, with the database.
async fn deploy(server: &Server) {
    server.sql(CLIENT, "DROP TABLE m; GRANT CREATE ON SCHEMA public TO app");
    deploy_to(&server.space, "db").await;
}

/// The CronJob and its Secret, for a database on a host of this name.
pub(super) async fn deploy_to(space: &Namespace, host: &str) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pg"},
        "stringData": {"url": format!("postgres://app:secret@{host}/shop?sslmode=disable")}});
    space.apply(&secret.to_string());
    let version = if space.cluster().features().await.unwrap().cronjob_v1 { "batch/v1" } else { "batch/v1beta1" };
    let url: Value = json!({"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "pg", "key": "url"}}});
    let cronjob = json!({"apiVersion": version, "kind": "CronJob", "metadata": {"name": "manual-migrate"}, "spec": {
    "schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": {"spec": {
        "restartPolicy": "OnFailure", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
        "containers": [
            {"name": "migrate", "image": "migrations:1", "workingDir": "/shop", "command": ["knex", "migrate:latest"], "env": [url]},
            {"name": "cloud-sql-proxy", "image": "busybox:1", "command": ["sh", "-c", "echo listening; exec sleep 3600"],
             "livenessProbe": {"exec": {"command": ["false"]}}},
        ]}}}}}});
    space.apply(&cronjob.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_beside_a_sidecar_runs_once_and_ends() {
    let Some(server) = server("runshop").await else { return };
    let space = &server.space;
    deploy(&server).await;
    let plan = space.dbmig(&["run", FROM, "--dry-run"]);
    ends(
        &plan,
        0,
        &["container  migrate, image migrations:1", "knex migrate:latest", "cloud-sql-proxy: ended when", "app@db:5432/shop"],
    );
    let plan: Value = serde_json::from_str(&space.dbmig(&["run", FROM, "--dry-run", "-o", "json"]).stdout).unwrap();
    assert_eq!((&plan["kind"], &plan["sidecars"]), (&json!("RunPlan"), &json!(["cloud-sql-proxy"])));
    assert_eq!(space.kubectl(&["get", "jobs,configmaps", "-l", "app.kubernetes.io/managed-by=kubectl-dbmig", "-o", "name"]), "");

    // Two people at once.
    let words = ["run", FROM, "--yes"];
    let mut both = [(); 2].map(|()| Running::start(space.dbmig_command(&words)));
    let [one, two] = both.each_mut().map(Running::ends);
    let (won, lost) = if one.stderr.contains("applied 1_users.js") { (one, two) } else { (two, one) };
    ends(
        &won,
        0,
        &["migrate | Batch 1 run: 2 migrations", "applied 1_users.js, 2_orders.js", "cloud-sql-proxy; its log is kept"],
    );
    // On a slow machine the second one may have come after the first was through.
    assert!(lost.code == 5 || lost.stderr.contains("nothing was left to do"), "{lost:?}");
    let batches = "SELECT string_agg(batch::text, ',') FROM knex_migrations";
    assert_eq!(server.sql(CLIENT, batches).trim(), "1,1");
    assert_eq!(space.kubectl(&["get", "jobs", "-o", "name"]), "", "the sidecar would keep it up for ever");
    let id = records(space).iter().find(|record| record["phase"] == "done").unwrap()["id"].as_str().unwrap().to_owned();
    let log = space.dbmig(&["logs", &id]).stdout;
    assert!(log.contains("Batch 1 run: 2 migrations") && log.contains("listening"), "{log}");
    ends(&space.dbmig(&["undo", &id, "--yes"]), 4, &["the migration has run", "nothing was changed"]);

    // A second one while the first is under way, however long that takes.
    let mut first = Running::start(space.dbmig_command(&words));
    first.reaches(3, 5);
    let second = first.paused(|| space.dbmig(&words));
    ends(&second, 5, &["nothing was changed"]);
    ends(&first.ends(), 0, &["nothing was left to do (Knex in public.knex_migrations: version 2_orders.js, 2 applied)"]);
    for text in [space.kubectl(&["get", "configmaps", "-o", "yaml"]), won.stderr, plan.to_string()] {
        assert!(!text.contains("secret@"), "the password is said");
    }

    // Back, as far as Knex goes by itself: the whole run.
    let plan = space.dbmig(&["rollback", FROM, "--dry-run"]);
    ends(&plan, 0, &["command    knex migrate:rollback", "takes back 2_orders.js, 1_users.js"]);
    ends(
        &space.dbmig(&["rollback", FROM, "--to", "9_none.js", "--yes"]),
        4,
        &["9_none.js is not applied", "nothing was changed"],
    );
    let run = space.dbmig(&["rollback", FROM, "--steps", "1", "--yes"]);
    ends(&run, 0, &["knex migrate:down", "took back 2_orders.js"]);
    ends(&space.dbmig(&["rollback", FROM, "--yes"]), 0, &["took back 1_users.js"]);
    assert_eq!(server.sql(CLIENT, "SELECT count(*) FROM knex_migrations").trim(), "0");
    ends(&space.dbmig(&["rollback", FROM, "--yes"]), 4, &["no migration is applied", "nothing was changed"]);

    // A lock that a killed migration has left behind.
    server.sql(CLIENT, "UPDATE knex_migrations_lock SET is_locked = 1");
    ends(&space.dbmig(&words), 4, &["holds the migration lock", "nothing was changed", "kubectl dbmig repair", "--force"]);
    let run = space.dbmig(&["run", FROM, "--yes", "--force"]);
    ends(&run, 1, &["the lock row is set", "the database is where it was", "kubectl dbmig repair cronjob/manual-migrate"]);
    assert_ne!(newest(space), id);
    is_tidy(space);
}

/// As user postgres in the server's pod: a pooler before it on port 6432, in transaction mode.
const POOLER: &str = r#"printf '[databases]\nshop = host=/sock\n[pgbouncer]\nlisten_addr = *\nlisten_port = 6432\nunix_socket_dir =\npool_mode = transaction
auth_type = plain\nauth_file = /tmp/users\nignore_startup_parameters = extra_float_digits\n' >/tmp/pooler.ini
echo '"app" "secret"' >/tmp/users
setsid runuser -u postgres -- pgbouncer /tmp/pooler.ini </dev/null >>/tmp/pooler.log 2>&1 &
for _ in $(seq 60); do PGPASSWORD=secret psql -h 127.0.0.1 -p 6432 -U app -c 'select 1' shop >/dev/null 2>&1 && exit 0; sleep 1; done
cat /tmp/pooler.log >&2; exit 1"#;

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_in_transaction_mode_there_is_no_lock_of_ours_and_that_is_said() {
    let Some(server) = server("runpool").await else { return };
    let space = &server.space;
    deploy(&server).await;
    space.kubectl(&["exec", "db", "--", "sh", "-c", POOLER]);
    space.kubectl(&["create", "service", "clusterip", "pooler", "--tcp=6432:6432"]);
    space.kubectl(&["set", "selector", "service", "pooler", "app=db"]);
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pg"},
        "stringData": {"url": "postgres://app:secret@pooler:6432/shop?sslmode=disable"}});
    space.apply(&secret.to_string());
    let run = space.dbmig(&["run", FROM, "--yes"]);
    let texts =
        ["is not locked against other namespaces and clusters", "a pooler is in between", "applied 1_users.js, 2_orders.js"];
    ends(&run, 0, &texts);
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(server.sql(CLIENT, locks).trim(), "0", "a session of the pooler's would keep it for ever");
    is_tidy(space);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_way_back_is_said_and_is_not_taken_back_by_a_mere_yes() {
    let Some(server) = server("runstuck").await else { return };
    let space = &server.space;
    deploy(&server).await;
    // Other files in place of the image's.
    let users = "exports.up = (knex) => knex.schema.createTable('users', (t) => { t.increments('id'); });\nexports.down = (knex) => knex.schema.dropTable('users');\n";
    let orders = "exports.up = (knex) => knex.schema.dropTable('old');\nexports.down = async (knex) => {\n  // what was in it is gone\n};\n";
    let files = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "files"}, "data": {"1_users.js": users, "2_orders.js": orders}});
    space.apply(&files.to_string());
    let mut cronjob: Value = serde_json::from_str(&space.kubectl(&["get", FROM, "-o", "json"])).unwrap();
    let pod = &mut cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    pod["volumes"] = json!([{"name": "files", "configMap": {"name": "files"}}]);
    pod["containers"][0]["volumeMounts"] = json!([{"name": "files", "mountPath": "/shop/migrations"}]);
    space.apply(&cronjob.to_string());
    server.sql(CLIENT, "SET ROLE app; CREATE TABLE old (a int)");
    ends(&space.dbmig(&["run", FROM, "--yes"]), 0, &["applied 1_users.js, 2_orders.js"]);

    let plan = space.dbmig(&["rollback", FROM, "--dry-run"]);
    ends(&plan, 0, &["2 files of migrations in migrations", "one-way    2_orders.js: its down does nothing"]);
    let shown: Value = serde_json::from_str(&space.dbmig(&["rollback", FROM, "--dry-run", "-o", "json"]).stdout).unwrap();
    assert_eq!(shown["irreversible"], json!(["2_orders.js: its down does nothing"]));
    let refused = space.dbmig(&["rollback", FROM, "--yes"]);
    ends(&refused, 4, &["has no way back", "2_orders.js: its down does nothing", "nothing was changed", "--force"]);
    assert_eq!(server.sql(CLIENT, "SELECT count(*) FROM knex_migrations").trim(), "2");
    ends(&space.dbmig(&["rollback", FROM, "--yes", "--force"]), 0, &["took back 1_users.js, 2_orders.js"]);
    is_tidy(space);
}
