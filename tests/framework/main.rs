//! What the plugin knows of migration frameworks, against databases that the real tools made and broke, and against tables as
//! their sources define them where a tool can't be had. `cargo xtask test` installs the tools and starts a PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod alembic;
mod database;
mod defined;
mod django;
mod knex;
mod lookalikes;
mod node;
mod prisma;
mod repaired;
mod sqlx;
mod tool;
