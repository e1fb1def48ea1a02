//! sqlx-cli on MariaDB, killed in the middle of a migration that can't be taken back.

use super::App;
use crate::database::mariadb::{self, CLIENT};

/// With the libraries of the machine that it was built on.
const MIGRATE: &str = "/host/ld-linux-x86-64.so.2 --library-path /host /tools/cargo/bin/sqlx migrate run";

#[tokio::test(flavor = "multi_thread")]
async fn sqlx_killed_in_the_middle_runs_again_after_the_printed_command() {
    let Some(server) = mariadb::server("bsqlx").await else { return };
    server.sql(CLIENT, "DROP TABLE m; DROP TABLE old; CREATE TABLE pause (seconds int); INSERT INTO pause VALUES (5)");
    let app = App::with_url(&server.space, "sqlx", MIGRATE, "mysql://app:se%27cret@db/shop");
    let first = [("migrations/1_users.sql", "CREATE TABLE users (id int);\n")];
    app.deploy(&first).runs();
    let slow = "CREATE TABLE slow AS SELECT sleep(seconds) AS slept FROM pause;\n";
    app.deploy(&[&first[..], &[("migrations/2_slow.sql", slow)]].concat());
    let running = "SELECT count(*) FROM _sqlx_migrations WHERE NOT success";
    app.space.wait_for("its second migration runs", || server.sql(CLIENT, running).trim() == "1");
    app.space.kubectl(&["delete", "pods", "-l", "app=sqlx", "--grace-period=0", "--force"]);
    app.breaks("partially applied");
    let diagnosis = app.diagnosed("sqlx");
    app.mended_by(&diagnosis, "kubectl dbmig repair deploy/sqlx", None);
    let books = || server.sql(CLIENT, "SELECT version, success FROM _sqlx_migrations ORDER BY 1").trim().to_owned();
    assert_eq!(books(), "1\t1\n2\t1");

    // One that `run` runs fails after a part of it that nothing takes back, and no other one begins on that.
    let half = "CREATE TABLE half (id int); CREATE TABLE users (id int);";
    let half = format!("mkdir /tmp/m && cp migrations/* /tmp/m && echo '{half}' >/tmp/m/3_half.sql && {MIGRATE} --source /tmp/m");
    let words = ["run", "--from", "deploy/sqlx", "--yes", "--", "sh", "-c", &half];
    let run = app.space.dbmig(&words);
    assert!(run.code == 1 && run.stderr.contains("the migration failed"), "{}", run.stderr);
    assert_eq!(books(), "1\t1\n2\t1\n3\t0");
    let again = app.space.dbmig(&words);
    assert!(again.code == 4 && again.stderr.contains("migration 3 did not end well"), "{}", again.stderr);
}
