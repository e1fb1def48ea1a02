//! Prisma itself, on PostgreSQL through its driver adapter: migrations that fail, at once and after a part.

use dbmig::framework::{Effect, Framework, Remedy, Safety, Wish, log, repairs, wanted};

use super::database::Db;
use super::repaired::{apply, with_files};
use super::tool::node;

/// Prisma by its driver adapter.
const CONFIG: &str = concat!(
    include_str!("tools/prisma.ts"),
    "export default {
  schema: 'schema.prisma', migrations: { path: 'migrations' }, experimental: { adapter: true }, engine: 'js',
  adapter: async () => new PrismaPg({ host: process.env.PGHOST, user: 'dbmig', database: process.env.PGDATABASE }),
}
"
);

async fn project(second: &str) -> Db {
    let db = Db::postgres().await;
    db.write("package.json", "{}");
    db.write("prisma.config.ts", CONFIG);
    db.write("schema.prisma", "datasource db {\n  provider = \"postgresql\"\n  url = \"postgresql://unused\"\n}\n");
    db.write("migrations/migration_lock.toml", "provider = \"postgresql\"\n");
    db.write("migrations/20260101_users/migration.sql", "CREATE TABLE users (id int);\n");
    db.write("migrations/20260102_orders/migration.sql", second);
    db
}

#[tokio::test]
async fn a_failed_migration_is_resolved_and_prisma_goes_on() {
    let db = project("SELECT 1 / 0; CREATE TABLE orders (id int);").await;
    node(&db, "prisma", &["migrate", "deploy"]).badly();
    let said = node(&db, "prisma", &["migrate", "deploy"]).badly();
    assert!(
        said.lines().any(|line| log::explain(line).is_some_and(|meaning| meaning.framework == Some(Framework::Prisma))),
        "{said}"
    );
    let (state, evidence) = with_files(&db, Framework::Prisma, "migrations").await;
    assert_eq!((state.heads.join(","), state.failed.len()), ("20260101_users".to_owned(), 1));
    assert!(state.failed[0].log.as_ref().unwrap().contains("division by zero"), "{state:#?}");
    assert_eq!(state.failed[0].effect, Effect::Unknown, "its first statement leaves no trace");
    let back = wanted(&state, &evidence, &Wish::To("20260101_users".into())).unwrap();
    assert!(matches!(back[0].safety, Safety::Force(_)));
    apply(&db, &back[0]).await;
    db.write("migrations/20260102_orders/migration.sql", "CREATE TABLE orders (id int);");
    node(&db, "prisma", &["migrate", "deploy"]).well();
    let (state, evidence) = with_files(&db, Framework::Prisma, "migrations").await;
    assert_eq!((state.count, repairs(&state, &evidence).len()), (2, 0));

    // Prisma's own checksums: line ends don't count, anything else does.
    db.write("migrations/20260102_orders/migration.sql", "CREATE TABLE orders (id int);\r\n");
    db.write("migrations/20260101_users/migration.sql", "CREATE TABLE users (id int);\r\n");
    let (state, _) = with_files(&db, Framework::Prisma, "migrations").await;
    assert_eq!(state.changed, ["20260102_orders"], "the file that was applied had no line end");
    db.write("migrations/20260101_users/migration.sql", "CREATE TABLE users (id bigint);\n");
    let (state, _) = with_files(&db, Framework::Prisma, "migrations").await;
    assert_eq!(state.changed, ["20260101_users", "20260102_orders"]);
}

#[tokio::test]
async fn a_migration_that_did_a_part_and_failed_is_never_taken_for_applied() {
    // The adapter sends statement by statement: orders stays, users was there.
    let db = project("CREATE TABLE orders (id int); CREATE TABLE users (id int);").await;
    node(&db, "prisma", &["migrate", "deploy"]).badly();
    let (state, evidence) = with_files(&db, Framework::Prisma, "migrations").await;
    let list = repairs(&state, &evidence);
    assert!(
        list.iter().all(|repair| matches!(repair.remedy, Remedy::Elsewhere { .. }) || repair.safety != Safety::Proven),
        "{list:#?}"
    );
}
