//! Knex itself, on PostgreSQL and SQLite: killed with its lock held, two lock rows, renamed files, two runs at once.

use std::time::Duration;

use dbmig::framework::{Fate, Framework, Safety, Wish, log, repairs, wanted};

use super::database::Db;
use super::repaired::{apply, one, only, proven, rows, with_files};
use super::tool::{begin, node};

fn project(db: &Db) {
    let connection = if db.is_postgres() {
        "{client: 'pg', connection: {host: process.env.PGHOST, user: 'dbmig', database: process.env.PGDATABASE}}"
    } else {
        "{client: 'better-sqlite3', connection: {filename: 'db.sqlite'}, useNullAsDefault: true}"
    };
    db.write("knexfile.js", &format!("module.exports = {{...{connection}, migrations: {{directory: './migrations'}}}}\n"));
    db.write("package.json", "{}");
    migration(db, "1_users", "knex.schema.createTable('users', t => t.increments())");
}

fn migration(db: &Db, name: &str, up: &str) {
    let text = format!("exports.up = async knex => {{ await {up} }}\nexports.down = async () => {{}}\n");
    db.write(&format!("migrations/{name}.js"), &text);
}

#[tokio::test]
async fn a_lock_left_by_a_killed_run_is_freed_only_when_its_holder_is_dead() {
    let db = Db::postgres().await;
    project(&db);
    node(&db, "knex", &["migrate:latest"]).well();
    // The one way in which Knex leaves its lock behind on PostgreSQL: a migration outside a transaction.
    let slow = "exports.config = {transaction: false}\nexports.up = async knex => { await knex.raw('SELECT pg_sleep(600)') }\nexports.down = async () => {}\n";
    db.write("migrations/2_slow.js", slow);
    let mut run = begin(&db, "knex", &["migrate:latest"]);
    while db.column("SELECT is_locked FROM knex_migrations_lock").await != ["1"] {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    run.kill().unwrap();
    run.wait().unwrap();
    migration(&db, "2_slow", "knex.schema.createTable('slow', t => t.increments())");
    let said = node(&db, "knex", &["migrate:latest"]).badly();
    assert!(
        said.lines().any(|line| log::explain(line).is_some_and(|meaning| meaning.framework == Some(Framework::Knex))),
        "{said}"
    );

    let (mut state, evidence) = with_files(&db, Framework::Knex, "migrations").await;
    assert_eq!((state.applied.len(), state.locks.len(), state.pending.as_ref().unwrap().len()), (1, 1, 1));
    assert!(matches!(one(&state, &evidence).safety, Safety::Force(_)), "nobody proved that its holder is gone");
    state.locks[0].fate = Fate::Alive("pod app-1 runs".into());
    assert!(matches!(one(&state, &evidence).safety, Safety::Force(_)));
    state.locks[0].fate = Fate::Dead("no pod of the Job runs, and no session is there".into());
    let repair = proven(&state, &evidence);
    assert_eq!(wanted(&state, &evidence, &Wish::Unlock), Ok(vec![repair.clone()]));
    apply(&db, &repair).await;

    node(&db, "knex", &["migrate:latest"]).well();
    let (state, evidence) = with_files(&db, Framework::Knex, "migrations").await;
    assert_eq!((state.applied.len(), repairs(&state, &evidence).len()), (2, 0));
    assert_eq!((state.applied[1].id.as_str(), state.applied[1].batch), ("2_slow.js", Some(2)));
}

#[tokio::test]
async fn two_lock_rows_become_one_and_knex_goes_on() {
    for db in Db::each().await {
        project(&db);
        node(&db, "knex", &["migrate:latest"]).well();
        db.script("INSERT INTO knex_migrations_lock (is_locked) VALUES (0)").await;
        migration(&db, "2_more", "knex.schema.createTable('more', t => t.increments())");
        node(&db, "knex", &["migrate:latest"]).badly();
        let (mut state, evidence) = with_files(&db, Framework::Knex, "migrations").await;
        assert!(state.findings()[0].what.contains("2 rows where one belongs"), "{:?}", state.findings());
        state.locks[0].fate = Fate::Dead("nothing runs".into());
        apply(&db, &proven(&state, &evidence)).await;
        node(&db, "knex", &["migrate:latest"]).well();
    }
}

#[tokio::test]
async fn files_that_were_compiled_to_another_ending_get_their_rows_renamed() {
    for db in Db::each().await {
        project(&db);
        node(&db, "knex", &["migrate:latest"]).well();
        db.script("UPDATE knex_migrations SET name = '1_users.ts'").await;
        let said = node(&db, "knex", &["migrate:list"]).badly();
        assert!(said.lines().any(|line| log::explain(line).is_some()), "{said}");
        let (state, evidence) = with_files(&db, Framework::Knex, "migrations").await;
        let repair = proven(&state, &evidence);
        assert!(rows(&repair).changes[0].sql.contains("'1_users.js'"), "{repair:?}");
        apply(&db, &repair).await;
        node(&db, "knex", &["migrate:list"]).well();
    }
}

#[tokio::test]
async fn the_later_of_two_rows_goes_and_a_stamped_row_joins_the_batch_before_it() {
    for db in Db::each().await {
        project(&db);
        node(&db, "knex", &["migrate:latest"]).well();
        db.script("INSERT INTO knex_migrations (name, batch) VALUES ('1_users.js', 2)").await;
        let (state, evidence) = with_files(&db, Framework::Knex, "migrations").await;
        apply(&db, &proven(&state, &evidence)).await;
        assert_eq!(db.column("SELECT batch FROM knex_migrations").await, ["1"]);

        migration(&db, "2_there", "knex.schema.createTable('users', t => t.increments())");
        node(&db, "knex", &["migrate:latest"]).badly();
        let (state, evidence) = with_files(&db, Framework::Knex, "migrations").await;
        let stamp = wanted(&state, &evidence, &Wish::Stamp("2_there.js".into())).unwrap();
        apply(&db, &stamp[0]).await;
        assert!(node(&db, "knex", &["migrate:latest"]).well().contains("Already up to date"));
        assert_eq!(only(&db, Framework::Knex).await.applied[1].batch, Some(1));
    }
}
