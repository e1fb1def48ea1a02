//! What each migration framework writes down, and how its state is set right. One file per framework, or per shape that
//! several share; a new one is a new file and a line in `BOOKS`. Reads by SELECT only, writes nothing.
//!
//! The way of a command that wants to know or to repair:
//!
//! 1. [`recognise`] asks a [`Database`] and gives a [`State`] for each bookkeeping table that it finds, in any schema and
//!    under any name, by its columns. No framework's own tool is run: most of them write, or hide what is broken.
//! 2. The files of migrations, if the caller can get at them ([`Framework::suffixes`] says how their names end, any folder that
//!    tells them apart belongs to [`Script::path`]): [`Evidence::of`] reads their names and Alembic's revisions,
//!    [`State::compare`] takes them in (pending, missing, overlapping, what comes before a failed one), and [`weigh`] compares the
//!    SQL of failed migrations with what is in the database. Without files: `Evidence::default()`, and [`weigh`] all the same.
//! 3. For each of [`State::locks`] the caller finds out whether the holder lives, and sets [`Lock::fate`].
//! 4. [`State::findings`] says in words what is wrong; the word `TARGET` in its commands stands for what the user named.
//! 5. [`repairs`] proposes, [`wanted`] builds what the user asked for by name (`--to`, `--stamp`, `--unlock`).
//!    [`Remedy::Rows`] has the statements with the number of rows that each must change, the SELECT for the rows of before,
//!    and, from these, the way back ([`Rows::undo`]).
//! 6. [`log::explain`] says what a line of a framework's log means.

mod alembic;
mod atlas;
mod available;
mod checksum;
mod compare;
mod django;
pub mod down;
mod drizzle;
mod ef_core;
mod effect;
mod finding;
mod flyway;
pub mod golang_migrate;
mod goose;
pub mod irreversible;
mod journal;
mod knex;
mod laravel;
pub mod limits;
mod liquibase;
mod lock;
pub mod log;
mod places;
mod prisma;
mod repair;
mod sequelize;
mod sqlx;
mod state;
mod surroundings;
mod table;
mod typeorm;
mod versions;

use async_trait::async_trait;

use self::alembic::Graph;
pub use self::effect::weigh;
pub use self::finding::{Finding, Level};
pub use self::places::Places;
use self::repair::release;
pub use self::repair::{Evidence, Remedy, Repair, Rows, Safety};
pub use self::state::{Applied, Available, Before, Effect, Failed, Fate, Holder, Lock, LockKind, Script, State};
pub use self::table::Table;
use self::table::{Obstacle, Signature};
use crate::database::Database;
use crate::failure::Result;

/// Applied migrations that are read of a table, the newest.
pub const MOST: usize = 1000;

/// The frameworks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framework {
    /// golang-migrate.
    GolangMigrate,
    /// Alembic, and Flask-Migrate on top of it.
    Alembic,
    /// Knex.
    Knex,
    /// Django.
    Django,
    /// Flyway.
    Flyway,
    /// Liquibase.
    Liquibase,
    /// Rails: ActiveRecord.
    Rails,
    /// Prisma.
    Prisma,
    /// goose.
    Goose,
    /// dbmate.
    Dbmate,
    /// sqlx.
    Sqlx,
    /// Entity Framework Core.
    EfCore,
    /// Ecto.
    Ecto,
    /// Laravel.
    Laravel,
    /// TypeORM.
    TypeOrm,
    /// Sequelize, and what else uses umzug's table.
    Sequelize,
    /// Drizzle.
    Drizzle,
    /// Atlas.
    Atlas,
}

impl Framework {
    /// How it calls itself.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GolangMigrate => "golang-migrate",
            Self::Alembic => "Alembic",
            Self::Knex => "Knex",
            Self::Django => "Django",
            Self::Flyway => "Flyway",
            Self::Liquibase => "Liquibase",
            Self::Rails => "Rails",
            Self::Prisma => "Prisma",
            Self::Goose => "goose",
            Self::Dbmate => "dbmate",
            Self::Sqlx => "sqlx",
            Self::EfCore => "EF Core",
            Self::Ecto => "Ecto",
            Self::Laravel => "Laravel",
            Self::TypeOrm => "TypeORM",
            Self::Sequelize => "Sequelize",
            Self::Drizzle => "Drizzle",
            Self::Atlas => "Atlas",
        }
    }

    /// How the names of its migrations' files end; any of them. Empty: they can't be told by their files.
    #[must_use]
    pub fn suffixes(self) -> &'static [&'static str] {
        self.books().suffixes()
    }

    fn books(self) -> &'static dyn Books {
        BOOKS.iter().copied().find(|books| books.framework() == self).expect("every framework has a line in BOOKS")
    }
}

/// How one framework keeps its books.
#[async_trait]
trait Books: Sync {
    fn framework(&self) -> Framework;

    /// Columns of its table.
    fn signature(&self) -> Signature;

    /// Columns of other tables of its own: a lock, a marker.
    fn siblings(&self) -> &'static [Signature] {
        &[]
    }

    /// Whether a table with its columns is its table; for columns that other people's tables may have too.
    async fn is_its(&self, _database: &dyn Database, _table: &Table, _found: &[Table]) -> Result<bool> {
        Ok(true)
    }

    /// Reads its state; `found` has the tables of all frameworks.
    async fn read(&self, database: &dyn Database, state: &mut State, found: &[Table]) -> Result<()>;

    /// The locks that its sessions take.
    fn lock(&self, _table: &Table, _database_name: &str) -> Option<lock::Key> {
        None
    }

    /// Frees a lock that is a row of a table with so many.
    fn free(&self, _table: &Table, _rows: u64, _lock: &Lock) -> Remedy {
        Remedy::Elsewhere { next: Vec::new() }
    }

    /// What can be done about everything but locks.
    fn repairs(&self, _state: &State, _evidence: &Evidence) -> Vec<Repair> {
        Vec::new()
    }

    /// Writes down a migration as applied without running it; `Err` says what to do instead.
    fn stamp(&self, state: &State, id: &str, evidence: &Evidence) -> std::result::Result<Remedy, String>;

    /// How the names of its files end.
    fn suffixes(&self) -> &'static [&'static str];

    /// The migrations among files, in the order in which they would be applied.
    fn available(&self, scripts: &[Script]) -> Vec<Available>;
}

/// Every framework. Where columns fit several, the first one that finds its own signs in the table has it.
const BOOKS: &[&dyn Books] = &[
    &golang_migrate::GolangMigrate,
    &alembic::Alembic,
    &knex::Knex,
    &django::DJANGO,
    &flyway::Flyway,
    &liquibase::Liquibase,
    &prisma::Prisma,
    &goose::Goose,
    &sqlx::Sqlx,
    &ef_core::EfCore,
    &laravel::LARAVEL,
    &typeorm::TYPEORM,
    &drizzle::DRIZZLE,
    &atlas::Atlas,
    &sequelize::SEQUELIZE,
    &versions::RAILS,
    &versions::DBMATE,
    &versions::ECTO,
];

/// Finds every bookkeeping table and reads its state.
///
/// # Errors
/// When the database can't be asked. A table that the role may not read is a [`State`] that says so.
pub async fn recognise(database: &dyn Database) -> Result<Vec<State>> {
    let signatures: Vec<Signature> =
        BOOKS.iter().flat_map(|books| std::iter::once(books.signature()).chain(books.siblings().iter().copied())).collect();
    let found = table::find(database, &signatures).await?;
    let mut states = Vec::new();
    for table in &found {
        states.extend(of_table(database, table, &found).await?);
    }
    for state in &mut states {
        surroundings::look(database, state).await?;
    }
    lock::find(database, &mut states).await?;
    Ok(states)
}

async fn of_table(database: &dyn Database, table: &Table, found: &[Table]) -> Result<Option<State>> {
    for books in BOOKS.iter().filter(|books| books.signature().fits(table)) {
        let mut state = State::new(books.framework(), table.clone());
        match table.obstacle {
            Some(Obstacle::Forbidden) => {
                state.unreadable = Some("the role that was used has no right to".to_owned());
                return Ok(Some(state));
            }
            Some(Obstacle::Held) => {
                state.unreadable = Some("a session holds it for itself, as a running migration does".to_owned());
                return Ok(Some(state));
            }
            None if !books.is_its(database, table, found).await? => {}
            None => {
                books.read(database, &mut state, found).await?;
                return Ok(Some(state));
            }
        }
    }
    Ok(None)
}

/// What can be done about a state, most pressing first. Nothing to do: empty.
#[must_use]
pub fn repairs(state: &State, evidence: &Evidence) -> Vec<Repair> {
    let books = state.framework.books();
    let locks =
        state.locks.iter().map(|lock| release(lock, |table, rows, lock| books.free(table, rows, lock), state.table.dialect));
    locks.chain(books.repairs(state, evidence)).collect()
}

/// What a user asks for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// `--to VERSION`: of the alternatives, the one after which the database is at this version.
    To(String),
    /// `--stamp VERSION`: write it down as applied, without running it.
    Stamp(String),
    /// `--unlock`: free the locks, and nothing else.
    Unlock,
}

/// The repairs that a user asked for by name.
///
/// # Errors
/// A sentence without a full stop: what is not so, or what to do instead.
pub fn wanted(state: &State, evidence: &Evidence, wish: &Wish) -> std::result::Result<Vec<Repair>, String> {
    let (framework, table) = (state.framework, &state.table);
    match wish {
        Wish::Unlock if state.locks.is_empty() => Err(format!("no lock of {framework} is held")),
        Wish::Unlock => Ok(repairs(state, evidence).into_iter().take(state.locks.len()).collect()),
        Wish::To(to) => repairs(state, evidence)
            .into_iter()
            .find(|repair| repair.to.as_ref() == Some(to))
            .map(|repair| vec![repair])
            .ok_or_else(|| format!("no repair of {table} leads to {to}")),
        Wish::Stamp(_) if state.unreadable.is_some() => {
            Err(format!("{table} can't be read: {}", state.unreadable.as_deref().unwrap_or_default()))
        }
        Wish::Stamp(id) => {
            if state.applied.iter().any(|applied| applied.id == *id) && state.failed.is_empty() {
                return Err(format!("{table} has {id} written down as applied already"));
            }
            let remedy = framework.books().stamp(state, id, evidence)?;
            let known = evidence.available.as_ref().is_none_or(|available| available.iter().any(|one| one.id == *id));
            let because = if known { "right only if its effect is there already" } else { "no file of this migration is known" };
            let what = format!("write {id} down as applied, without running it");
            Ok(vec![
                Repair::proven(format!("{id} is not written down as applied"), what, because, remedy)
                    .to(id)
                    .force(format!("nothing proves that what {id} does is there")),
            ])
        }
    }
}
