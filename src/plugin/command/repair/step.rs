//! The steps of a repair: keep the rows of before, change them, prove it; or end a session, and prove that.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::time::sleep;

use super::desk::{Desk, Mark, Open};
use super::problem::{self, refuse_beside_a_migration};
use crate::database::{Change as Statement, Dialect};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::framework::{Remedy, Rows};
use crate::plan::{ATTENTION, Look, Run, Step};

/// Name in the memory of the rows of before.
const BEFORE: &str = "before";
/// Name in the memory of where the database was right after the repair.
const AFTER: &str = "after";
/// Seconds that a server takes at most to end a session that has been told to.
const PATIENCE_SECONDS: usize = 10;

/// All steps in order.
pub(in crate::command) fn steps(desk: &Arc<Desk>) -> Vec<Box<dyn Step>> {
    let (prove, desk) = (Box::new(Prove(desk.clone())), desk.clone());
    match desk.spec.repair.remedy.clone() {
        Remedy::Rows(rows) => {
            vec![Box::new(Keep(desk.clone(), rows.clone())), Box::new(Change(desk, rows)), prove]
        }
        Remedy::Session { sql } => vec![Box::new(End(desk, sql)), prove],
        Remedy::Elsewhere { .. } => Vec::new(),
    }
}

/// Keeps the rows of before in the record.
struct Keep(Arc<Desk>, Rows);

#[async_trait]
impl Step for Keep {
    fn id(&self) -> &'static str {
        "keep-rows"
    }

    fn title(&self) -> String {
        format!("keep the rows of before of {}", self.0.spec.table)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if run.memory.recall::<Vec<Vec<Value>>>(BEFORE)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let rows = self.0.open(run).await?.rows(&self.1).await?;
        run.memory.keep(BEFORE, &rows)?;
        Ok(if rows.len() == 1 { "1 row".to_owned() } else { format!("{} rows", rows.len()) })
    }
}

/// Changes the rows.
struct Change(Arc<Desk>, Rows);

impl Change {
    /// Whether the rows are those of before. A repair that only adds rows has none: then, whether what it adds is missing.
    async fn is_untouched(&self, run: &Run, open: &Open, before: &[Vec<Value>]) -> Result<bool> {
        if before.is_empty() {
            return self.0.is_right_now(run, open).await.map(|right| !right);
        }
        Ok(open.rows(&self.1).await? == before)
    }

    /// The rows of before, if they were changed since.
    async fn changed(&self, run: &Run, open: &Open) -> Result<Option<Vec<Vec<Value>>>> {
        let Some(before) = run.memory.recall::<Vec<Vec<Value>>>(BEFORE)? else { return Ok(None) };
        Ok((!self.is_untouched(run, open, &before).await?).then_some(before))
    }
}

#[async_trait]
impl Step for Change {
    fn id(&self) -> &'static str {
        "change-rows"
    }

    fn title(&self) -> String {
        self.0.spec.repair.what.clone()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        let open = self.0.open(run).await?;
        let before: Vec<Vec<Value>> = run.memory.need(BEFORE)?;
        if self.is_untouched(run, &open, &before).await? {
            return Ok(Look::Todo);
        }
        if self.0.is_right_now(run, &open).await? {
            return Ok(Look::Done);
        }
        Err(Failure::failed(format!("somebody else has changed {} since it was read", self.0.spec.table))
            .fact("its rows are neither those of before nor what this repair makes of them")
            .state("this process has changed nothing"))
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        let open = self.0.open(run).await?;
        let books = self.0.books(run, &open).await.map_err(Failure::take_back)?;
        if !spec.aim.is_about_a_lock() {
            refuse_beside_a_migration(&books, spec.force, &spec.target).map_err(Failure::take_back)?;
        }
        let before: Vec<Vec<Value>> = run.memory.need(BEFORE)?;
        if !before.is_empty() && open.rows(&self.1).await? != before {
            return Err(Failure::refused(format!("{} has changed since it was read", spec.table)).take_back());
        }
        let changed = open.database.change(&self.1.changes).await;
        changed.map_err(|failure| match failure.state.as_deref() {
            Some("nothing was changed") => failure.take_back(),
            // It may have come through: the next look tells.
            _ => failure,
        })?;
        Ok(String::new())
    }

    async fn can_go_back(&self, run: &Run) -> Result<()> {
        let open = self.0.open(run).await?;
        if self.changed(run, &open).await?.is_none() {
            return Ok(());
        }
        let Some(after) = run.memory.recall::<Mark>(AFTER)? else { return Ok(()) };
        let now = self.0.mark(&self.0.books(run, &open).await?)?;
        if now == after {
            return Ok(());
        }
        Err(Failure::refused(format!("{} has changed since this repair: a migration has run", self.0.spec.table))
            .fact(format!("right after the repair: {}", after.in_words()))
            .fact(format!("now: {}", now.in_words()))
            .state("nothing was changed")
            .next(format!("kubectl dbmig repair {} --dry-run", self.0.spec.target)))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        let open = self.0.open(run).await?;
        let Some(before) = self.changed(run, &open).await? else { return Ok("its rows are those of before".to_owned()) };
        let put_back = open.database.change(&self.1.undo(&before)).await;
        put_back
            .map_err(|failure| failure.fact("the rows of before were to be put back, if those of the repair are still there"))?;
        if !before.is_empty() && open.rows(&self.1).await? != before {
            return Err(Failure::failed(format!("the rows of {} are not those of before", self.0.spec.table)));
        }
        Ok("the rows of before are back".to_owned())
    }
}

/// Ends a session of the server.
struct End(Arc<Desk>, String);

#[async_trait]
impl Step for End {
    fn id(&self) -> &'static str {
        "end-session"
    }

    fn title(&self) -> String {
        self.0.spec.repair.what.clone()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        let open = self.0.open(run).await?;
        Ok(if self.0.is_right_now(run, &open).await? { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let open = self.0.open(run).await?;
        match open.database.dialect() {
            Dialect::Postgres => open.database.query(&self.1).await.map(|_| ())?,
            _ => open.database.change(&[Statement { sql: self.1.clone(), rows: 0 }]).await?,
        }
        for _ in 0..PATIENCE_SECONDS {
            if self.0.is_right_now(run, &open).await? {
                return Ok(String::new());
            }
            sleep(Duration::from_secs(1)).await;
        }
        Err(Failure::failed(format!("the session is still there {PATIENCE_SECONDS} s after it was told to end"))
            .fact("a role may end its own sessions only, unless it is a superuser or was given pg_signal_backend"))
    }

    async fn can_go_back(&self, run: &Run) -> Result<()> {
        let open = self.0.open(run).await?;
        if !self.0.is_right_now(run, &open).await? {
            return Ok(()); // Nothing has happened yet.
        }
        Err(Failure::refused("a session that has ended can't be brought back").state("nothing was changed"))
    }
}

/// Reads the books anew, and says what is still to be done.
struct Prove(Arc<Desk>);

#[async_trait]
impl Step for Prove {
    fn id(&self) -> &'static str {
        "prove"
    }

    fn title(&self) -> String {
        format!("read {} anew", self.0.spec.table)
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        let open = self.0.open(run).await?;
        let books = self.0.books(run, &open).await?;
        if !self.0.is_right(&books)? {
            return Err(
                Failure::new(Exit::Unproven, format!("after the repair it is as before: {}", spec.repair.problem)).take_back()
            );
        }
        run.memory.keep(AFTER, &self.0.mark(&books)?)?;
        run.memory.forget(ATTENTION);
        if let Some(other) = problem::all(&books).first() {
            let next = format!("kubectl dbmig repair {} -n {}", spec.target, run.namespace);
            run.memory.keep(ATTENTION, &format!("still wrong: {}; next: {next}", other.problem))?;
        }
        Ok(self.0.mine(&books)?.state.in_words())
    }
}
