//! sqlx-cli itself: a migration that stays half done on MariaDB, and files that were edited or are gone. It takes no lock (0.9.0): that
//! is for applications that migrate when they start, see `defined.rs`.

use dbmig::framework::{Effect, Framework, Safety, Wish, log, repairs, wanted};

use super::database::Db;
use super::repaired::{apply, one, with_files};
use super::tool::{Said, sqlx};

fn explained(said: &str) {
    let known = said.lines().filter_map(log::explain).any(|meaning| meaning.framework == Some(Framework::Sqlx));
    assert!(known, "{said}");
}

fn migrate(db: &Db) -> Said {
    sqlx(db, &["migrate", "run", "--source", "m"])
}

fn orders_and_users(db: &Db) {
    db.write("m/1_users.sql", "CREATE TABLE users (id int);\n");
    // The first table stays, whatever becomes of the second: MariaDB can't take it back.
    db.write("m/2_orders.sql", "CREATE TABLE orders (id int); CREATE TABLE users (id int);\n");
}

#[tokio::test]
async fn a_partially_applied_migration_is_repaired_and_sqlx_goes_on() {
    let db = Db::mariadb();
    orders_and_users(&db);
    migrate(&db).badly();
    explained(&migrate(&db).badly());
    let (state, evidence) = with_files(&db, Framework::Sqlx, "m").await;
    assert_eq!((state.heads.join(","), state.failed.len()), ("1".to_owned(), 1), "{state:#?}");
    let list = repairs(&state, &evidence);
    assert!(list.iter().all(|repair| repair.safety != Safety::Proven), "what is half done is for people to see to: {list:#?}");

    // Somebody takes back by hand what is there of it.
    db.script("DROP TABLE orders").await;
    db.write("m/2_orders.sql", "CREATE TABLE orders (id int);\n");
    let (state, evidence) = with_files(&db, Framework::Sqlx, "m").await;
    assert!(matches!(state.failed[0].effect, Effect::NotApplied(_)), "{state:#?}");
    apply(&db, &one(&state, &evidence)).await;
    migrate(&db).well();
    let (state, evidence) = with_files(&db, Framework::Sqlx, "m").await;
    assert_eq!((state.count, state.heads.join(",")), (2, "2".to_owned()));
    assert!(repairs(&state, &evidence).is_empty() && state.changed.is_empty(), "{state:#?}");
}

#[tokio::test]
async fn an_edited_file_and_one_that_is_gone_are_told_as_sqlx_tells_them() {
    let db = Db::postgres().await;
    db.write("m/1_users.sql", "CREATE TABLE users (id int);\n");
    db.write("m/2_orders.sql", "CREATE TABLE orders (id int);\n");
    migrate(&db).well();
    let (state, _) = with_files(&db, Framework::Sqlx, "m").await;
    assert_eq!((state.count, state.changed.len()), (2, 0), "{state:#?}");
    assert!(wanted(&state, &Default::default(), &Wish::Stamp("3".into())).unwrap_err().contains("checksum"));

    db.write("m/1_users.sql", "CREATE TABLE users (id bigint);\n");
    explained(&migrate(&db).badly());
    let (state, _) = with_files(&db, Framework::Sqlx, "m").await;
    assert_eq!(state.changed, ["1"]);
    std::fs::remove_file(db.path().join("m/1_users.sql")).unwrap();
    explained(&migrate(&db).badly());
}
