//! Repairs: what would be done about a state, in words and in SQL, and how it is taken back. Builds statements, runs none.

use std::borrow::Cow;

use dbmig_wire::Change;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checksum::{Sums, sums};
use super::{Available, Effect, Failed, Fate, Framework, Graph, Lock, LockKind, Script, State, Table};
use crate::database::Dialect;

/// What is known beside the database.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The migrations that there are, in the order in which they would be applied; `None` where nobody looked.
    pub available: Option<Vec<Available>>,
    /// Alembic's revisions.
    pub(super) graph: Option<Graph>,
    /// Checksums of the files.
    pub(super) sums: Sums,
}

impl Evidence {
    /// From the files found where migrations are; none found proves nothing.
    #[must_use]
    pub fn of(framework: Framework, scripts: &[Script]) -> Self {
        let available = Some(framework.books().available(scripts)).filter(|available| !available.is_empty());
        let graph = (framework == Framework::Alembic).then(|| Graph::parse(scripts)).filter(|graph| !graph.is_empty());
        let sums = available.as_ref().map(|available| sums(framework, available, scripts)).unwrap_or_default();
        Self { available, graph, sums }
    }

    /// The migrations that there are, by the ids that a state has for them.
    pub(super) fn available_for(&self, state: &State) -> Option<Cow<'_, [Available]>> {
        let available = self.available.as_deref()?;
        Some(match state.framework {
            Framework::Liquibase => Cow::Owned(super::liquibase::as_written(state, available)),
            _ => Cow::Borrowed(available),
        })
    }
}

/// Something that can be done about a state. Several with the same [`Repair::problem`] are alternatives, the likelier first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repair {
    /// What is wrong: `migration 4 is dirty`.
    pub problem: String,
    /// What is done about it, imperative: `set the version to 3, clean`.
    pub what: String,
    /// Why that is right, or what must be true for it to be right; a sentence without a full stop.
    pub because: String,
    /// What `--to` names it by, where there are alternatives: the version at which the database is afterwards.
    pub to: Option<String>,
    /// How.
    pub remedy: Remedy,
    /// Whether it may be done without `--force`.
    pub safety: Safety,
}

/// How a repair is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "remedy")]
pub enum Remedy {
    /// Rows change, in one transaction.
    Rows(Rows),
    /// A session of the server is ended, and its locks with it. Can't be taken back.
    Session {
        /// The statement, a SELECT on PostgreSQL. It finds no row where the session is gone already.
        sql: String,
    },
    /// Nothing that should be written into the bookkeeping: a person decides, or does it in the application.
    Elsewhere {
        /// Commands or decisions, most useful first; the word `TARGET` stands for what the user named.
        next: Vec<String>,
    },
}

/// Changes of rows, and the way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rows {
    /// The statements, each with the number of rows that it must change; any other number means that the state has changed since
    /// it was read, and nothing may be written.
    pub changes: Vec<Change>,
    /// Fetches the rows of before, every value as SQL writes it. Ask right before the changes: if the rows change in between, these
    /// find another number of them.
    pub before: String,
    /// Takes away what the changes put there.
    remove: Vec<Change>,
    /// `INSERT INTO t (a, b) VALUES`
    insert: String,
}

/// Whether a repair may be done without more ado.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "safety", content = "because")]
pub enum Safety {
    /// The evidence proves it right.
    Proven,
    /// It would be wrong if this, which nothing proves, is not so; a sentence without a full stop.
    Force(String),
}

impl Rows {
    /// The statements that restore the rows of before, each with the number of rows that it must change.
    /// `rows` is what [`Rows::before`] fetched.
    #[must_use]
    pub fn undo(&self, rows: &[Vec<Value>]) -> Vec<Change> {
        let back = rows.iter().map(|row| {
            let values: Vec<&str> = row.iter().map(|value| value.as_str().unwrap_or("NULL")).collect();
            Change { sql: format!("{} ({})", self.insert, values.join(", ")), rows: 1 }
        });
        self.remove.iter().cloned().chain(back).collect()
    }
}

/// Builds [`Rows`] for one table.
pub(super) struct Edit<'a> {
    table: &'a Table,
    changes: Vec<Change>,
    remove: Vec<Change>,
    touched: Vec<String>,
}

impl<'a> Edit<'a> {
    pub(super) fn of(table: &'a Table) -> Self {
        Self { table, changes: Vec::new(), remove: Vec::new(), touched: Vec::new() }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.table.dialect
    }

    /// Deletes `rows` rows that meet a condition.
    pub(super) fn delete(mut self, condition: &str, rows: u64) -> Self {
        self.changes.push(Change { sql: format!("DELETE FROM {} WHERE {condition}", self.table.quoted()), rows });
        self.touched.push(condition.to_owned());
        self
    }

    /// Updates `rows` rows; `afterwards` is the condition that they meet then.
    pub(super) fn update(mut self, set: &str, condition: &str, afterwards: &str, rows: u64) -> Self {
        let table = self.table.quoted();
        self.changes.push(Change { sql: format!("UPDATE {table} SET {set} WHERE {condition}"), rows });
        self.remove.push(Change { sql: format!("DELETE FROM {table} WHERE {afterwards}"), rows });
        self.touched.push(condition.to_owned());
        self
    }

    /// Inserts a row of expressions, found again by a condition, unless such a row is there.
    pub(super) fn insert(mut self, values: &[(&str, String)], found_by: &str) -> Self {
        let table = self.table.quoted();
        let names: Vec<String> = values.iter().map(|(name, _)| self.table.named(name)).collect();
        let given: Vec<&str> = values.iter().map(|(_, value)| value.as_str()).collect();
        let from = if matches!(self.dialect(), Dialect::Mysql | Dialect::MariaDb) { " FROM DUAL" } else { "" };
        let sql = format!(
            "INSERT INTO {table} ({}) SELECT {}{from} WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE {found_by})",
            names.join(", "),
            given.join(", ")
        );
        self.changes.push(Change { sql, rows: 1 });
        self.remove.push(Change { sql: format!("DELETE FROM {table} WHERE {found_by}"), rows: 1 });
        self
    }

    pub(super) fn done(self) -> Remedy {
        let touched = if self.touched.is_empty() { "1 = 0".to_owned() } else { format!("({})", self.touched.join(") OR (")) };
        let before = self.table.literals(&touched);
        Remedy::Rows(Rows { changes: self.changes, before, remove: self.remove, insert: self.table.insertion() })
    }
}

/// What frees a lock.
pub(super) fn release(lock: &Lock, free: impl FnOnce(&Table, u64, &Lock) -> Remedy, dialect: Dialect) -> Repair {
    let (what, remedy) = match &lock.kind {
        LockKind::Row { table, rows } => (format!("free the lock in {table}"), free(table, *rows, lock)),
        LockKind::Session { id, began } => (format!("end {}", lock.holder_in_words()), end(*id, began.as_deref(), dialect)),
    };
    let (because, safety) = match &lock.fate {
        Fate::Dead(because) => (because.clone(), Safety::Proven),
        Fate::Alive(because) => {
            let risk = "its holder lives: two migrations would run at once, or the one that runs now be cut off".to_owned();
            (because.clone(), Safety::Force(risk))
        }
        Fate::Unknown(why) => (
            why.iter().fold("right only if no migration is running".to_owned(), |because, why| format!("{because}; {why}")),
            Safety::Force("nothing proves that the lock's holder is gone".to_owned()),
        ),
    };
    Repair {
        problem: format!("the migration lock is held by {}", lock.holder_in_words()),
        what,
        because,
        to: None,
        remedy,
        safety,
    }
}

/// The session that was seen, and no other that got its number since.
fn end(id: i64, began: Option<&str>, dialect: Dialect) -> Remedy {
    let sql = match (dialect, began) {
        (Dialect::Postgres, Some(began)) => format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = {id} AND backend_start = {}",
            dialect.text(began)
        ),
        (Dialect::Postgres, None) => format!("SELECT pg_terminate_backend({id})"),
        _ => format!("KILL {id}"),
    };
    Remedy::Session { sql }
}

/// One of two ways out of a migration that did not end well.
pub(super) struct Choice {
    pub(super) what: String,
    /// As [`Repair::to`].
    pub(super) to: String,
    pub(super) remedy: Remedy,
}

/// The ways out of a migration that did not end well: the one that the evidence proves, or both where nothing does.
/// `not_applied` is absent where it is not known what comes before.
pub(super) fn either(problem: &str, failed: &Failed, applied: Choice, not_applied: Option<Choice>) -> Vec<Repair> {
    let of = |choice: Choice, because: &str| Repair::proven(problem, choice.what, because, choice.remedy).to(choice.to);
    let unknown = || {
        Repair::elsewhere(
            problem,
            "find out which version comes before it",
            "nothing of it took effect, so the version before it is the right one, and there may be gaps in the numbers",
            ["kubectl dbmig repair TARGET --migrations PATH", "kubectl dbmig repair TARGET --stamp VERSION"],
        )
    };
    match &failed.effect {
        Effect::Applied(because) => vec![of(applied, because)],
        Effect::NotApplied(because) => vec![not_applied.map_or_else(unknown, |choice| of(choice, because))],
        Effect::Partly(because) => {
            let what = format!("finish migration {} by hand, or reverse what is there of it; then say so", failed.id);
            let next = [Some(&applied), not_applied.as_ref()].into_iter().flatten();
            let next = next.map(|choice| format!("kubectl dbmig repair TARGET --to {}   # {}", choice.to, choice.what));
            let by_hand = Repair::elsewhere(problem, what, because, next.collect::<Vec<_>>());
            let force = |choice, because: &str| of(choice, because).force(format!("{because} is for you to see to"));
            let choices = [
                Some(force(applied, "that all of it is there")),
                not_applied.map(|choice| force(choice, "that nothing of it is there")),
            ];
            std::iter::once(by_hand).chain(choices.into_iter().flatten()).collect()
        }
        Effect::Unknown => {
            let risk = "nothing proves whether the migration took effect";
            let back = not_applied.map(|choice| of(choice, "right if nothing of the migration took effect").force(risk));
            back.into_iter().chain([of(applied, "right if all of the migration took effect").force(risk)]).collect()
        }
    }
}

impl Repair {
    /// A repair that the evidence proves right.
    pub(super) fn proven(
        problem: impl Into<String>,
        what: impl Into<String>,
        because: impl Into<String>,
        remedy: Remedy,
    ) -> Self {
        let (problem, what, because) = (problem.into(), what.into(), because.into());
        Self { problem, what, because, to: None, remedy, safety: Safety::Proven }
    }

    /// Nothing to write: where to go instead.
    pub(super) fn elsewhere<S: Into<String>>(
        problem: impl Into<String>,
        what: impl Into<String>,
        because: impl Into<String>,
        next: impl IntoIterator<Item = S>,
    ) -> Self {
        let remedy = Remedy::Elsewhere { next: next.into_iter().map(Into::into).collect() };
        Self::proven(problem, what, because, remedy)
    }

    pub(super) fn to(mut self, to: impl Into<String>) -> Self {
        self.to = Some(to.into());
        self
    }

    pub(super) fn force(mut self, because: impl Into<String>) -> Self {
        self.safety = Safety::Force(because.into());
        self
    }
}
