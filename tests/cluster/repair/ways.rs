//! Ways to a PostgreSQL server that are not the plain one: a password of odd characters, a pooler in transaction mode, a standby.

use serde_json::json;

use super::{ends, is_tidy, newest};
use crate::database::postgres::{CLIENT, server};
use crate::support::{Run, Running};

/// Every character that has a meaning somewhere between a Secret and a server.
const PASSWORD: &str = "hunt er2:/@?#[]%&=+'\"\\$ü";
const ENCODED: &str = "hunt%20er2%3A%2F%40%3F%23%5B%5D%25%26%3D%2B%27%22%5C%24%C3%BC";
/// What of it would be seen in any of its forms.
const TELLTALES: [&str; 3] = ["hunt er2", "hunt%20er2", "er2:/@"];

const TABLES: &str =
    "CREATE TABLE knex_migrations (id serial PRIMARY KEY, name varchar(255), batch integer, migration_time timestamptz);
CREATE TABLE knex_migrations_lock (index serial PRIMARY KEY, is_locked integer);
INSERT INTO knex_migrations (name, batch, migration_time) VALUES ('1_users.js', 1, now());
INSERT INTO knex_migrations_lock (is_locked) VALUES (1); DROP TABLE m;";

/// As user postgres in the server's pod: a standby that follows it on port 5433, and a pooler before it on port 6432.
const MORE: &str = r#"cd /tmp; as() { runuser -u postgres -- "$@"; }
echo 'local replication all trust' >>/tmp/pg/pg_hba.conf
as psql -q -h /sock -c 'SELECT pg_reload_conf()' postgres >/dev/null
as pg_basebackup -h /sock -D /tmp/standby -R -c fast -X stream
printf '[databases]\nshop = host=/sock user=odd\n[pgbouncer]\nlisten_addr = *\nlisten_port = 6432\nunix_socket_dir =\npool_mode = transaction
auth_type = plain\nauth_file = /tmp/users\ndefault_pool_size = 2\n' >/tmp/pooler.ini
echo '"odd" "pooled"' >/tmp/users
stays() { # without any file of ours, or whoever called us would wait for it
  setsid runuser -u postgres -- "$@" </dev/null >>/tmp/more.log 2>&1 &
}
stays /usr/lib/postgresql/15/bin/postgres -D /tmp/standby -p 5433 -c listen_addresses='*' -c max_connections=30 -c unix_socket_directories=/tmp
stays pgbouncer /tmp/pooler.ini
for _ in $(seq 60); do
  psql -h /tmp -p 5433 -U postgres -c 'select 1' shop >/dev/null 2>&1 && PGPASSWORD=pooled psql -h 127.0.0.1 -p 6432 -U odd -c 'select 1' shop >/dev/null 2>&1 && exit 0
  sleep 1
done
cat /tmp/more.log >&2; exit 1"#;

fn tells_nothing(what: &str, text: &str) {
    let told: Vec<&str> = text.lines().filter(|line| TELLTALES.iter().any(|part| line.contains(part))).collect();
    assert_eq!(told, Vec::<&str>::new(), "the password is in {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_password_appears_nowhere_a_pooler_will_do_and_a_standby_is_left_alone() {
    let Some(server) = server("pgways").await else { return };
    let space = &server.space;
    let literal = PASSWORD.replace('\'', "''");
    server.sql(
        CLIENT,
        &format!(
            "{TABLES} SET standard_conforming_strings = on; CREATE ROLE odd LOGIN PASSWORD '{literal}';
            GRANT ALL ON ALL TABLES IN SCHEMA public TO odd"
        ),
    );
    let url = format!("postgres://odd:{ENCODED}@db/shop");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app"},
        "stringData": {"url": url, "DB_CONNECTION": "pgsql", "DB_HOST": "db", "DB_USERNAME": "odd", "DB_DATABASE": "shop", "DB_PASSWORD": PASSWORD}});
    space.apply(&secret.to_string());
    let locked = || server.sql(CLIENT, "SELECT is_locked FROM knex_migrations_lock").trim().to_owned();

    // By its parts, with every log there is; then by its URL, standing still in the middle.
    let run = space.dbmig(&["doctor", "app", "--database-from", "secret/app", "-v=10"]);
    assert!(run.code == 3 && run.stdout.contains("Knex"), "{}: {}{}", run.code, run.stdout, run.stderr);
    tells_nothing("what doctor says", &format!("{}{}", run.stdout, run.stderr));
    let words = ["unlock", "app", "--yes", "--force", "--database-from", "secret/app:url", "-v=10"];
    let mut running = Running::start(space.dbmig_command(&words));
    running.reaches(1, 3);
    running.paused(|| {
        let inside = space.kubectl(&["exec", "app", "--", "ps", "-o", "args"]);
        assert!(inside.contains("dbmig-agent") || inside.contains("relay"), "our binary is at work: {inside}");
        tells_nothing("the pod's list of processes", &inside);
        tells_nothing(
            "this machine's list of processes",
            &Run::of(std::process::Command::new("ps").args(["-ewwo", "args"])).stdout,
        );
        // Another one at the same time is told who is first.
        let second = space.dbmig(&["unlock", "app", "--yes", "--force", "--database-from", "secret/app:url"]);
        ends(&second, 5, &["kubectl dbmig resume"]);
    });
    let run = running.ends();
    ends(&run, 0, &[]);
    assert_eq!(locked(), "0");
    tells_nothing("what unlock says", &format!("{}{}", run.stdout, run.stderr));
    let id = newest(space)["id"].as_str().unwrap().to_owned();
    ends(&space.dbmig(&["undo", &id, "--yes", "--database-from", "secret/app:url"]), 0, &[]);
    assert_eq!(locked(), "1");
    tells_nothing("what is kept", &space.kubectl(&["get", "configmaps,leases,events,pods", "-o", "yaml"]));

    space.kubectl(&["exec", "db", "--", "sh", "-c", MORE]);
    let ip = space.kubectl(&["get", "pod", "db", "-o", "jsonpath={.status.podIP}"]);
    let pooled = format!("postgres://odd:pooled@{ip}:6432/shop?sslmode=disable");
    let by_pooler = |words: &[&str]| space.dbmig(&[words, &["--database", &pooled]].concat());
    let run = by_pooler(&["doctor", "app"]);
    assert!(run.code == 3 && run.stdout.contains("Knex"), "{}: {}{}", run.code, run.stdout, run.stderr);
    ends(&by_pooler(&["unlock", "app", "--yes", "--force"]), 0, &[]);
    assert_eq!(locked(), "0");
    let id = newest(space)["id"].as_str().unwrap().to_owned();
    ends(&by_pooler(&["undo", &id, "--yes"]), 0, &[]);
    assert_eq!(locked(), "1");

    let standby = format!("postgres://odd:{ENCODED}@{ip}:5433/shop");
    let run = space.dbmig(&["doctor", "app", "--database", &standby]);
    assert!(run.code == 3 && run.stdout.contains("Knex"), "{}: {}{}", run.code, run.stdout, run.stderr);
    let run = space.dbmig(&["unlock", "app", "--yes", "--force", "--database", &standby]);
    ends(&run, 4, &["this server is a replica", "nothing was changed"]);
    assert_eq!(locked(), "1");
    is_tidy(space);
}
