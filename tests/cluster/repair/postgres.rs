//! A lock of Knex in PostgreSQL, which does not say who holds it; the password is in a Secret or was typed.

use serde_json::json;

use super::{ends, is_tidy, newest};
use crate::database::postgres::{CLIENT, server};
use crate::support::{Running, kubectl};

const PASSWORD: &str = "secret";
const TABLES: &str =
    "CREATE TABLE knex_migrations (id serial PRIMARY KEY, name varchar(255), batch integer, migration_time timestamptz);
CREATE TABLE knex_migrations_lock (index serial PRIMARY KEY, is_locked integer);
INSERT INTO knex_migrations (name, batch, migration_time) VALUES ('1_users.js', 1, now());
INSERT INTO knex_migrations_lock (is_locked) VALUES (1);
DROP TABLE m; GRANT ALL ON ALL TABLES IN SCHEMA public TO app;";

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_whose_holder_is_not_known_is_freed_only_by_force_and_can_be_put_back() {
    let Some(server) = server("pgrepair").await else { return };
    let space = &server.space;
    server.sql(CLIENT, TABLES);
    let url = "postgres://app:secret@db/shop";
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app"}, "stringData": {"url": url}});
    space.apply(&secret.to_string());
    let locked = || server.sql(CLIENT, "SELECT index, is_locked FROM knex_migrations_lock").trim().to_owned();
    let by_secret = ["repair", "app", "--yes", "--database-from", "secret/app:url"];
    let run = space.dbmig(&by_secret);
    ends(&run, 4, &["nothing proves", "--force", "nothing was changed"]);
    assert_eq!(locked(), "1|1");
    let forced = [&by_secret[..], &["--unlock", "--force"]].concat();
    let run = space.dbmig(&[&forced[..], &["--dry-run", "-o", "json"]].concat());
    ends(&run, 0, &[]);
    let plan: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&plan["kind"], locked().as_str()), (&json!("RepairPlan"), "1|1"));
    ends(&space.dbmig(&forced), 0, &["UPDATE"]);
    assert_eq!(locked(), "1|0");
    let id = newest(space)["id"].as_str().unwrap().to_owned();
    ends(&space.dbmig(&["undo", &id, "--yes"]), 0, &[]);
    assert_eq!(locked(), "1|1");

    // What was typed is not kept, so it has to be typed again.
    let typed = space.dbmig(&["unlock", "app", "--yes", "--force", "--database", url]);
    ends(&typed, 0, &[]);
    let id = newest(space)["id"].as_str().unwrap().to_owned();
    ends(&space.dbmig(&["undo", &id, "--yes"]), 1, &["not kept", "--database URL"]);
    assert_eq!(locked(), "1|0");
    ends(&space.dbmig(&["undo", &id, "--yes", "--database", url]), 0, &[]);
    assert_eq!(locked(), "1|1");
    let records = space.kubectl(&["get", "configmaps,leases", "-o", "yaml"]);
    for text in [&records, &typed.stderr, &typed.stdout] {
        let lines: Vec<&str> = text.lines().filter(|line| line.contains(&format!(":{PASSWORD}@"))).collect();
        assert_eq!(lines, Vec::<&str>::new(), "the password is said");
    }
    is_tidy(space);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_holds_the_lock_is_ended_only_by_force_and_never_brought_back() {
    let Some(server) = server("pgsession").await else { return };
    let space = &server.space;
    server.sql(
        CLIENT,
        "CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at timestamptz,
         migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz, started_at timestamptz NOT NULL DEFAULT now(),
         applied_steps_count integer NOT NULL DEFAULT 0);
         INSERT INTO _prisma_migrations VALUES ('a', 'b', NULL, '1_init', 'it failed', NULL, now(), 0);
         DROP TABLE m; GRANT ALL ON _prisma_migrations TO app",
    );
    let holder = "PGPASSWORD=secret psql -h 127.0.0.1 -U app -c 'SELECT pg_advisory_lock(72707369), pg_sleep(0)' -c 'SELECT pg_sleep(900)' shop";
    let mut command = kubectl();
    command.args(["--namespace", space.name(), "exec", "db", "--", "sh", "-c", holder]);
    let mut holder = Running::start(command);
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    space.wait_for("the session holds the lock", || server.sql(CLIENT, held).trim() == "1");
    let words = ["repair", "app", "--yes", "--database", "postgres://app:secret@db/shop"];
    ends(&space.dbmig(&words), 4, &["--force", "nothing was changed"]);
    let run = space.dbmig(&[&words[..], &["--to", "1_init"]].concat());
    assert_eq!((run.code, server.sql(CLIENT, held).trim()), (4, "1"), "{}", run.stderr);
    // The failed migration is still to be seen to.
    ends(&space.dbmig(&[&words[..], &["--force"]].concat()), 3, &["pg_terminate_backend", "still wrong: "]);
    assert_eq!(server.sql(CLIENT, held).trim(), "0");
    assert_ne!(holder.ends().code, 0);
    let id = newest(space)["id"].as_str().unwrap().to_owned();
    let undo = space.dbmig(&["undo", &id, "--yes", "--database", "postgres://app:secret@db/shop"]);
    ends(&undo, 4, &["can't be brought back", "nothing was changed"]);
    is_tidy(space);
}
