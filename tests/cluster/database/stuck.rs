//! `doctor` in front of sessions that stand in each other's way, in this namespace and from another one.

use serde_json::{Value, json};

use super::doctor::{finding, object};
use super::postgres::{CLIENT, server};
use super::server::Server;
use super::{mariadb, postgres};
use crate::support::{Namespace, Running, kubectl};

const ROLES: &str =
    concat!(include_str!("../../../plugin-manifest/observe.yaml"), "\n---\n", include_str!("../../../plugin-manifest/look.yaml"));

/// A client that goes on in a pod.
pub(crate) fn session(space: &Namespace, pod: &str, script: &str) -> Running {
    let mut command = kubectl();
    command.args(["--namespace", space.name(), "exec", pod, "--", "sh", "-c", script]);
    Running::start(command)
}

fn text<'a>(finding: &'a Value, field: &str) -> &'a str {
    finding[field].as_str().unwrap_or_else(|| panic!("{finding}"))
}

/// A look as JSON; no value of any statement is in it.
fn doctor(server: &Server, url: &str) -> Value {
    let run = server.space.dbmig(&["doctor", "app", "--database", url, "-o", "json"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(!format!("{}{}", run.stdout, run.stderr).contains("hunter2"), "{}", run.stdout);
    object(&run)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_table_that_waits_and_a_lock_held_in_another_namespace_are_told_with_their_pods() {
    let Some(server) = server("stuck").await else { return };
    let space = &server.space;
    // A name that no other namespace has, not even what a test that was cut off has left.
    let job = format!("job-{}", space.name());
    let sql = "CREATE TABLE orders (id int); ALTER TABLE orders OWNER TO app;
         CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz,
         migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
         applied_steps_count integer NOT NULL DEFAULT 0);
         INSERT INTO _prisma_migrations VALUES ('a', 'b', NULL, '1_init', 'it failed', NULL, now(), 0);
         CREATE TABLE databasechangelog (id varchar(255), author varchar(255), filename varchar(255), dateexecuted timestamp,
         orderexecuted int, exectype varchar(10), md5sum varchar(35), description varchar(255), comments varchar(255), tag varchar(255),
         liquibase varchar(20), contexts varchar(255), labels varchar(255), deployment_id varchar(10));
         CREATE TABLE databasechangeloglock (id int PRIMARY KEY, locked boolean, lockgranted timestamp, lockedby varchar(255));
         INSERT INTO databasechangeloglock VALUES (1, true, now(), 'JOB (192.0.2.1)');
         DROP TABLE m; GRANT ALL ON ALL TABLES IN SCHEMA public TO app";
    server.sql(CLIENT, &sql.replace("JOB", &job));
    let client = |host: &str, words: &str| format!("PGPASSWORD=secret psql -h {host} -U app {words} shop");
    let holds = client("$(hostname -i)", "-c BEGIN -c 'SELECT * FROM orders' -c 'SELECT pg_sleep(900)'");
    let holder = session(space, "db", &holds);
    let running = |words: &str| format!("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '{words}%' AND state = 'active'");
    let is_running = |words: &str| server.sql(CLIENT, &running(words)).trim() == "1";
    space.wait_for("a transaction holds the table", || is_running("SELECT pg_sleep"));
    let waiter = session(space, "db", &client("127.0.0.1", "-c \"ALTER TABLE orders ADD COLUMN note text DEFAULT 'hunter2'\""));
    space.wait_for("the change waits", || is_running("ALTER TABLE"));
    let reader = session(space, "db", &client("127.0.0.1", "-c 'SELECT count(*) FROM orders'"));
    space.wait_for("a reader waits behind it", || is_running("SELECT count(*) FROM orders"));
    // Another namespace has a pod that migrates the same database.
    let other = Namespace::new("stuckother").await;
    other.pod(
        &job,
        &json!({"terminationGracePeriodSeconds": 0,
        "containers": [{"name": "job", "image": "databases:1", "command": ["sleep", "3600"]}]}),
    );
    let ip = space.kubectl(&["get", "pod", "db", "-o", "jsonpath={.status.podIP}"]);
    let migration = session(&other, &job, &client(&ip, "-c 'SELECT pg_advisory_lock(72707369)' -c 'SELECT pg_sleep(901)'"));
    space.wait_for("the migration holds its lock", || is_running("SELECT pg_sleep(901)"));

    let url = "postgres://app:secret@db/shop";
    let diagnosis = doctor(&server, url);
    let waits = finding(&diagnosis, "ALTER TABLE orders ADD COLUMN note text DEFAULT …: session ");
    assert!(text(waits, "what").ends_with(" waits for orders"), "{waits}");
    for words in ["in its way: session ", "of app from ", "(pod/db)", "1 more wait for the same table"] {
        assert!(text(waits, "evidence").contains(words), "{words:?}: {waits}");
    }
    assert_eq!(waits["next"][0], format!("kubectl dbmig logs db -n {}", space.name()));
    assert!(waits["next"][1].as_str().unwrap().starts_with("SELECT pg_terminate_backend("), "{waits}");
    // By the address of a session, and by the host name that a row has.
    for framework in ["Prisma: session ".to_owned(), format!("Liquibase: {job} from ")] {
        let held = finding(&diagnosis, &framework);
        assert!(text(held, "what").contains(" holds the migration lock since "), "{held}");
        assert_eq!(text(held, "evidence"), format!("pod/{job} -n {} is Running", other.name()));
    }

    // What is seen is stronger than whoever insists.
    let forced = space.dbmig(&["force", "app", "1_init", "--yes", "--database", url]);
    assert_eq!(forced.code, 4, "{}", forced.stderr);
    assert!(
        forced.stderr.contains("a migration may be running now") && forced.stderr.contains(&format!("pod/{job} -n ")),
        "{}",
        forced.stderr
    );

    // Who may not look into other namespaces is told that it is not known.
    let dir = tempfile::tempdir().unwrap();
    let user = space.user("looker", ROLES, "kubectl-dbmig-observe", dir.path());
    let account = format!("--serviceaccount={}:looker", space.name());
    space.kubectl(&["create", "rolebinding", "look", "--role=kubectl-dbmig-look", &account]);
    let run = space.dbmig_as(&user, &["doctor", "app", "--database", url, "-o", "json"]);
    let diagnosis = object(&run);
    let held = finding(&diagnosis, "Prisma: session ");
    assert!(text(held, "evidence").contains("you may not list the pods of others"), "{held}");

    server.sql(CLIENT, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    for mut session in [holder, waiter, reader, migration] {
        session.ends();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_table_that_waits_in_mariadb_is_told_as_far_as_the_role_may_see() {
    let Some(server) = mariadb::server("stuckmy").await else { return };
    let space = &server.space;
    let sql = |sql: &str| server.sql(mariadb::CLIENT, sql);
    sql("CREATE TABLE orders (id int); INSERT INTO orders VALUES (1); DROP TABLE m;
        CREATE USER seer IDENTIFIED BY 'secret'; GRANT ALL ON shop.* TO seer; GRANT PROCESS ON *.* TO seer;
        CREATE USER knower IDENTIFIED BY 'secret'; GRANT ALL ON shop.* TO knower; GRANT PROCESS ON *.* TO knower;
        GRANT SELECT ON performance_schema.* TO knower");
    let client = |statements: &str| format!("mariadb -h $(hostname -i) -u tlsonly -psecret --ssl shop -e \"{statements}\"");
    let holder = session(space, "db", &client("BEGIN; SELECT * FROM orders; SELECT sleep(900)"));
    let running = |words: &str| {
        let all = format!("SELECT count(*) FROM information_schema.processlist WHERE info LIKE '{words}%'");
        sql(&all).trim() == "1"
    };
    space.wait_for("a transaction holds the table", || running("SELECT sleep"));
    let waiter = session(space, "db", &client("ALTER TABLE orders ADD COLUMN note varchar(9) DEFAULT 'hunter2'"));
    space.wait_for("the change waits", || running("ALTER TABLE"));

    for (user, in_its_way) in [("seer", "may be in its way: session "), ("knower", "; in its way: session ")] {
        let diagnosis = doctor(&server, &format!("mysql://{user}:secret@db/shop"));
        let waits = finding(&diagnosis, "ALTER TABLE orders ADD COLUMN note varchar …: session ");
        let evidence = format!("; {}", text(waits, "evidence"));
        assert!(evidence.contains(in_its_way) && evidence.contains("(pod/db)"), "{user}: {waits}");
        assert!(waits["next"][1].as_str().unwrap().starts_with("KILL "), "{waits}");
    }
    // The same user sees its own sessions, and not what they hold.
    let diagnosis = doctor(&server, "mysql://tlsonly:secret@db/shop?ssl-mode=REQUIRED");
    let waits = finding(&diagnosis, "ALTER TABLE orders");
    assert!(text(waits, "evidence").contains("can't be seen with this role's rights"), "{waits}");

    sql("KILL USER tlsonly");
    for mut session in [holder, waiter] {
        session.ends();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_rows_of_bookkeeping_are_counted_and_the_newest_are_read() {
    let Some(server) = postgres::server("many").await else { return };
    server.sql(
        CLIENT,
        "CREATE TABLE schema_migrations (version varchar PRIMARY KEY); DROP TABLE m;
         CREATE TABLE ar_internal_metadata (key varchar PRIMARY KEY, value varchar, created_at timestamp, updated_at timestamp);
         INSERT INTO schema_migrations SELECT (20200101000000 + n)::text FROM generate_series(1, 100000) AS n;
         GRANT ALL ON ALL TABLES IN SCHEMA public TO app",
    );
    let url = "postgres://app:secret@db/shop";
    let run = server.space.dbmig(&["doctor", "app", "--database", url, "-o", "json"]);
    let state = &object(&run)["databases"][0]["states"][0];
    assert_eq!((&state["framework"], &state["count"]), (&json!("Rails"), &json!(100_000)), "{state}");
    assert_eq!((state["applied"].as_array().map(Vec::len), &state["heads"][0]), (Some(1000), &json!("20200101100000")));
    // One more than the newest is pending, though most of what is applied was not read.
    let dir = tempfile::tempdir().unwrap();
    for version in ["20200101000001", "20200101100000", "20200102000000"] {
        std::fs::write(dir.path().join(format!("{version}_x.rb")), "").unwrap();
    }
    let history =
        server.space.dbmig(&["history", "app", "--database", url, "--migrations", dir.path().to_str().unwrap(), "-o", "json"]);
    let pending = &object(&history)["databases"][0]["states"][0]["pending"];
    assert_eq!(pending.as_array().map(Vec::len), Some(1), "{pending}");
}
