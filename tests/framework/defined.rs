//! Frameworks whose tools can't be had here, by tables as their sources define them and rows as they leave them: golang-migrate,
//! Flyway, Liquibase, Prisma, goose, sqlx, EF Core, Ecto, Rails, Laravel, Atlas.

use dbmig::database::Database;
use dbmig::database::Dialect;
use dbmig::framework::Script;
use dbmig::framework::{
    Available, Before, Effect, Evidence, Fate, Framework, LockKind, Remedy, Safety, Wish, recognise, repairs, wanted, weigh,
};

use super::database::Db;
use super::repaired::{apply, one, only, proven, with_files};

/// golang-migrate/migrate: `database/postgres/postgres.go` and `database/sqlite3/sqlite3.go`, `ensureVersionTable`.
fn golang_migrate(db: &Db) -> &'static str {
    if db.dialect() != Dialect::Sqlite {
        "CREATE TABLE schema_migrations (version bigint not null primary key, dirty boolean not null);"
    } else {
        "CREATE TABLE schema_migrations (version uint64, dirty bool); CREATE UNIQUE INDEX version_unique ON schema_migrations (version);"
    }
}

async fn dirty(db: &Db, version: u32, effect: &str) {
    let yes = if db.dialect() == Dialect::Sqlite { "1" } else { "true" };
    db.script(&format!("{} INSERT INTO schema_migrations VALUES ({version}, {yes}); {effect}", golang_migrate(db))).await;
    db.write("m/1_users.up.sql", "CREATE TABLE users (id int);");
    db.write("m/0003_orders.up.sql", "CREATE TABLE orders (id int);\nCREATE INDEX orders_id ON orders (id);");
    db.write("m/0003_orders.down.sql", "DROP TABLE orders;");
}

#[tokio::test]
async fn a_dirty_golang_migrate_goes_back_when_nothing_of_the_file_is_there() {
    for db in Db::all().await {
        dirty(&db, 3, "CREATE TABLE users (id int);").await;
        let (state, evidence) = with_files(&db, Framework::GolangMigrate, "m").await;
        assert_eq!(state.failed[0].before, Before::Migration("1".into()));
        let repair = proven(&state, &evidence);
        assert_eq!(repair.to.as_deref(), Some("1"));
        apply(&db, &repair).await;
        let state = only(&db, Framework::GolangMigrate).await;
        assert_eq!((state.heads.join(","), state.failed.len()), ("1".to_owned(), 0));
    }
}

#[tokio::test]
async fn a_dirty_golang_migrate_stays_when_all_of_the_file_is_there() {
    for db in Db::all().await {
        dirty(&db, 3, "CREATE TABLE users (id int); CREATE TABLE orders (id int); CREATE INDEX orders_id ON orders (id);").await;
        let (state, evidence) = with_files(&db, Framework::GolangMigrate, "m").await;
        assert!(matches!(state.failed[0].effect, Effect::Applied(_)), "{state:#?}");
        let repair = proven(&state, &evidence);
        assert_eq!(repair.to.as_deref(), Some("3"));
        apply(&db, &repair).await;
    }
}

#[tokio::test]
async fn half_a_file_is_named_and_needs_a_person() {
    for db in Db::all().await {
        dirty(&db, 3, "CREATE TABLE users (id int); CREATE TABLE orders (id int);").await;
        let (state, evidence) = with_files(&db, Framework::GolangMigrate, "m").await;
        let list = repairs(&state, &evidence);
        assert!(list[0].because.contains("table orders is there, but index orders_id is not"), "{list:#?}");
        assert!(matches!(list[0].remedy, Remedy::Elsewhere { .. }));
        assert!(list[1..].iter().all(|repair| matches!(repair.safety, Safety::Force(_))));
        let to = wanted(&state, &evidence, &Wish::To("1".into())).unwrap();
        apply(&db, &to[0]).await;
    }
}

#[tokio::test]
async fn a_way_down_that_was_cut_off_is_not_taken_for_a_way_up() {
    // Down from 3, golang-migrate writes 1 and dirty before it begins.
    for db in Db::all().await {
        dirty(&db, 1, "CREATE TABLE users (id int); CREATE TABLE orders (id int); CREATE INDEX orders_id ON orders (id);").await;
        let (state, evidence) = with_files(&db, Framework::GolangMigrate, "m").await;
        let list = repairs(&state, &evidence);
        assert!(list[0].because.contains("the way down of 3 was cut off"), "{list:#?}");
        assert!(list[1..].iter().all(|repair| matches!(repair.safety, Safety::Force(_))), "{list:#?}");
    }
}

#[tokio::test]
async fn without_files_a_dirty_golang_migrate_is_never_guessed_at() {
    for db in Db::all().await {
        dirty(&db, 3, "CREATE TABLE users (id int);").await;
        let state = only(&db, Framework::GolangMigrate).await;
        let repair = one(&state, &Evidence::default());
        assert!(matches!(repair.safety, Safety::Force(_)) && repair.to.as_deref() == Some("3"), "{repair:?}");
        let stamp = wanted(&state, &Evidence::default(), &Wish::Stamp("1".into())).unwrap();
        apply(&db, &stamp[0]).await;
    }
}

#[tokio::test]
async fn the_first_migration_leaves_no_row_when_it_did_nothing() {
    for db in Db::all().await {
        dirty(&db, 1, "CREATE TABLE other (id int);").await;
        let (state, evidence) = with_files(&db, Framework::GolangMigrate, "m").await;
        let repair = proven(&state, &evidence);
        assert_eq!(repair.to.as_deref(), Some("none"));
        apply(&db, &repair).await;
    }
}

/// Takes an advisory lock in a session of its own and checks that it is found, and that ending the session frees it.
async fn finds_its_session(db: &Db, framework: Framework, key: i64) {
    let session = db.session().await;
    session.batch_execute(&format!("SET application_name = 'migrator'; SELECT pg_advisory_lock({key})")).await.unwrap();
    let other = db.session().await;
    other.batch_execute("SELECT pg_advisory_lock(42)").await.unwrap();
    let mut state = only(db, framework).await;
    assert_eq!(state.locks.len(), 1, "{state:#?}");
    assert_eq!(state.locks[0].holder.application.as_deref(), Some("migrator"));
    assert!(state.locks[0].since.is_some() && matches!(state.locks[0].kind, LockKind::Session { .. }));
    state.locks[0].fate = Fate::Dead("its address belongs to no pod".into());
    let list = repairs(&state, &Evidence::default());
    let Remedy::Session { sql } = &list[0].remedy else { panic!("not the end of a session: {list:#?}") };
    assert_eq!(db.column(sql).await.len(), 1);
    while !only(db, framework).await.locks.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(db.column(sql).await.len(), 0, "a session that is gone is not ended again");
}

#[tokio::test]
async fn the_session_that_holds_golang_migrates_lock_is_found() {
    // The key of schema public, table schema_migrations, database app, computed with golang-migrate's own function.
    let db = Db::postgres_named("app").await;
    db.script(golang_migrate(&db)).await;
    finds_its_session(&db, Framework::GolangMigrate, 1_787_120_056).await;
}

#[tokio::test]
async fn the_session_that_holds_the_lock_of_sqlx_is_found() {
    // The key of a database `zone`: 0x3d32ad9e times its CRC-32.
    let db = Db::postgres_named("zone").await;
    db.script(SQLX).await;
    finds_its_session(&db, Framework::Sqlx, 2_771_974_297_191_923_538).await;
}

#[tokio::test]
async fn the_sessions_that_hold_fixed_locks_are_found() {
    let cases = [
        (Framework::Prisma, PRISMA, 72_707_369),
        (Framework::Goose, GOOSE, 4_097_083_626),
        (Framework::Atlas, ATLAS, 2_686_470_616),
    ];
    for (framework, table, key) in cases {
        let db = Db::postgres().await;
        db.script(table).await;
        finds_its_session(&db, framework, key).await;
    }
}

#[tokio::test]
async fn a_session_that_holds_the_whole_table_is_told_instead_of_waited_for() {
    let db = Db::postgres().await;
    db.script(
        r#"CREATE TABLE "__EFMigrationsHistory" ("MigrationId" varchar(150) PRIMARY KEY, "ProductVersion" varchar(32) NOT NULL)"#,
    )
    .await;
    let session = db.session().await;
    session.batch_execute(r#"BEGIN; LOCK TABLE "__EFMigrationsHistory" IN ACCESS EXCLUSIVE MODE"#).await.unwrap();
    let state = only(&db, Framework::EfCore).await;
    assert!(state.unreadable.is_some() && state.locks.len() == 1, "{state:#?}");
    assert_eq!(state.locks[0].holder.doing.as_deref(), Some("idle in transaction"));
    session.batch_execute("ROLLBACK").await.unwrap();
    assert!(only(&db, Framework::EfCore).await.locks.is_empty());
}

#[tokio::test]
async fn ectos_table_lock_is_found() {
    // elixir-ecto/ecto_sql: the migration lock is one on the table, by the transaction that migrates.
    let db = Db::postgres().await;
    db.script("CREATE TABLE schema_migrations (version bigint PRIMARY KEY, inserted_at timestamp(0)); INSERT INTO schema_migrations VALUES (20260101, '2026-01-01 10:00:00')").await;
    let session = db.session().await;
    session.batch_execute("BEGIN; LOCK TABLE schema_migrations IN SHARE UPDATE EXCLUSIVE MODE").await.unwrap();
    let state = only(&db, Framework::Ecto).await;
    assert_eq!((state.locks.len(), state.applied[0].at.as_deref()), (1, Some("2026-01-01T10:00:00")));
    let stamp = wanted(&state, &Evidence::default(), &Wish::Stamp("20260102".into())).unwrap();
    session.batch_execute("ROLLBACK").await.unwrap();
    apply(&db, &stamp[0]).await;
}

/// flyway/flyway: the create scripts of the PostgreSQL and SQLite databases.
const FLYWAY: &str = "CREATE TABLE flyway_schema_history (installed_rank INT NOT NULL PRIMARY KEY, version VARCHAR(50), description VARCHAR(200) NOT NULL, \
    type VARCHAR(20) NOT NULL, script VARCHAR(1000) NOT NULL, checksum INTEGER, installed_by VARCHAR(100) NOT NULL, \
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, execution_time INTEGER NOT NULL, success BOOLEAN NOT NULL);\
    INSERT INTO flyway_schema_history VALUES (1, '1', 'users', 'SQL', 'V1__users.sql', -12345, 'app', '2026-01-01 10:00:00', 42, TRUE), \
    (2, '1.2', 'orders', 'SQL', 'V1_2__orders.sql', 7, 'app', '2026-01-02 10:00:00', 5, FALSE);";

#[tokio::test]
async fn flyways_failed_row_goes_when_nothing_of_the_script_is_there_and_turns_good_when_all_is() {
    for db in Db::all().await {
        db.script(FLYWAY).await;
        db.write("sql/V1__users.sql", "CREATE TABLE users (id int);");
        db.write("sql/V1_2__orders.sql", "CREATE TABLE orders (id int);");
        db.write("sql/V1_10__late.sql", "SELECT 1;");
        db.write("sql/R__views.sql", "CREATE VIEW v AS SELECT 1;");
        let (state, evidence) = with_files(&db, Framework::Flyway, "sql").await;
        assert_eq!((state.heads.join(","), state.applied[0].duration_ms), ("1".to_owned(), Some(42)));
        let pending: Vec<&str> = state.pending.iter().flatten().map(|one| one.id.as_str()).collect();
        assert_eq!(pending, ["1.10", "R__views.sql"]);
        apply(&db, &proven(&state, &evidence)).await;
        assert!(only(&db, Framework::Flyway).await.failed.is_empty());

        db.script(&format!("DROP TABLE flyway_schema_history; CREATE TABLE orders (id int); {FLYWAY}")).await;
        let (state, evidence) = with_files(&db, Framework::Flyway, "sql").await;
        let repair = proven(&state, &evidence);
        assert_eq!(repair.to.as_deref(), Some("1.2"));
        apply(&db, &repair).await;
        let state = only(&db, Framework::Flyway).await;
        assert_eq!((state.heads.join(","), state.failed.len()), ("1.2".to_owned(), 0));
        apply(&db, &wanted(&state, &evidence, &Wish::Stamp("1.10".into())).unwrap()[0]).await;
        assert_eq!(only(&db, Framework::Flyway).await.heads, ["1.10"]);
    }
}

#[tokio::test]
async fn the_session_that_holds_flyways_lock_is_found() {
    let db = Db::postgres().await;
    db.script(FLYWAY).await;
    // 77431708279161 and Java's "\"public\".\"flyway_schema_history\"".hashCode().
    let hash =
        "\"public\".\"flyway_schema_history\"".bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    finds_its_session(&db, Framework::Flyway, 77_431_708_279_161 + i64::from(hash)).await;
}

#[tokio::test]
async fn liquibases_lock_is_freed_as_its_own_command_does_it() {
    // liquibase/liquibase: CreateDatabaseChangeLogTableGenerator, CreateDatabaseChangeLogLockTableGenerator.
    for db in Db::all().await {
        let times = if db.is_postgres() { "TIMESTAMP" } else { "DATETIME" };
        let locked = if db.dialect() == Dialect::MariaDb { "BIT(1)" } else { "BOOLEAN" };
        db.script(&format!(
            "CREATE TABLE databasechangelog (ID VARCHAR(255) NOT NULL, AUTHOR VARCHAR(255) NOT NULL, FILENAME VARCHAR(255) NOT NULL, DATEEXECUTED {times} NOT NULL, \
             ORDEREXECUTED INT NOT NULL, EXECTYPE VARCHAR(10) NOT NULL, MD5SUM VARCHAR(35), DESCRIPTION VARCHAR(255), COMMENTS VARCHAR(255), TAG VARCHAR(255), \
             LIQUIBASE VARCHAR(20), CONTEXTS VARCHAR(255), LABELS VARCHAR(255), DEPLOYMENT_ID VARCHAR(10));\
             INSERT INTO databasechangelog (ID, AUTHOR, FILENAME, DATEEXECUTED, ORDEREXECUTED, EXECTYPE, MD5SUM) VALUES \
             ('1', 'ann', 'db.xml', '2026-01-01 10:00:00', 1, 'EXECUTED', '9:abc'), ('2', 'ann', 'db.xml', '2026-01-01 10:00:01', 2, 'MARK_RAN', '9:def');\
             CREATE TABLE databasechangeloglock (ID INT NOT NULL PRIMARY KEY, LOCKED {locked} NOT NULL, LOCKGRANTED {times}, LOCKEDBY VARCHAR(255));\
             INSERT INTO databasechangeloglock VALUES (1, TRUE, '2026-01-02 10:00:00', 'it''s-keeper-6f7b#prod (10.1.2.3)');"
        ))
        .await;
        let mut state = only(&db, Framework::Liquibase).await;
        assert_eq!((state.heads.join(","), state.count), ("db.xml::2::ann".to_owned(), 2));
        let lock = &state.locks[0];
        assert_eq!((lock.holder.host.as_deref(), lock.holder.address.as_deref()), (Some("it's-keeper-6f7b"), Some("10.1.2.3")));
        assert_eq!(lock.since.as_deref().map(|since| since.replace(' ', "T")).as_deref(), Some("2026-01-02T10:00:00"));
        assert!(matches!(one(&state, &Evidence::default()).safety, Safety::Force(_)));
        state.locks[0].fate = Fate::Dead("no pod of this name".into());
        apply(&db, &proven(&state, &Evidence::default())).await;
        assert!(only(&db, Framework::Liquibase).await.locks.is_empty());
        assert_eq!(db.column("SELECT count(*) FROM databasechangeloglock").await, ["1"], "the row must stay");
    }
}

/// prisma/prisma-engines: `migration_persistence.rs` and the flavours' `create_table`.
const PRISMA: &str = "CREATE TABLE _prisma_migrations (id VARCHAR(36) PRIMARY KEY NOT NULL, checksum VARCHAR(64) NOT NULL, finished_at TIMESTAMPTZ, \
    migration_name VARCHAR(255) NOT NULL, logs TEXT, rolled_back_at TIMESTAMPTZ, started_at TIMESTAMPTZ NOT NULL DEFAULT now(), applied_steps_count INTEGER NOT NULL DEFAULT 0);\
    INSERT INTO _prisma_migrations VALUES ('a', 'x', '2026-01-01 10:00:05+00', '20260101_users', NULL, NULL, '2026-01-01 10:00:00+00', 1), \
    ('b', 'y', NULL, '20260102_orders', NULL, '2026-01-02 10:00:00+00', '2026-01-02 09:00:00+00', 0), \
    ('c', 'y', NULL, '20260102_orders', NULL, NULL, '2026-01-02 11:00:00+00', 0);";

#[tokio::test]
async fn prismas_killed_try_is_resolved_as_rolled_back_or_as_applied() {
    let db = Db::postgres().await;
    db.script(PRISMA).await;
    db.write("migrations/20260101_users/migration.sql", "CREATE TABLE users (id int);");
    db.write("migrations/20260102_orders/migration.sql", "CREATE TABLE orders (id int);");
    let (state, evidence) = with_files(&db, Framework::Prisma, "migrations").await;
    assert_eq!((state.heads.join(","), state.applied[0].duration_ms), ("20260101_users".to_owned(), Some(5000)));
    assert!(state.failed[0].log.is_none() && state.failed[0].how.contains("killed"), "{state:#?}");
    let back = proven(&state, &evidence);
    assert!(back.what.contains("rolled back"), "{back:?}");
    apply(&db, &back).await;
    assert!(only(&db, Framework::Prisma).await.failed.is_empty());

    db.script(&format!("DROP TABLE _prisma_migrations; CREATE TABLE orders (id int); {PRISMA}")).await;
    let (state, evidence) = with_files(&db, Framework::Prisma, "migrations").await;
    apply(&db, &proven(&state, &evidence)).await;
    let state = only(&db, Framework::Prisma).await;
    assert_eq!((state.failed.len(), state.count), (0, 2));
}

#[tokio::test]
async fn prisma_on_sqlite_keeps_milliseconds_and_a_killed_try_is_told_from_a_failed_one() {
    let db = Db::sqlite();
    db.script(
        "CREATE TABLE _prisma_migrations (id TEXT PRIMARY KEY NOT NULL, checksum TEXT NOT NULL, finished_at DATETIME, migration_name TEXT NOT NULL, logs TEXT, \
         rolled_back_at DATETIME, started_at DATETIME NOT NULL DEFAULT current_timestamp, applied_steps_count INTEGER UNSIGNED NOT NULL DEFAULT 0);\
         INSERT INTO _prisma_migrations VALUES ('a', 'x', NULL, '1_users', NULL, NULL, 1700000000000, 0);",
    )
    .await;
    let state = only(&db, Framework::Prisma).await;
    assert!(state.failed[0].how.contains("killed"), "{state:#?}");
    let list = repairs(&state, &Evidence::default());
    assert_eq!(list.len(), 2, "nothing tells which: {list:#?}");
    assert!(list.iter().all(|repair| matches!(repair.safety, Safety::Force(_)) && repair.problem == list[0].problem));
}

/// pressly/goose: `internal/dialects/postgres.go`.
const GOOSE: &str = "CREATE TABLE goose_db_version (id integer PRIMARY KEY, version_id bigint NOT NULL, is_applied boolean NOT NULL, tstamp timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP);\
    INSERT INTO goose_db_version (id, version_id, is_applied) VALUES (1, 0, TRUE), (2, 1, TRUE), (3, 3, TRUE), (4, 4, TRUE), (5, 4, FALSE);";

#[tokio::test]
async fn goose_counts_the_newest_row_of_a_version_and_tells_what_is_out_of_order() {
    for db in Db::all().await {
        db.script(GOOSE).await;
        for name in ["00001_a.sql", "00002_b.sql", "00003_c.go", "00004_d.sql"] {
            db.write(&format!("m/{name}"), "-- +goose Up\n");
        }
        let (state, _) = with_files(&db, Framework::Goose, "m").await;
        let applied: Vec<&str> = state.applied.iter().map(|applied| applied.id.as_str()).collect();
        assert_eq!((applied.join(","), state.heads.join(",")), ("1,3".to_owned(), "3".to_owned()));
        assert_eq!(state.pending.iter().flatten().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["2", "4"]);
        assert!(state.findings()[0].what.contains("goose refuses"), "{:?}", state.findings());
    }
}

/// launchbadge/sqlx: `sqlx-postgres/src/migrate.rs`, `ensure_migrations_table`.
const SQLX: &str = "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), \
    success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL);";

#[tokio::test]
async fn the_partial_row_of_sqlx_is_deleted_or_turned_good_and_put_back_byte_for_byte() {
    let db = Db::postgres().await;
    db.script(SQLX).await;
    db.script(r"INSERT INTO _sqlx_migrations VALUES (1, 'users', now(), TRUE, '\x00ff', 12000000), (2, 'it''s', now(), FALSE, '\xdead5c27', -1)").await;
    db.write("m/1_users.sql", "CREATE TABLE users (id int);");
    db.write("m/2_orders.up.sql", "CREATE TABLE orders (id int);");
    db.write("m/2_orders.down.sql", "DROP TABLE orders;");
    let (state, evidence) = with_files(&db, Framework::Sqlx, "m").await;
    let first = &state.applied[0];
    assert_eq!((first.duration_ms, first.checksum.as_deref()), (Some(12), Some("00ff")));
    apply(&db, &proven(&state, &evidence)).await;
    assert_eq!(only(&db, Framework::Sqlx).await.heads, ["1"]);
    assert!(wanted(&state, &evidence, &Wish::Stamp("3".into())).unwrap_err().contains("checksum"));
}

#[tokio::test]
async fn the_lock_row_that_ef_core_leaves_on_sqlite_is_deleted() {
    // dotnet/efcore: `SqliteHistoryRepository`.
    let db = Db::sqlite();
    db.script(
        r#"CREATE TABLE "__EFMigrationsHistory" ("MigrationId" TEXT NOT NULL PRIMARY KEY, "ProductVersion" TEXT NOT NULL);
        INSERT INTO "__EFMigrationsHistory" VALUES ('20260101000000_Init', '9.0.1');
        CREATE TABLE "__EFMigrationsLock" ("Id" INTEGER NOT NULL PRIMARY KEY, "Timestamp" TEXT NOT NULL);
        INSERT INTO "__EFMigrationsLock" VALUES (1, '2026-01-02 10:00:00.1234+00:00');
        CREATE TABLE ef_temp_users (id INTEGER);"#,
    )
    .await;
    db.write("m/20260101000000_Init.cs", "");
    db.write("m/20260101000000_Init.Designer.cs", "");
    db.write("m/20260102000000_More.cs", "");
    db.write("m/ContextModelSnapshot.cs", "");
    let (mut state, evidence) = with_files(&db, Framework::EfCore, "m").await;
    assert_eq!(state.pending.as_ref().unwrap().len(), 1);
    assert!(state.findings().iter().any(|finding| finding.what.contains("ef_temp_users")), "{:?}", state.findings());
    state.locks[0].fate = Fate::Dead("its pod is gone".into());
    apply(&db, &proven(&state, &evidence)).await;
    let state = only(&db, Framework::EfCore).await;
    apply(&db, &wanted(&state, &evidence, &Wish::Stamp("20260102000000_More".into())).unwrap()[0]).await;
    assert_eq!(db.column("SELECT DISTINCT ProductVersion FROM __EFMigrationsHistory").await, ["9.0.1"]);
}

#[tokio::test]
async fn rails_is_known_by_its_second_table_and_its_lock_by_the_databases_name() {
    // rails/rails: SchemaMigration, InternalMetadata; the key is 2053462845 times the CRC-32 of the database's name, here `zone2`.
    let db = Db::postgres_named("zone2").await;
    db.script(
        "CREATE TABLE schema_migrations (version character varying NOT NULL PRIMARY KEY); INSERT INTO schema_migrations VALUES ('20260101000001');\
         CREATE TABLE ar_internal_metadata (key character varying PRIMARY KEY, value character varying, created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL);",
    )
    .await;
    let mut sum = flate2::Crc::new();
    sum.update(b"zone2");
    finds_its_session(&db, Framework::Rails, 2_053_462_845 * i64::from(sum.sum())).await;
    let state = only(&db, Framework::Rails).await;
    apply(&db, &wanted(&state, &Evidence::default(), &Wish::Stamp("20260102000001".into())).unwrap()[0]).await;
    assert_eq!(only(&db, Framework::Rails).await.heads, ["20260102000001"]);
}

#[tokio::test]
async fn laravel_is_read_with_its_batches() {
    // laravel/framework: DatabaseMigrationRepository.
    for db in Db::all().await {
        db.script("CREATE TABLE migrations (id integer PRIMARY KEY, migration varchar(255) NOT NULL, batch integer NOT NULL); INSERT INTO migrations VALUES (1, '2014_10_12_000000_users', 1), (2, '2020_01_01_000000_orders', 2)").await;
        db.write("m/2014_10_12_000000_users.php", "");
        let (state, _) = with_files(&db, Framework::Laravel, "m").await;
        assert_eq!((state.count, state.applied[1].batch), (2, Some(2)));
        assert!(state.findings()[0].what.contains("2020_01_01_000000_orders has been applied"), "{:?}", state.findings());
    }
}

/// ariga/atlas: `cmd/atlas/internal/migrate/ent/schema/revision.go`, in the schema that it makes for itself.
const ATLAS: &str = "CREATE SCHEMA atlas_schema_revisions; CREATE TABLE atlas_schema_revisions.atlas_schema_revisions (version varchar PRIMARY KEY, description varchar NOT NULL, \
    type bigint NOT NULL DEFAULT 2, applied bigint NOT NULL DEFAULT 0, total bigint NOT NULL DEFAULT 0, executed_at timestamptz NOT NULL, execution_time bigint NOT NULL, \
    error text, error_stmt text, hash varchar NOT NULL, partial_hashes jsonb, operator_version varchar NOT NULL);\
    INSERT INTO atlas_schema_revisions.atlas_schema_revisions VALUES ('.atlas_cloud_identifier', 'x', 2, 0, 0, now(), 0, NULL, NULL, 'h', NULL, 'v'), \
    ('1', 'users', 2, 2, 2, now(), 3000000, NULL, NULL, 'h', NULL, 'v'), ('2', 'orders', 2, 1, 3, now(), 0, 'ERROR: no', 'CREATE x', 'h', NULL, 'v');";

#[tokio::test]
async fn atlas_is_found_in_its_own_schema_and_goes_on_by_itself() {
    let db = Db::postgres().await;
    db.script(ATLAS).await;
    let state = only(&db, Framework::Atlas).await;
    assert_eq!((state.table.to_string(), state.count), ("atlas_schema_revisions.atlas_schema_revisions".to_owned(), 1));
    assert_eq!(
        (state.failed[0].how.as_str(), state.failed[0].log.as_deref()),
        ("1 of its 3 statements ran", Some("ERROR: no: CREATE x"))
    );
    assert!(matches!(one(&state, &Evidence::default()).remedy, Remedy::Elsewhere { .. }));
}

#[tokio::test]
async fn a_migration_whose_statements_leave_no_names_is_not_judged() {
    let db = Db::postgres().await;
    dirty(&db, 3, "CREATE TABLE users (id int);").await;
    let scripts = [Script { path: "3_data.up.sql".into(), text: "UPDATE users SET id = 1;".into() }];
    let evidence = Evidence::of(Framework::GolangMigrate, &scripts);
    assert_eq!(
        evidence.available.as_ref().unwrap()[0],
        Available { id: "3".into(), name: "data".into(), path: "3_data.up.sql".into(), ..Available::default() }
    );
    let mut state = recognise(&db).await.unwrap().remove(0);
    state.compare(&evidence);
    weigh(&db, &mut state, &evidence, &scripts).await.unwrap();
    assert_eq!(state.failed[0].effect, Effect::Unknown);
}

#[tokio::test]
async fn the_session_that_holds_a_named_lock_of_mariadb_is_found_and_ended() {
    // golang-migrate's name is the key of "database:table", Prisma's is fixed (`acquire_lock` of the MySQL flavour).
    let db = Db::mariadb();
    db.script("CREATE TABLE schema_migrations (version bigint not null primary key, dirty boolean not null)").await;
    db.script(
        "CREATE TABLE _prisma_migrations (id VARCHAR(36) PRIMARY KEY, checksum VARCHAR(64) NOT NULL, finished_at DATETIME(3), migration_name VARCHAR(255) NOT NULL, \
         logs TEXT, rolled_back_at DATETIME(3), started_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), applied_steps_count INTEGER UNSIGNED NOT NULL DEFAULT 0)",
    )
    .await;
    let mut sum = flate2::Crc::new();
    sum.update(format!("{}:schema_migrations", db.name()).as_bytes());
    let golang = sum.sum().wrapping_mul(1_486_364_155);
    let mut holder = db.hold(&format!("SELECT GET_LOCK('{golang}', 1), GET_LOCK('prisma_migrate', 1)"));
    let states = loop {
        let states = recognise(&db).await.unwrap();
        if states.iter().all(|state| state.locks.len() == 1) {
            break states;
        }
        assert!(holder.try_wait().unwrap().is_none(), "the holder ended");
        tokio::task::yield_now().await;
    };
    assert_eq!(states.iter().map(|state| state.framework.name()).collect::<Vec<_>>(), ["Prisma", "golang-migrate"]);
    assert_eq!(states[0].locks[0].holder.user.as_deref(), Some("root"));
    let list = repairs(&states[0], &Evidence::default());
    let Remedy::Session { sql } = &list[0].remedy else { panic!("not the end of a session: {list:#?}") };
    db.script(sql).await;
    while recognise(&db).await.unwrap().iter().any(|state| !state.locks.is_empty()) {
        tokio::task::yield_now().await;
    }
    holder.wait().unwrap();
}
