//! Knex, killed with its lock held.

use super::{App, client, postgres};

const CONFIG: &str =
    "module.exports = {client: 'pg', connection: process.env.DATABASE_URL, migrations: {directory: './migrations'}}\n";
const USERS: &str = "exports.up = knex => knex.schema.createTable('users', t => t.increments())\nexports.down = async () => {}\n";
/// Outside a transaction: the one way in which Knex leaves its lock behind on PostgreSQL.
const SLOW: &str = "exports.config = {transaction: false}\nexports.up = async knex => {\n  await knex.raw('SELECT pg_sleep(seconds) FROM pause')\n  \
     await knex.schema.createTable('slow', t => t.increments())\n}\nexports.down = async () => {}\n";

#[tokio::test(flavor = "multi_thread")]
async fn knex_killed_with_its_lock_held_runs_again_after_the_printed_command() {
    let Some(server) = postgres("bknex").await else { return };
    let app = App::on(&server, "knex", "/srv/node_modules/.bin/knex migrate:latest");
    let first = [("knexfile.js", CONFIG), ("migrations/1_users.js", USERS)];
    app.deploy(&first).runs();
    server.sql(&client("knex"), "CREATE TABLE pause (seconds int); INSERT INTO pause VALUES (20)");
    app.deploy(&[&first[..], &[("migrations/2_slow.js", SLOW)]].concat());
    app.space
        .wait_for("its lock is held", || server.sql(&client("knex"), "SELECT is_locked FROM knex_migrations_lock").trim() == "1");
    app.space.kubectl(&["delete", "pods", "-l", "app=knex", "--grace-period=0", "--force"]);
    server.sql(&client("knex"), "UPDATE pause SET seconds = 0");
    app.breaks("Migration table is already locked");
    let diagnosis = app.diagnosed("Knex");
    app.mended_by(&diagnosis, "kubectl dbmig repair deploy/knex", None);
    assert_eq!(server.sql(&client("knex"), "SELECT name FROM knex_migrations ORDER BY 1").trim(), "1_users.js\n2_slow.js");
}
