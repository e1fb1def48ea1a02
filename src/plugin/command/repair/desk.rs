//! What the steps of a repair share: the database, reached again where the way to it is gone, and what its books say.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Mutex;

use super::problem;
use super::spec::{Aim, Spec, Which};
use crate::cluster::Cluster;
use crate::cluster::kind::TargetRef;
use crate::cluster::target::Target;
use crate::command::books::{self, Book};
use crate::command::migrations::Files;
use crate::command::reach::Reach;
use crate::database::Database;
use crate::database::find::{Found, Named};
use crate::failure::{Failure, Result};
use crate::framework::{LockKind, Rows, State};
use crate::plan::Run;

/// The database, and the pod through which it is reached.
#[derive(Clone)]
pub(super) struct Open {
    pub(super) reach: Arc<Reach>,
    pub(super) database: Arc<dyn Database>,
}

impl Open {
    /// The rows that a repair changes, in an order of their own.
    pub(super) async fn rows(&self, rows: &Rows) -> Result<Vec<Vec<Value>>> {
        let mut found = self.database.query(&rows.before).await?;
        found.sort_by_key(|row| Value::from(row.clone()).to_string());
        Ok(found)
    }
}

/// What the steps share.
pub(in crate::command) struct Desk {
    pub(super) spec: Spec,
    files: Files,
    /// What the user named now, for what the record may not hold.
    named: Option<Named>,
    open: Mutex<Option<Open>>,
}

/// Where a database is by its books, to be compared with where it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mark {
    applied: u64,
    heads: Vec<String>,
    failed: Vec<String>,
}

impl Mark {
    fn of(state: &State) -> Self {
        let failed = state.failed.iter().map(|failed| failed.id.clone()).collect();
        Self { applied: state.count, heads: state.heads.clone(), failed }
    }

    pub(super) fn in_words(&self) -> String {
        let heads = if self.heads.is_empty() { "none".to_owned() } else { self.heads.join(", ") };
        let failed = if self.failed.is_empty() { String::new() } else { format!(", failed: {}", self.failed.join(", ")) };
        format!("version {heads}, {} rows{failed}", self.applied)
    }
}

impl Desk {
    /// For a spec; `open` is what the look has opened, `named` what the user has named in this process.
    pub(super) fn new(spec: Spec, files: Files, named: Option<Named>, open: Option<Open>) -> Self {
        Self { spec, files, named, open: Mutex::new(open) }
    }

    /// The database as it was opened before, if it still answers; else opened again.
    pub(super) async fn open(&self, run: &Run) -> Result<Open> {
        let mut open = self.open.lock().await;
        if let Some(open) = open.as_ref()
            && open.database.query("SELECT 1").await.is_ok()
        {
            return Ok(open.clone());
        }
        let target = Target::resolve(&run.cluster, &TargetRef::parse(&[&self.spec.target])?, Some(&self.spec.container)).await?;
        let reach = Reach::beside(&run.cluster, &run.stop, target, &self.spec.helper_image, &run.id).await?;
        let found = self.find(run, &reach).await?;
        let database = reach.connect(&run.cluster, &run.stop, &found).await.map_err(Failure::from)?;
        Ok(open.insert(Open { reach: Arc::new(reach), database: Arc::from(database) }).clone())
    }

    /// The very database that the record is about.
    async fn find(&self, run: &Run, reach: &Reach) -> Result<Found> {
        let named = self.named.clone().map_or_else(|| self.spec.which.named(), |named| Ok(Some(named)))?;
        let all = reach.find(&run.cluster, named.as_ref()).await?;
        let it = all.into_iter().find(|found| reach.shown(found) == self.spec.location);
        it.ok_or_else(|| {
            let failure = Failure::failed(format!("{} was not found again", self.spec.location))
                .state("this process has changed nothing in it");
            match self.spec.which {
                Which::Typed => failure
                    .fact("it was named by --database, which is not kept: it may hold a password")
                    .next("name it again: --database URL, or --database-from secret/NAME:KEY"),
                Which::Found | Which::Reference(_) | Which::Path(_) => failure,
            }
        })
    }

    /// What the books say now.
    pub(super) async fn books(&self, run: &Run, open: &Open) -> Result<Vec<Book>> {
        books::read(&run.cluster, &run.stop, &open.reach, &*open.database, &self.files).await
    }

    /// The table that the repair is about.
    pub(super) fn mine<'a>(&self, books: &'a [Book]) -> Result<&'a Book> {
        let mine = books.iter().find(|book| book.state.table.to_string() == self.spec.table);
        let gone = |why: &str| Failure::failed(format!("{} {why}", self.spec.table));
        let mine = mine.ok_or_else(|| gone("is not there any more"))?;
        match &mine.state.unreadable {
            Some(why) => Err(gone(&format!("can't be read: {why}")).passing()),
            None => Ok(mine),
        }
    }

    /// Where the database is now.
    pub(super) fn mark(&self, books: &[Book]) -> Result<Mark> {
        self.mine(books).map(|book| Mark::of(&book.state))
    }

    /// Whether what was wrong is not wrong any more.
    pub(super) fn is_right(&self, books: &[Book]) -> Result<bool> {
        let book = self.mine(books)?;
        let state = &book.state;
        Ok(match &self.spec.aim {
            Aim::Gone | Aim::Free => {
                let same =
                    |problem: &problem::Problem| problem.table == self.spec.table && problem.problem == self.spec.repair.problem;
                !problem::all(books).iter().any(same)
            }
            Aim::Ended { id, began } => {
                let it = LockKind::Session { id: *id, began: began.clone() };
                !state.locks.iter().any(|lock| lock.kind == it)
            }
            Aim::Stamped(id) => state.heads.contains(id) || state.applied.iter().any(|applied| applied.id == *id),
        })
    }

    /// The same, asked anew.
    pub(super) async fn is_right_now(&self, run: &Run, open: &Open) -> Result<bool> {
        self.is_right(&self.books(run, open).await?)
    }

    /// Removes the helper pod, if there is one.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(in crate::command) async fn leave(&self, cluster: &Cluster) -> Result<()> {
        match self.open.lock().await.take() {
            Some(open) => open.reach.leave(cluster).await,
            None => Ok(()),
        }
    }
}
