//! Limits on locks and statements, told to a migration tool by a variable that its driver reads. Pure.

use std::time::Duration;

use super::Framework::{self, Drizzle, Ecto, Flyway, Goose, Liquibase, Prisma};
use crate::cluster::job::Variable;
use crate::database::Dialect;

/// What libpq, and whatever takes after it, reads.
const LIBPQ: &str = "PGOPTIONS";
/// What Flyway runs first in each session.
const FLYWAY: &str = "FLYWAY_INIT_SQL";

/// How long a migration may wait, and work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// For one lock.
    pub lock: Option<Duration>,
    /// For one statement.
    pub statement: Option<Duration>,
}

/// How limits are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// By this.
    pub variable: Variable,
    /// Why it may have no effect.
    pub doubt: Option<String>,
}

impl Limits {
    /// None is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How they are told to a framework; `None` of both where it is not known.
    ///
    /// # Errors
    /// A sentence without a full stop: why they would have no effect.
    pub fn told(&self, framework: Option<Framework>, dialect: Option<Dialect>) -> Result<Told, String> {
        let sure = |name: &str, between: &str, value: String| Told {
            variable: Variable { name: name.to_owned(), value, between: between.to_owned() },
            doubt: None,
        };
        match (framework, dialect) {
            (_, Some(Dialect::Sqlite)) => Err("SQLite knows no such limits: its lock is the whole file's".to_owned()),
            (Some(Flyway), Some(dialect)) => Ok(sure(FLYWAY, "; ", self.as_sql(dialect)?)),
            (_, Some(Dialect::Mysql | Dialect::MariaDb)) => {
                let tool = framework.map_or("a migration tool", Framework::name);
                Err(format!(
                    "no variable tells {tool} limits for MySQL and MariaDB: set them for its user, or in the migration itself"
                ))
            }
            (Some(tool @ (Prisma | Ecto | Liquibase)), _) => Err(format!(
                "the driver of {tool} does not read {LIBPQ}: set them for its user (ALTER ROLE … SET lock_timeout), or in the migration itself"
            )),
            (Some(tool @ (Drizzle | Goose)), _) => {
                let doubt = format!("not every driver of {tool} reads {LIBPQ}");
                Ok(Told { doubt: Some(doubt), ..sure(LIBPQ, " ", self.as_options()) })
            }
            (Some(_), _) => Ok(sure(LIBPQ, " ", self.as_options())),
            (None, _) => {
                let doubt = format!("it is not known whether what migrates reads {LIBPQ}, as libpq and node-postgres do");
                Ok(Told { doubt: Some(doubt), ..sure(LIBPQ, " ", self.as_options()) })
            }
        }
    }

    /// `-c lock_timeout=2000`: milliseconds.
    fn as_options(&self) -> String {
        self.settings().map(|(name, limit)| format!("-c {name}={}", limit.as_millis())).collect::<Vec<_>>().join(" ")
    }

    fn settings(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        let both = [("lock_timeout", self.lock), ("statement_timeout", self.statement)];
        both.into_iter().filter_map(|(name, limit)| Some((name, limit?)))
    }

    fn as_sql(&self, dialect: Dialect) -> Result<String, String> {
        let set = |name: &str, value: String| format!("SET SESSION {name} = {value}");
        // Whole seconds, at least one.
        let seconds = |limit: Duration| limit.as_secs().max(1).to_string();
        let lock = |limit: Duration| {
            [set("lock_wait_timeout", seconds(limit)), set("innodb_lock_wait_timeout", seconds(limit))].join("; ")
        };
        let parts: Vec<String> = match dialect {
            Dialect::Postgres => self.settings().map(|(name, limit)| set(name, limit.as_millis().to_string())).collect(),
            Dialect::MariaDb => {
                let statement = self.statement.map(|limit| set("max_statement_time", limit.as_secs_f64().to_string()));
                self.lock.map(lock).into_iter().chain(statement).collect()
            }
            Dialect::Mysql if self.statement.is_some() => {
                return Err("MySQL limits the time of SELECT alone".to_owned());
            }
            Dialect::Mysql | Dialect::Sqlite => self.lock.map(lock).into_iter().collect(),
        };
        Ok(parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Limits = Limits { lock: Some(Duration::from_secs(2)), statement: Some(Duration::from_millis(1500)) };

    #[test]
    fn limits_are_told_as_the_driver_reads_them() {
        let told = BOTH.told(Some(Framework::Knex), Some(Dialect::Postgres)).unwrap();
        assert_eq!(told.doubt, None);
        let Variable { name, value, between } = told.variable;
        assert_eq!((&*name, &*value, &*between), ("PGOPTIONS", "-c lock_timeout=2000 -c statement_timeout=1500", " "));
        let flyway = |limits: Limits, dialect| limits.told(Some(Flyway), Some(dialect)).map(|told| told.variable.value);
        let sql = "SET SESSION lock_timeout = 2000; SET SESSION statement_timeout = 1500";
        assert_eq!(flyway(BOTH, Dialect::Postgres).unwrap(), sql);
        let sql =
            "SET SESSION lock_wait_timeout = 2; SET SESSION innodb_lock_wait_timeout = 2; SET SESSION max_statement_time = 1.5";
        assert_eq!(flyway(BOTH, Dialect::MariaDb).unwrap(), sql);
        assert!(flyway(BOTH, Dialect::Mysql).is_err() && flyway(Limits { statement: None, ..BOTH }, Dialect::Mysql).is_ok());
    }

    #[test]
    fn what_would_have_no_effect_is_refused_and_what_may_have_none_is_said() {
        for (framework, dialect, word) in [
            (Some(Prisma), Dialect::Postgres, "Prisma"),
            (Some(Liquibase), Dialect::Postgres, "Liquibase"),
            (Some(Framework::Knex), Dialect::MariaDb, "Knex"),
            (Some(Framework::Alembic), Dialect::Sqlite, "SQLite"),
        ] {
            let why = BOTH.told(framework, Some(dialect)).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
        for framework in [None, Some(Goose)] {
            assert!(BOTH.told(framework, Some(Dialect::Postgres)).unwrap().doubt.is_some());
        }
        assert!(Limits::default().is_empty() && !BOTH.is_empty());
    }
}
