//! PostgreSQL 15.

use std::time::Duration;

use dbmig::database::{Change, Database, Dialect, Limits, Trouble};
use serde_json::{Value, json};

use super::server::{Server, agent, reach};
use crate::support::{Harm, Proxy};

const SERVE: &str = r#"chown -R postgres /c; chmod 600 /c/db.key; cd /tmp
as() { runuser -u postgres -- "$@"; }
as /usr/lib/postgresql/15/bin/initdb -D /tmp/pg --auth-local=trust --auth-host=scram-sha-256
cat >/tmp/pg/pg_hba.conf <<'END'
local all all trust
hostnossl all tlsonly all reject
host all old all md5
host all all all scram-sha-256
END
exec runuser -u postgres -- /usr/lib/postgresql/15/bin/postgres -D /tmp/pg -c listen_addresses='*' -c ssl=on \
  -c ssl_cert_file=/c/db.pem -c ssl_key_file=/c/db.key -c unix_socket_directories=/sock -c max_connections=30
"#;
pub(crate) const CLIENT: &str = "psql -q -h /sock -U postgres -v ON_ERROR_STOP=1 -At -f - shop";
const SETUP: &str = "CREATE ROLE app LOGIN PASSWORD 'secret'; CREATE ROLE tlsonly LOGIN PASSWORD 'secret';
SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'secret'; RESET password_encryption;
CREATE TABLE m (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO m VALUES (3, false), (4, true);
CREATE TYPE mood AS ENUM ('well'); GRANT ALL ON m TO app, tlsonly, old;";

pub(crate) async fn server(purpose: &str) -> Option<Server> {
    let ready = "psql -h /sock -U postgres -c 'select 1' postgres";
    let server = Server::start(purpose, 5432, SERVE, ready).await?;
    server.sql("psql -h /sock -U postgres -f - postgres", "CREATE DATABASE shop");
    server.sql(CLIENT, SETUP);
    Some(server)
}

const URL: &str = "postgresql+psycopg2://app:secret@db/shop";

fn change(sql: &str, rows: u64) -> Change {
    Change { sql: sql.to_owned(), rows }
}

async fn rows(database: &dyn Database) -> Vec<Vec<Value>> {
    database.query("SELECT version, dirty FROM m ORDER BY 1").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_asked_without_being_changed_and_changed_only_as_a_whole() {
    let Some(server) = server("pgask").await else { return };
    let database = server.connect(URL, Limits::default()).await;
    assert_eq!(database.dialect(), Dialect::Postgres);
    let values = database
        .query(
            "SELECT NULL, true, 7::smallint, 9007199254740993, 0.5::real, 1.10::numeric, 'ä''\"'::varchar, '\\xc0ff'::bytea, \
             '{\"a\":[1]}'::jsonb, 'well'::mood, '2026-01-02 03:04:05+00'::timestamptz AT TIME ZONE 'UTC', '0/16B3748'::pg_lsn",
        )
        .await
        .unwrap();
    let expected = json!([[null, true, 7, 9_007_199_254_740_993_i64, 0.5, "1.10", "ä'\"", "x:c0ff", {"a": [1]}, "well",
        "2026-01-02 03:04:05", "0/16B3748"]]);
    assert_eq!(json!(values), expected);
    for (sql, words) in [
        ("DELETE FROM m RETURNING version", "read-only transaction"),
        ("SELECT 1; DELETE FROM m", "multiple commands"),
        ("SELECT 1; COMMIT; DELETE FROM m", "multiple commands"),
        ("SELECT * FROM nothing", "relation \"nothing\" does not exist"),
        ("SELECT generate_series(1, 1001)", "more than 1000 rows"),
        ("SELECT version FROM m WHERE version = $1", ""),
    ] {
        let failure = database.query(sql).await.unwrap_err();
        assert!(failure.message.contains(words), "{sql}: {failure:?}");
    }
    assert_eq!(database.query("SELECT generate_series(1, 1000)").await.unwrap().len(), 1000);
    let before = json!([[3, false], [4, true]]);
    assert_eq!(json!(rows(&*database).await), before);
    for changes in [
        vec![change("DELETE FROM m WHERE version = 3", 1), change("UPDATE m SET dirty = false WHERE version = 9", 1)],
        vec![change("DELETE FROM m WHERE version = 3", 1), change("INSERT INTO m VALUES (4, true)", 1)],
        vec![change("DELETE FROM m", 1)],
    ] {
        let failure = database.change(&changes).await.unwrap_err();
        assert_eq!(failure.state.as_deref(), Some("nothing was changed"), "{failure:?}");
        assert_eq!(json!(rows(&*database).await), before, "{changes:?}");
    }
    let good = [change("UPDATE m SET dirty = false WHERE version = 4", 1), change("DELETE FROM m WHERE version = 3", 1)];
    database.change(&good).await.unwrap();
    assert_eq!(server.sql(CLIENT, "SELECT version, dirty FROM m").trim(), "4|f");
    // Questions at the same time come one after the other, each whole.
    let (one, other) = tokio::join!(database.number("SELECT 1"), database.number("SELECT max(version) FROM m"));
    assert_eq!((one.unwrap(), other.unwrap()), (Some(1), Some(4)));
    drop(database);
    server.no_relay_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_statement_and_a_lock_of_others_end_in_time_and_leave_nothing_behind() {
    let Some(server) = server("pglimit").await else { return };
    let limits = Limits { statement: Duration::from_secs(2), lock: Duration::from_secs(1) };
    let database = server.connect(URL, limits).await;
    let failure = database.query("SELECT pg_sleep(60)").await.unwrap_err();
    assert!(failure.message.contains("statement timeout"), "{failure:?}");
    let other = server.connect(URL, Limits::default()).await;
    // The first takes the lock, the second keeps it for a while.
    let holding = tokio::spawn(async move {
        let hold = ["UPDATE m SET dirty = false WHERE version = 4", "UPDATE m SET dirty = pg_sleep(8) IS NULL WHERE version = 4"];
        other.change(&hold.map(|sql| change(sql, 1))).await
    });
    server.space.wait_for("the other session holds the row", || {
        server
            .sql(CLIENT, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'UPDATE m%pg_sleep%' AND state = 'active'")
            .trim()
            == "1"
    });
    let failure = database.change(&[change("DELETE FROM m WHERE version = 4", 1)]).await.unwrap_err();
    assert!(failure.message.contains("lock timeout"), "{failure:?}");
    assert_eq!(failure.state.as_deref(), Some("nothing was changed"));
    holding.await.unwrap().unwrap();
    assert_eq!(json!(rows(&*database).await), json!([[3, false], [4, false]]));
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    assert_eq!(server.sql(CLIENT, open).trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_done_as_the_url_says_and_each_trouble_has_its_name() {
    let Some(server) = server("pgtls").await else { return };
    let ip = server.space.kubectl(&["get", "pod", "db", "-o", "jsonpath={.status.podIP}"]);
    let secured = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    for (url, is_secured) in [
        ("postgres://app:secret@db/shop?sslmode=disable".to_owned(), false),
        ("postgres://app:secret@db/shop".to_owned(), true),
        ("postgres://tlsonly:secret@db/shop?sslmode=require".to_owned(), true),
        ("postgres://old:secret@db/shop?sslmode=disable".to_owned(), false),
        ("postgres://old:secret@db/shop?sslmode=verify-full&sslrootcert=/tmp/ca.pem".to_owned(), true),
        (format!("host={ip} user=app password=secret dbname=shop sslmode=verify-ca sslrootcert=/tmp/ca.pem"), true),
        (format!("postgres://app:secret@{ip}:1,db:5432/shop"), true),
    ] {
        let database = server.connect(&url, Limits::default()).await;
        assert_eq!(database.query(secured).await.unwrap(), [[json!(is_secured)]], "{url}");
    }
    for (url, trouble) in [
        ("postgres://app:secretly@db/shop".to_owned(), Trouble::Login),
        ("postgres://app@db/shop".to_owned(), Trouble::Login),
        ("postgres://nobody:secret@db/shop".to_owned(), Trouble::Login),
        ("postgres://tlsonly:secret@db/shop?sslmode=disable".to_owned(), Trouble::Login),
        ("postgres://app:secret@db/none".to_owned(), Trouble::NoDatabase),
        ("postgres://app:secret@no-such-host/shop".to_owned(), Trouble::UnknownHost),
        (format!("postgres://app:secret@{ip}:5433/shop"), Trouble::Refused),
        ("postgres:///shop?host=/run/none&user=app&password=secret".to_owned(), Trouble::Refused),
        (format!("postgres://app:secret@{ip}/shop?sslmode=verify-full&sslrootcert=/tmp/ca.pem"), Trouble::Tls),
        ("postgres://app:secret@db/shop?sslmode=verify-ca&sslrootcert=/tmp/other.pem".to_owned(), Trouble::Tls),
        ("postgres://app:secret@db/shop?sslmode=require&sslrootcert=/tmp/other.pem".to_owned(), Trouble::Tls),
        ("postgres://app:secret@db/shop?sslmode=verify-full".to_owned(), Trouble::Tls),
        ("postgres://app:secret@db/shop?sslmode=verify-ca&sslrootcert=/tmp/none.pem".to_owned(), Trouble::Tls),
    ] {
        assert_eq!(server.trouble(&url).await, trouble, "{url}");
    }
    // A socket is reached from the pod that has it.
    let beside = agent(server.space.cluster(), &server.space, "db", "db").await;
    let by_socket = reach(&beside, "postgresql:///shop?host=/sock&user=app", Limits::default()).await.unwrap();
    assert_eq!(by_socket.number("SELECT 1").await.unwrap(), Some(1));
    server.no_relay_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_is_noticed_and_leaves_no_session() {
    let Some(server) = server("pgcut").await else { return };
    let proxy = Proxy::new(&server.space).await;
    let agent = server.agent_through(proxy.kubeconfig()).await;
    let database = reach(&agent, URL, Limits { statement: Duration::from_secs(120), ..Limits::default() }).await.unwrap();
    let asking = tokio::spawn(async move {
        let failure = database.query("SELECT pg_sleep(100)").await.unwrap_err();
        (failure, database.query("SELECT 1").await.unwrap_err())
    });
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'kubectl-dbmig' AND state = 'active'";
    server.space.wait_for("the question is being answered", || server.sql(CLIENT, sessions).trim() == "1");
    assert!(proxy.harm(Harm::Reset) > 0);
    let (failure, after) = asking.await.unwrap();
    assert!(failure.passing && failure.message.contains("the connection was lost"), "{failure:?}");
    assert!(after.passing, "{after:?}");
    server.no_relay_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_while_changes_are_made_permanent_leaves_them_in_doubt_and_says_so() {
    let Some(server) = server("pgdoubt").await else { return };
    server.sql(
        CLIENT,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(30); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON m DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow();",
    );
    let proxy = Proxy::new(&server.space).await;
    let agent = server.agent_through(proxy.kubeconfig()).await;
    let database = reach(&agent, URL, Limits { statement: Duration::from_secs(60), ..Limits::default() }).await.unwrap();
    let changing = tokio::spawn(async move { database.change(&[change("INSERT INTO m VALUES (5, false)", 1)]).await });
    let committing = "SELECT count(*) FROM pg_stat_activity WHERE query = 'COMMIT' AND state = 'active'";
    server.space.wait_for("the change is being made permanent", || server.sql(CLIENT, committing).trim() == "1");
    assert!(proxy.harm(Harm::Reset) > 0);
    let failure = changing.await.unwrap().unwrap_err();
    assert!(failure.state.as_deref().is_some_and(|state| state.contains("is not known")), "{failure:?}");
    // The server goes on with what it was told.
    server.space.wait_for("the server has ended the session", || server.sql(CLIENT, committing).trim() == "0");
    assert_eq!(server.sql(CLIENT, "SELECT count(*) FROM m WHERE version = 5").trim(), "1");
}
