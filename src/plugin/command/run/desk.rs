//! What the steps of a run share: the Job's name, and the books of its database, reached again where the way to them is gone.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use serde_json::Value;
use tokio::sync::Mutex;

use super::backup::Backup;
use super::guard;
use super::offline::Offline;
use super::open::Open;
use super::outcome::{Mark, Seen};
use super::spec::{Books, Spec, Way};
use crate::cluster::Cluster;
use crate::cluster::job::{Built, Order, OwnJob, Variable, build};
use crate::command::books;
use crate::command::migrations::{Files, FromImage};
use crate::command::operation::volume_lock;
use crate::command::repair::Which;
use crate::database::find::Named;
use crate::database::url::{Location, Server};
use crate::database::{APPLICATION, Dialect};
use crate::failure::{Failure, Result};
use crate::framework::State;
use crate::framework::down::Extent;
use crate::framework::irreversible::{irreversible, is_told_by_files};
use crate::plan::Run;
use crate::shutdown::Stop;

/// Whom to ask, and in whose name.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) stop: &'a Stop,
    /// The operation.
    pub(super) id: &'a str,
}

impl<'a> Around<'a> {
    pub(super) fn of(run: &'a Run) -> Self {
        Self { cluster: &run.cluster, stop: &run.stop, id: &run.id }
    }
}

/// What the steps share.
pub(in crate::command) struct Desk {
    pub(super) spec: Spec,
    /// What the user named now, for what the record may not hold.
    pub(super) named: Option<Named>,
    /// What the Job is made from, where it was read already.
    template: Mutex<Option<PodTemplateSpec>>,
    pub(super) open: Mutex<Option<Open>>,
}

/// What a look at the books gave.
pub(super) struct Looked {
    /// The database, and how it is found again.
    pub(super) books: Books,
    /// What no two operations may work on at once.
    pub(super) lock: String,
    /// What its tables say.
    pub(super) states: Vec<State>,
    /// Where it was found.
    pub(super) from: String,
}

impl Desk {
    pub(super) fn new(spec: Spec, named: Option<Named>, template: Option<PodTemplateSpec>) -> Self {
        Self { spec, named, template: Mutex::new(template), open: Mutex::new(None) }
    }

    /// The same with what is to be stopped around it.
    pub(super) fn with_offline(mut self, offline: Offline) -> Self {
        self.spec.offline = Some(offline);
        self
    }

    /// The same with another command, which goes down.
    pub(super) fn going_down(mut self, command: Vec<String>, going: Option<Vec<String>>) -> Self {
        (self.spec.command, self.spec.way) = (command, Way::Down(going));
        self
    }

    /// The same, knowing what has no way back.
    pub(super) fn with_stuck(mut self, stuck: Vec<String>) -> Self {
        self.spec.stuck = stuck;
        self
    }

    /// Of the migrations that would go those that have no way back by their files, a line each; and what was seen of these files.
    pub(super) async fn stuck(
        &self,
        around: Around<'_>,
        state: &State,
        extent: &Extent,
        going: Option<&[String]>,
    ) -> (Vec<String>, Vec<String>) {
        let (framework, open) = (state.framework, self.open.lock().await);
        let Some(open) = open.as_ref().filter(|_| is_told_by_files(framework)) else {
            return (Vec::new(), vec![format!("whether each migration has a way back is not told by files of {framework}")]);
        };
        let read = FromImage::other(around.cluster, around.stop, &open.reach, state, self.spec.image.as_deref()).await;
        let scripts = read.of(framework);
        let stuck = irreversible(state, extent, going, scripts);
        let mut notes = read.notes.clone();
        if scripts.is_empty() && notes.is_empty() {
            notes.push(format!(
                "whether each migration has a way back is not known: no files of {framework} were found in its image"
            ));
        }
        (stuck.into_iter().map(|one| format!("{}: {}", one.id, one.why)).collect(), notes)
    }

    /// The same with a backup first.
    pub(super) fn with_backup(mut self, backup: Option<Backup>) -> Self {
        self.spec.backup = backup;
        self
    }

    /// The same with limits on locks and statements.
    pub(super) fn with_limits(mut self, limits: Variable) -> Self {
        self.spec.limits = Some(limits);
        self
    }

    /// Whose SQL the database understands; `None` where it was not reached.
    pub(super) async fn dialect(&self) -> Option<Dialect> {
        self.open.lock().await.as_ref().map(|open| open.database.dialect())
    }

    /// The same with the books that were found.
    pub(super) fn with_books(mut self, books: Option<Books>) -> Self {
        self.spec.books = books;
        self
    }

    /// The Job.
    pub(super) fn job(&self, run: &Run) -> OwnJob {
        OwnJob::new(&run.cluster, &run.namespace, &self.spec.job)
    }

    /// The Job as it is to be created.
    pub(super) async fn built(&self, around: Around<'_>) -> Result<Built> {
        let spec = &self.spec;
        let native_sidecars = around.cluster.features().await?.native_sidecars;
        let order = Order {
            from: &spec.origin.shown(),
            serves: spec.origin.serves(),
            operation: around.id,
            container: Some(&spec.container),
            image: spec.image.as_deref(),
            command: &spec.command,
            limits: spec.limits.as_ref(),
            tries_again: spec.tries_again,
            native_sidecars,
        };
        build(self.template(around.cluster).await?, &order)
    }

    /// What the Job is made from.
    pub(super) async fn template(&self, cluster: &Cluster) -> Result<PodTemplateSpec> {
        let mut template = self.template.lock().await;
        if let Some(template) = template.as_ref() {
            return Ok(template.clone());
        }
        Ok(template.insert(self.spec.origin.read(cluster).await?.pod).clone())
    }

    /// Looks for the books for the first time.
    pub(super) async fn look(&self, around: Around<'_>) -> Result<Looked> {
        let mut open = self.open.lock().await;
        let open = open.insert(self.opened(around, None).await?);
        // Told to whoever asks for the lock; if it can't be known now, that one asks again.
        let (states, pooled) = tokio::join!(self.states(around, open), open.is_pooled(around));
        open.pooled = pooled.ok();
        let states = states?;
        let seen = open.reach.as_seen_by_application(&open.found);
        let pod = open.reach.target.pod_name();
        let lock = open.reach.volume(&open.found).map(|volume| volume_lock(volume, &pod));
        let lock = lock.unwrap_or_else(|| open.found.location.place());
        let books = Books { which: Which::of(self.named.as_ref(), &seen.location), location: seen.location.to_string() };
        Ok(Looked { books, lock, states, from: seen.from })
    }

    /// What the books say now; `beside` is the Job's own pod, whose sidecars may be the only way to the database.
    pub(super) async fn seen(&self, around: Around<'_>, beside: Option<&Pod>) -> Seen {
        match self.read(around, beside).await {
            Ok(states) => Seen::Read(states.iter().map(Mark::of).collect()),
            Err(failure) => Seen::Unread(failure.message),
        }
    }

    async fn read(&self, around: Around<'_>, beside: Option<&Pod>) -> Result<Vec<State>> {
        let mut open = self.open.lock().await;
        let open = self.reopened(&mut open, around, beside).await?;
        self.states(around, open).await
    }

    /// Takes our lock in the database, if it is not held already, so that nobody migrates it from another namespace or cluster;
    /// or else says why it is not taken.
    ///
    /// # Errors
    /// `Held` with who has it.
    pub(super) async fn lock(&self, around: Around<'_>) -> Result<Option<String>> {
        let Some(books) = &self.spec.books else { return Ok(None) };
        let mut open = self.open.lock().await;
        let unasked =
            |failure: Failure| Ok(Some(format!("not locked against other namespaces and clusters: {}", failure.message)));
        let open = match self.reopened(&mut open, around, None).await {
            Ok(open) if open.locked => return Ok(None),
            Ok(open) => open,
            Err(failure) => return unasked(failure),
        };
        let us = format!("{APPLICATION} {} in {}", around.id, around.cluster.namespace);
        let pooled = match open.pooled {
            Some(pooled) => Ok(pooled),
            None => open.is_pooled(around).await,
        };
        let asked = match pooled {
            Ok(pooled) => guard::ask(&*open.database, &us, pooled).await,
            Err(failure) => Err(failure),
        };
        match asked {
            Ok(guard::Asked::Ours) => {
                open.locked = true;
                Ok(None)
            }
            Ok(guard::Asked::Pointless) => Ok(None),
            Ok(guard::Asked::Pooled) => {
                Ok(Some(format!("{} is not locked against other namespaces and clusters: {}", books.location, guard::POOLED)))
            }
            // A process of this very operation, whose end the server has not noticed: the Lease is ours.
            Ok(guard::Asked::Theirs(who)) if who.starts_with(&us) => Ok(None),
            Ok(guard::Asked::Theirs(who)) => Err(guard::held(&who, &books.location)),
            Err(failure) => unasked(failure),
        }
    }

    /// What PostgreSQL answers to a question; `None` where it is another database.
    ///
    /// # Errors
    /// The database can't be asked.
    pub(super) async fn of_postgres(&self, around: Around<'_>, sql: &str) -> Result<Option<Vec<Vec<Value>>>> {
        let mut open = self.open.lock().await;
        let open = self.reopened(&mut open, around, None).await?;
        match open.database.dialect() {
            Dialect::Postgres => open.database.query(sql).await.map(Some),
            Dialect::Mysql | Dialect::MariaDb | Dialect::Sqlite => Ok(None),
        }
    }

    /// Whose SQL the database understands, and the major version of a PostgreSQL server.
    ///
    /// # Errors
    /// The database can't be asked.
    pub(super) async fn server_version(&self, run: &Run) -> Result<(Dialect, Option<u32>)> {
        let mut open = self.open.lock().await;
        let open = self.reopened(&mut open, Around::of(run), None).await?;
        let dialect = open.database.dialect();
        if dialect != Dialect::Postgres {
            return Ok((dialect, None));
        }
        let number = open.database.number("SELECT current_setting('server_version_num')::int / 10000").await?;
        Ok((dialect, number.and_then(|number| u32::try_from(number).ok())))
    }

    /// The server, with what it takes to log in.
    ///
    /// # Errors
    /// The database can't be asked, or is a file.
    pub(super) async fn server(&self, around: Around<'_>) -> Result<Server> {
        let mut open = self.open.lock().await;
        match &self.reopened(&mut open, around, None).await?.found.location {
            Location::Server(server) => Ok(server.clone()),
            Location::File(path) => Err(Failure::failed(format!("{path} is the file of a database, and no server"))),
        }
    }

    async fn states(&self, around: Around<'_>, open: &Open) -> Result<Vec<State>> {
        let books = books::read(around.cluster, around.stop, &open.reach, &*open.database, &Files::Unread).await?;
        Ok(books.into_iter().map(|book| book.state).collect())
    }

    /// Removes the helper pod, if one was needed.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(in crate::command) async fn leave(&self, cluster: &Cluster) -> Result<()> {
        match self.open.lock().await.take() {
            Some(open) => {
                if open.locked {
                    guard::give_back(&*open.database).await;
                }
                open.reach.leave(cluster).await
            }
            None => Ok(()),
        }
    }
}

/// A desk that several steps hold.
pub(super) type Shared = Arc<Desk>;
