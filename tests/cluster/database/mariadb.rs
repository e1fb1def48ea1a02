//! MariaDB 10.11.

use std::time::Duration;

use dbmig::database::{Change, Dialect, Limits, Trouble};
use serde_json::json;

use super::server::Server;
use crate::support::{Harm, Proxy};

const SERVE: &str = r#"mariadb-install-db --user=mysql --datadir=/tmp/my --auth-root-authentication-method=normal
exec mariadbd --user=mysql --datadir=/tmp/my --socket=/sock/m.sock --bind-address=0.0.0.0 --skip-name-resolve \
  --ssl-cert=/c/db.pem --ssl-key=/c/db.key --pid-file=/tmp/my.pid \
  --performance-schema=ON --performance-schema-instrument='wait/lock/metadata/sql/mdl=ON'
"#;
pub(crate) const CLIENT: &str = "mariadb -S /sock/m.sock -u root -N shop";
const SETUP: &str = "CREATE USER app IDENTIFIED BY 'se\\'cret'; CREATE USER tlsonly IDENTIFIED BY 'secret' REQUIRE SSL;
CREATE TABLE m (version bigint PRIMARY KEY, dirty boolean NOT NULL); INSERT INTO m VALUES (3, 0), (4, 1);
CREATE TABLE old (a int) ENGINE=MyISAM; INSERT INTO old VALUES (1);
GRANT ALL ON shop.* TO app; GRANT ALL ON shop.* TO tlsonly;";
const URL: &str = "mysql+pymysql://app:se%27cret@db/shop";

pub(crate) async fn server(purpose: &str) -> Option<Server> {
    let server = Server::start(purpose, 3306, SERVE, "mariadb -S /sock/m.sock -u root -e 'select 1'").await?;
    server.sql("mariadb -S /sock/m.sock -u root", "CREATE DATABASE shop");
    server.sql(CLIENT, SETUP);
    Some(server)
}

fn change(sql: &str, rows: u64) -> Change {
    Change { sql: sql.to_owned(), rows }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_asked_without_being_changed_and_changed_only_as_a_whole() {
    let Some(server) = server("myask").await else { return };
    let database = server.connect(URL, Limits { statement: Duration::from_secs(2), lock: Duration::from_secs(1) }).await;
    assert_eq!(database.dialect(), Dialect::MariaDb);
    let values = database
        .query(
            "SELECT NULL, 7, 18446744073709551615, 0.5e0, 1.10, 'ä''\\n', X'c0ff', b'101', \
             CAST('2026-01-02 03:04:05' AS datetime), \"dirty\" FROM \"m\" WHERE version = 4",
        )
        .await
        .unwrap();
    let expected = json!([[null, 7, u64::MAX, 0.5, "1.10", "ä'\\n", "x:c0ff", "x:05", "2026-01-02 03:04:05", 1]]);
    assert_eq!(json!(values), expected);
    for (sql, words) in [
        ("DELETE FROM m", "READ ONLY transaction"),
        ("CREATE TABLE x (a int)", "READ ONLY transaction"),
        ("SELECT 1; DELETE FROM m", "error in your SQL syntax"),
        ("SELECT * FROM nothing", "doesn't exist"),
        ("SELECT seq FROM seq_1_to_1001", "more than 1000"),
        ("SELECT sleep(60)", "max_statement_time"),
    ] {
        let failure = database.query(sql).await.unwrap_err();
        assert!(failure.message.contains(words), "{sql}: {failure:?}");
    }
    assert_eq!(server.sql(CLIENT, "SHOW TABLES").trim(), "m\nold");
    let select = "SELECT version, dirty FROM m ORDER BY 1";
    let before = json!([[3, 0], [4, 1]]);
    for changes in [
        vec![change("DELETE FROM m WHERE version = 3", 1), change("UPDATE m SET dirty = 0 WHERE version = 9", 1)],
        vec![change("DELETE FROM m WHERE version = 3", 1), change("INSERT INTO m VALUES (4, 1)", 1)],
    ] {
        let failure = database.change(&changes).await.unwrap_err();
        assert_eq!(failure.state.as_deref(), Some("nothing was changed"), "{failure:?}");
        assert_eq!(json!(database.query(select).await.unwrap()), before, "{changes:?}");
    }
    // A table that knows no transactions: what was done to it stays, and that is said.
    let failure = database.change(&[change("DELETE FROM old", 1), change("DELETE FROM m", 1)]).await.unwrap_err();
    assert!(failure.state.as_deref().is_some_and(|state| state.contains("could not be taken back")), "{failure:?}");
    // A row that has the value already is found all the same.
    let good = [change("UPDATE m SET dirty = 1 WHERE version = 4", 1), change("DELETE FROM m WHERE version = 3", 1)];
    database.change(&good).await.unwrap();
    assert_eq!(server.sql(CLIENT, "SELECT * FROM m").trim(), "4\t1");
    let lock = server.connect(URL, Limits::default()).await;
    let holding = tokio::spawn(async move { lock.change(&[change("UPDATE m SET dirty = sleep(6) WHERE version = 4", 1)]).await });
    server.space.wait_for("the other session holds the row", || {
        let all = "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'UPDATE m%'";
        server.sql(CLIENT, all).trim() == "1"
    });
    let failure = database.change(&[change("DELETE FROM m WHERE version = 4", 1)]).await.unwrap_err();
    assert!(failure.message.contains("Lock wait timeout") || failure.message.contains("max_statement_time"), "{failure:?}");
    holding.await.unwrap().unwrap();
    drop(database);
    server.no_relay_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_done_as_the_url_says_and_each_trouble_has_its_name() {
    let Some(server) = server("mytls").await else { return };
    let ip = server.space.kubectl(&["get", "pod", "db", "-o", "jsonpath={.status.podIP}"]);
    let cipher = "SELECT variable_value <> '' FROM information_schema.session_status WHERE variable_name = 'SSL_CIPHER'";
    for (url, is_secured) in [
        ("mysql://app:se'cret@db/shop?ssl-mode=DISABLED".to_owned(), 0),
        ("mysql://app:se'cret@db/shop".to_owned(), 1),
        ("mysql://tlsonly:secret@db/shop?ssl-mode=REQUIRED".to_owned(), 1),
        ("mysql://app:se'cret@db/shop?ssl-mode=VERIFY_IDENTITY&ssl-ca=/tmp/ca.pem".to_owned(), 1),
        (format!("mysql://app:se'cret@{ip}/shop?ssl-mode=VERIFY_CA&ssl-ca=/tmp/ca.pem"), 1),
        (format!("app:se'cret@tcp({ip}:3306)/shop?tls=skip-verify"), 1),
    ] {
        let database = server.connect(&url, Limits::default()).await;
        assert_eq!(database.number(cipher).await.unwrap(), Some(is_secured), "{url}");
    }
    for (url, trouble) in [
        ("mysql://app:secretly@db/shop".to_owned(), Trouble::Login),
        ("mysql://tlsonly:secret@db/shop?ssl-mode=DISABLED".to_owned(), Trouble::Login),
        ("mysql://app:se'cret@db/none".to_owned(), Trouble::NoDatabase),
        ("mysql://app:se'cret@no-such-host/shop".to_owned(), Trouble::UnknownHost),
        (format!("mysql://app:se'cret@{ip}:3307/shop"), Trouble::Refused),
        (format!("mysql://app:se'cret@{ip}/shop?ssl-mode=VERIFY_IDENTITY&ssl-ca=/tmp/ca.pem"), Trouble::Tls),
        ("mysql://app:se'cret@db/shop?ssl-mode=VERIFY_CA&ssl-ca=/tmp/other.pem".to_owned(), Trouble::Tls),
    ] {
        assert_eq!(server.trouble(&url).await, trouble, "{url}");
    }
    server.no_relay_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_is_noticed_and_leaves_no_relay() {
    let Some(server) = server("mycut").await else { return };
    let proxy = Proxy::new(&server.space).await;
    let agent = server.agent_through(proxy.kubeconfig()).await;
    let limits = Limits { statement: Duration::from_secs(120), ..Limits::default() };
    let database = super::server::reach(&agent, URL, limits).await.unwrap();
    let asking = tokio::spawn(async move {
        let failure = database.query("SELECT sleep(100)").await.unwrap_err();
        (failure, database.query("SELECT 1").await.unwrap_err())
    });
    server.space.wait_for("the question is being answered", || {
        let all = "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT sleep%'";
        server.sql(CLIENT, all).trim() == "1"
    });
    assert!(proxy.harm(Harm::Reset) > 0);
    let (failure, after) = asking.await.unwrap();
    assert!(failure.passing && failure.message.contains("the connection was lost"), "{failure:?}");
    assert!(after.passing, "{after:?}");
    server.no_relay_is_left();
}
