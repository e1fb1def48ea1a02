//! A session of MariaDB that holds a migration's lock.

use super::{ends, is_tidy};
use crate::database::mariadb::{CLIENT, server};
use crate::database::stuck::session;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_holds_a_named_lock_is_killed_by_force_alone() {
    let Some(server) = server("mysession").await else { return };
    let space = &server.space;
    server.sql(
        CLIENT,
        "CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at datetime(3),
         migration_name varchar(255) NOT NULL, logs text, rolled_back_at datetime(3), started_at datetime(3) NOT NULL DEFAULT now(3),
         applied_steps_count int unsigned NOT NULL DEFAULT 0); DROP TABLE m;
         INSERT INTO _prisma_migrations VALUES ('a', 'b', now(), '1_init', NULL, NULL, now(), 1)",
    );
    let holds =
        "mariadb -h 127.0.0.1 -u tlsonly -psecret --ssl shop -e \"SELECT GET_LOCK('prisma_migrate', 0); SELECT sleep(900)\"";
    let mut holder = session(space, "db", holds);
    let held = || server.sql(CLIENT, "SELECT IS_USED_LOCK('prisma_migrate') IS NOT NULL").trim() == "1";
    space.wait_for("the session holds the lock", held);
    let words = ["unlock", "app", "--yes", "--database", "mysql://tlsonly:secret@db/shop?ssl-mode=REQUIRED"];
    ends(&space.dbmig(&words), 4, &["SQL: KILL ", "from where the server itself runs", "--force", "nothing was changed"]);
    assert!(held(), "it is still held");
    ends(&space.dbmig(&[&words[..], &["--force"]].concat()), 0, &["KILL "]);
    assert!(!held(), "nobody holds it any more");
    assert_ne!(holder.ends().code, 0);
    ends(&space.dbmig(&words), 4, &["no lock of Prisma is held"]);
    is_tidy(space);
}
