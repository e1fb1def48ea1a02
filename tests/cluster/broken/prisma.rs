//! Prisma, with a migration that failed and has been mended since.

use super::{App, client, postgres};

/// Prisma by its driver adapter.
const CONFIG: &str = concat!(
    include_str!("../../framework/tools/prisma.ts"),
    "export default {
  schema: 'prisma/schema.prisma', migrations: { path: 'prisma/migrations' }, experimental: { adapter: true }, engine: 'js',
  adapter: async () => new PrismaPg({ connectionString: process.env.DATABASE_URL }),
}
"
);
const MIGRATE: &str = "PRISMA_QUERY_ENGINE_LIBRARY=/srv/app/package.json PRISMA_SCHEMA_ENGINE_BINARY=/srv/app/package.json CHECKPOINT_DISABLE=1 \
     /srv/node_modules/.bin/prisma migrate deploy";

#[tokio::test(flavor = "multi_thread")]
async fn prisma_with_a_failed_migration_runs_again_after_the_printed_command() {
    let Some(server) = postgres("bprisma").await else { return };
    let app = App::on(&server, "prisma", MIGRATE);
    let files = |orders: &'static str| {
        [
            ("package.json", "{}"),
            ("prisma.config.ts", CONFIG),
            ("prisma/schema.prisma", "datasource db {\n  provider = \"postgresql\"\n  url = \"postgresql://unused\"\n}\n"),
            ("prisma/migrations/migration_lock.toml", "provider = \"postgresql\"\n"),
            ("prisma/migrations/20260101_users/migration.sql", "CREATE TABLE users (id int);\n"),
            ("prisma/migrations/20260102_orders/migration.sql", orders),
        ]
    };
    app.deploy(&files("CREATE TABLE orders (id int, price mony);\n")).breaks("P3009");
    // Whoever mends the file finds that Prisma does not try it again.
    app.deploy(&files("CREATE TABLE orders (id int, price money);\n")).breaks("P3009");
    let diagnosis = app.diagnosed("Prisma");
    app.mended_by(&diagnosis, "kubectl dbmig repair deploy/prisma", None);
    assert_eq!(server.sql(&client("prisma"), "SELECT count(*) FROM orders").trim(), "0");
}
