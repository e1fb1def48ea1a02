//! Tables that look like a framework's and aren't, several frameworks at once, odd names, missing rights, very many rows.

use dbmig::database::Database;
use dbmig::framework::{Evidence, Framework, Remedy, Wish, recognise, repairs, wanted};

use super::database::Db;
use super::repaired::{apply, only};

#[tokio::test]
async fn tables_of_applications_are_nobodys_bookkeeping() {
    for db in Db::all().await {
        db.script(
            "CREATE TABLE tags (name varchar(20) PRIMARY KEY); INSERT INTO tags VALUES ('red');\
             CREATE TABLE empty_tags (name text); CREATE TABLE releases (version text); INSERT INTO releases VALUES ('1.2.3');\
             CREATE TABLE schema_version (version integer PRIMARY KEY); INSERT INTO schema_version VALUES (7);\
             CREATE TABLE visits (id integer, timestamp bigint, name text); INSERT INTO visits VALUES (1, 5, 'ann');\
             CREATE TABLE blobs (id integer, hash text, created_at bigint); INSERT INTO blobs VALUES (1, 'abc', 5);\
             CREATE TABLE leases (id integer, timestamp text); CREATE TABLE switches (index_ integer, is_locked integer);",
        )
        .await;
        assert_eq!(recognise(&db).await.unwrap(), []);
    }
}

#[tokio::test]
async fn several_frameworks_in_one_database_are_each_read() {
    for db in Db::all().await {
        db.script(
            "CREATE TABLE alembic_version (version_num VARCHAR(32)); INSERT INTO alembic_version VALUES ('a');\
             CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY); INSERT INTO schema_migrations VALUES ('20260101');\
             CREATE TABLE \"Odd \"\"name\"\" %\" (version bigint, dirty boolean); INSERT INTO \"Odd \"\"name\"\" %\" VALUES (3, TRUE);",
        )
        .await;
        let mut states = recognise(&db).await.unwrap();
        states.sort_by_key(|state| state.framework.name());
        let names: Vec<&str> = states.iter().map(|state| state.framework.name()).collect();
        assert_eq!(names, ["Alembic", "dbmate", "golang-migrate"]);
        let odd = &states[2];
        let to = wanted(odd, &Evidence::default(), &Wish::To("3".into())).unwrap();
        let Remedy::Rows(rows) = &to[0].remedy else { panic!("{to:?}") };
        db.change(&rows.changes).await.unwrap();
        assert!(recognise(&db).await.unwrap().iter().all(|state| state.failed.is_empty()));
    }
}

#[tokio::test]
async fn the_same_framework_in_two_schemas_is_two_states() {
    let db = Db::postgres().await;
    for schema in ["one", "Two Three"] {
        db.script(&format!("CREATE SCHEMA \"{schema}\"; CREATE TABLE \"{schema}\".schema_migrations (version bigint PRIMARY KEY, dirty boolean); INSERT INTO \"{schema}\".schema_migrations VALUES (3, '{schema}' = 'one')")).await;
    }
    let states = recognise(&db).await.unwrap();
    let tables: Vec<String> = states.iter().map(|state| state.table.to_string()).collect();
    assert_eq!(tables, ["Two Three.schema_migrations", "one.schema_migrations"]);
    let stamp = wanted(&states[1], &Evidence::default(), &Wish::Stamp("2".into())).unwrap();
    apply(&db, &stamp[0]).await;
    assert_eq!(db.column("SELECT version FROM \"Two Three\".schema_migrations").await, ["3"], "the other schema is left alone");
}

#[tokio::test]
async fn a_table_that_may_not_be_read_is_told_and_spoils_nothing_else() {
    let db = Db::postgres().await;
    let role = format!("{}_reader", db.name());
    db.script(&format!(
        "CREATE TABLE alembic_version (version_num VARCHAR(32)); CREATE SCHEMA hidden; CREATE TABLE hidden.django_migrations (id int, app text, name text, applied timestamptz);\
         CREATE TABLE goose_db_version (id int, version_id bigint, is_applied boolean, tstamp timestamp);\
         CREATE ROLE {role}; GRANT SELECT ON goose_db_version TO {role}; SET ROLE {role}"
    ))
    .await;
    let states = recognise(&db).await.unwrap();
    let readable: Vec<(Framework, bool)> = states.iter().map(|state| (state.framework, state.unreadable.is_none())).collect();
    assert_eq!(readable, [(Framework::Django, false), (Framework::Alembic, false), (Framework::Goose, true)]);
    assert!(states[1].findings()[0].what.contains("no right"), "{:?}", states[1].findings());
    assert!(repairs(&states[1], &Evidence::default()).is_empty(), "nothing is proposed for what could not be read");
    db.script(&format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_hundred_thousand_rows_are_counted_and_the_newest_read() {
    for db in Db::each().await {
        let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) ";
        db.script(&format!("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY); {rows} INSERT INTO schema_migrations SELECT CAST(20000000000000 + i AS varchar) FROM n"))
            .await;
        let mut state = only(&db, Framework::Dbmate).await;
        assert_eq!((state.count, state.applied.len()), (100_000, dbmig::framework::MOST));
        let scripts = ["20000000000001_old.sql", "20000000100000_last.sql", "20000000100001_new.sql"]
            .map(|path| dbmig::framework::Script { path: path.into(), text: String::new() });
        state.compare(&Evidence::of(Framework::Dbmate, &scripts));
        assert_eq!(state.pending.unwrap().iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["20000000100001"]);
    }
}

#[tokio::test]
async fn an_index_that_a_cut_off_build_left_is_noticed() {
    let db = Db::postgres().await;
    db.script("CREATE TABLE alembic_version (version_num VARCHAR(32)); CREATE TABLE t (x int); INSERT INTO t VALUES (1), (1)")
        .await;
    let session = db.session().await;
    session.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY t_x ON t (x)").await.unwrap_err();
    let findings = only(&db, Framework::Alembic).await.findings();
    assert!(findings.iter().any(|finding| finding.what.contains("not valid: t_x")), "{findings:?}");
}
