//! TypeORM, Sequelize, Drizzle and dbmate themselves: what they wrote is read, and a stamped migration is believed.

use dbmig::framework::{Framework, Level, Wish, wanted};

use super::database::Db;
use super::repaired::{apply, only, with_files};
use super::tool::node;

#[tokio::test]
async fn typeorm_is_read_and_believes_a_stamp() {
    for db in Db::each().await {
        let options = if db.is_postgres() {
            "type: 'postgres', host: process.env.PGHOST, username: 'dbmig', database: process.env.PGDATABASE"
        } else {
            "type: 'better-sqlite3', database: 'db.sqlite', driver: function (...given) { return new (require('better-sqlite3'))(...given) }"
        };
        db.write("source.js", &format!("require('reflect-metadata')\nconst {{DataSource}} = require('typeorm')\nmodule.exports = new DataSource({{{options}, migrations: ['m/*.js']}})\n"));
        for (time, name) in [(1_700_000_000_000_u64, "Users"), (1_700_000_000_001, "Orders")] {
            let text = format!(
                "module.exports = class {name}{time} {{\n  async up(q) {{ await q.query('CREATE TABLE {name} (id int)') }}\n  async down(q) {{}}\n}}\n"
            );
            db.write(&format!("m/{time}-{}.js", name.to_lowercase()), &text);
        }
        std::fs::rename(db.path().join("m/1700000000001-orders.js"), db.path().join("later.js")).unwrap();
        node(&db, "typeorm", &["migration:run", "-d", "source.js"]).well();
        std::fs::rename(db.path().join("later.js"), db.path().join("m/1700000000001-orders.js")).unwrap();
        let (state, evidence) = with_files(&db, Framework::TypeOrm, "m").await;
        assert_eq!(state.heads, ["Users1700000000000"]);
        assert_eq!(state.applied[0].at.as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(state.pending.as_ref().unwrap()[0].id, "Orders1700000000001");
        apply(&db, &wanted(&state, &evidence, &Wish::Stamp("Orders1700000000001".into())).unwrap()[0]).await;
        let said = node(&db, "typeorm", &["migration:run", "-d", "source.js"]).well();
        assert!(said.contains("No migrations are pending"), "{said}");
    }
}

#[tokio::test]
async fn sequelize_is_read_and_believes_a_stamp() {
    let db = Db::postgres().await;
    db.write("config/config.js", "module.exports = {development: {dialect: 'postgres', host: process.env.PGHOST, username: 'dbmig', database: process.env.PGDATABASE}}\n");
    for name in ["20260101-users", "20260102-orders"] {
        let text = format!("module.exports = {{up: async q => q.createTable('{name}', {{}}), down: async () => {{}}}}\n");
        db.write(&format!("migrations/{name}.js"), &text);
    }
    node(&db, "sequelize-cli", &["db:migrate", "--to", "20260101-users.js"]).well();
    let (state, evidence) = with_files(&db, Framework::Sequelize, "migrations").await;
    assert_eq!((state.heads.join(","), state.count), ("20260101-users.js".to_owned(), 1));
    assert_eq!(state.pending.as_ref().unwrap()[0].id, "20260102-orders.js");
    apply(&db, &wanted(&state, &evidence, &Wish::Stamp("20260102-orders.js".into())).unwrap()[0]).await;
    let said = node(&db, "sequelize-cli", &["db:migrate"]).well();
    assert!(said.contains("already up to date"), "{said}");
}

#[tokio::test]
async fn a_file_that_drizzle_passes_over_without_a_word_is_noticed() {
    for db in Db::each().await {
        let (driver, migrator) = if db.is_postgres() {
            (
                "const {Client} = require('pg'); const client = new Client({host: process.env.PGHOST, user: 'dbmig', database: process.env.PGDATABASE})",
                "node-postgres",
            )
        } else {
            (
                "const client = new (require('better-sqlite3'))('db.sqlite'); client.connect = async () => {}; client.end = async () => {}",
                "better-sqlite3",
            )
        };
        let script = format!(
            "{driver}\nconst {{drizzle}} = require('drizzle-orm/{migrator}')\nconst {{migrate}} = require('drizzle-orm/{migrator}/migrator')\n\
             ;(async () => {{ await client.connect(); await migrate(drizzle(client), {{migrationsFolder: 'd'}}); await client.end() }})()\n"
        );
        db.write("run.js", &script);
        let dialect = if db.is_postgres() { "postgresql" } else { "sqlite" };
        let journal = |entries: &[(&str, u64)]| {
            let entry = |(at, (tag, when)): (usize, &(&str, u64))| {
                format!(r#"{{"idx":{at},"version":"7","when":{when},"tag":"{tag}","breakpoints":true}}"#)
            };
            let entries: Vec<String> = entries.iter().enumerate().map(entry).collect();
            format!(r#"{{"version":"7","dialect":"{dialect}","entries":[{}]}}"#, entries.join(","))
        };
        db.write("d/0000_users.sql", "CREATE TABLE users (id int);\n");
        db.write("d/0002_later.sql", "CREATE TABLE later (id int);\n");
        db.write("d/meta/_journal.json", &journal(&[("0000_users", 1_700_000_000_000), ("0002_later", 1_700_000_000_002)]));
        node(&db, "node", &["run.js"]).well();
        db.write("d/0001_late_branch.sql", "CREATE TABLE late (id int);\n");
        db.write(
            "d/meta/_journal.json",
            &journal(&[
                ("0000_users", 1_700_000_000_000),
                ("0001_late_branch", 1_700_000_000_001),
                ("0002_later", 1_700_000_000_002),
            ]),
        );
        node(&db, "node", &["run.js"]).well();
        let (state, _) = with_files(&db, Framework::Drizzle, "d").await;
        assert_eq!((state.count, state.applied[0].at.as_deref()), (2, Some("2023-11-14T22:13:20Z")));
        let findings = state.findings();
        assert!(
            findings[0].level == Level::Attention && findings[0].what.contains("0001_late_branch is not applied"),
            "{findings:?}"
        );
    }
}

#[tokio::test]
async fn dbmate_is_told_from_others_of_its_table_and_believes_a_stamp() {
    let db = Db::postgres().await;
    db.write("db/migrations/20260101000001_users.sql", "-- migrate:up\nCREATE TABLE users (id int);\n-- migrate:down\n");
    let url = format!("postgres://dbmig@/{}?socket={}&sslmode=disable", db.name(), super::database::socket());
    let up = ["--url", &url, "--no-dump-schema", "up"];
    node(&db, "dbmate", &up).well();
    db.write("db/migrations/20260101000002_orders.sql", "-- migrate:up\nCREATE TABLE users (id int);\n-- migrate:down\n");
    node(&db, "dbmate", &up).badly();
    let (state, evidence) = with_files(&db, Framework::Dbmate, "db/migrations").await;
    assert_eq!(state.heads, ["20260101000001"]);
    apply(&db, &wanted(&state, &evidence, &Wish::Stamp("20260101000002".into())).unwrap()[0]).await;
    node(&db, "dbmate", &up).well();
    assert_eq!(only(&db, Framework::Dbmate).await.count, 2);
}
