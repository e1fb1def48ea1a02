//! What the steps of a run share: the Job's name, and the books of its database, reached again where the way to them is gone.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::guard;
use super::offline::Offline;
use super::outcome::{Mark, Seen};
use super::spec::{Books, Spec, Way};
use crate::cluster::Cluster;
use crate::cluster::job::{Built, Order, Origin, OwnJob, Variable, build};
use crate::cluster::kind::{Kind, TargetRef};
use crate::cluster::owner::Owner;
use crate::cluster::pods::{is_running, statuses};
use crate::cluster::target::Target;
use crate::command::books;
use crate::command::migrations::Files;
use crate::command::operation::volume_lock;
use crate::command::reach::Reach;
use crate::command::repair::Which;
use crate::database::find::{self, Found, Named};
use crate::database::{APPLICATION, Database, Dialect};
use crate::failure::{Failure, Result};
use crate::framework::State;
use crate::plan::Run;
use crate::shutdown::Stop;

/// The database, and the pod through which it is reached.
struct Open {
    reach: Reach,
    database: Box<dyn Database>,
    found: Found,
    /// When it was.
    at: Instant,
    /// Our lock in it is held.
    locked: bool,
}

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
    named: Option<Named>,
    /// What the Job is made from, where it was read already.
    template: Mutex<Option<PodTemplateSpec>>,
    open: Mutex<Option<Open>>,
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
        let states = self.states(around, open).await?;
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
        match guard::ask(&*open.database, &us, open.at).await {
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

    /// The database as it was opened before, if it still answers; else opened again.
    async fn reopened<'o>(&self, open: &'o mut Option<Open>, around: Around<'_>, beside: Option<&Pod>) -> Result<&'o mut Open> {
        let answers = match open.as_ref() {
            Some(open) => open.database.query("SELECT 1").await.is_ok(),
            None => false,
        };
        if !answers {
            if let Some(old) = open.take() {
                old.reach.leave(around.cluster).await?;
            }
            *open = Some(self.opened(around, beside).await?);
        }
        open.as_mut().ok_or_else(|| Failure::failed("the database was not opened"))
    }

    async fn states(&self, around: Around<'_>, open: &Open) -> Result<Vec<State>> {
        let books = books::read(around.cluster, around.stop, &open.reach, &*open.database, &Files::Unread).await?;
        Ok(books.into_iter().map(|book| book.state).collect())
    }

    /// Opens the database from the first of the places from which that is possible.
    async fn opened(&self, around: Around<'_>, beside: Option<&Pod>) -> Result<Open> {
        let mut last = Failure::failed("there is no pod from which the database could be asked");
        for target in self.places(around.cluster, beside).await {
            match self.opened_from(around, target).await {
                Ok(open) => return Ok(open),
                Err(failure) if around.stop.requested() => return Err(failure),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn opened_from(&self, around: Around<'_>, target: Target) -> Result<Open> {
        let Around { cluster, stop, id } = around;
        let reach = Reach::beside(cluster, stop, target, &self.spec.helper_image, id).await?;
        let opened = async {
            let found = self.find(cluster, &reach).await?;
            let database = reach.connect(cluster, stop, &found).await.map_err(Failure::from)?;
            Ok((found, database))
        };
        match opened.await {
            Ok((found, database)) => Ok(Open { reach, database, found, at: Instant::now(), locked: false }),
            Err(failure) => {
                reach.leave(cluster).await?;
                Err(failure)
            }
        }
    }

    /// The Job's own pod while something in it runs; a pod of what it was made from; else one as it would be.
    async fn places(&self, cluster: &Cluster, beside: Option<&Pod>) -> Vec<Target> {
        let container = &self.spec.container;
        let mut places = Vec::new();
        let as_target = |pod: Pod, asked: TargetRef, at_rest: bool| Target {
            asked,
            namespace: cluster.namespace.clone(),
            pod,
            at_rest,
            container: container.clone(),
            owner: Owner::None,
            notices: Vec::new(),
        };
        if let Some(pod) = beside.filter(|pod| has_running(pod)) {
            let asked = TargetRef { kind: Kind::Job, name: self.spec.job.clone() };
            places.push(as_target(pod.clone(), asked, false));
        }
        if let Origin::Object(asked) = &self.spec.origin
            && self.spec.origin.serves()
            && let Ok(target) = Target::resolve(cluster, asked, Some(container)).await
        {
            places.push(target);
        } else if let Ok(template) = self.template(cluster).await {
            let asked = TargetRef { kind: Kind::Job, name: self.spec.job.clone() };
            places.push(as_target(as_it_would_be(template, cluster, &self.spec.job), asked, true));
        }
        places
    }

    /// The database that was named, the one that the record is about, or the only one.
    async fn find(&self, cluster: &Cluster, reach: &Reach) -> Result<Found> {
        let known = self.spec.books.as_ref();
        let named = match (&self.named, known) {
            (Some(named), _) => Some(named.clone()),
            (None, Some(books)) => books.which.named()?,
            (None, None) => None,
        };
        let all = reach.find(cluster, named.as_ref()).await?;
        let Some(books) = known else {
            find::the_one(all.iter().map(|found| reach.as_seen_by_application(found)).collect(), &reach.target.pod_name())?;
            return all.into_iter().next().ok_or_else(|| Failure::failed("the database that was found is gone"));
        };
        let it = all.into_iter().find(|found| reach.shown(found) == books.location);
        it.ok_or_else(|| {
            let failure = Failure::failed(format!("{} was not found again", books.location));
            match books.which {
                Which::Typed => failure.next("name it again: --database URL, or --database-from secret/NAME:KEY"),
                Which::Found | Which::Reference(_) | Which::Path(_) => failure,
            }
        })
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

fn has_running(pod: &Pod) -> bool {
    statuses(pod).any(is_running)
}

/// A pod of a template that the server does not have.
fn as_it_would_be(template: PodTemplateSpec, cluster: &Cluster, name: &str) -> Pod {
    let mut metadata = template.metadata.unwrap_or_default();
    (metadata.name, metadata.namespace) = (Some(name.to_owned()), Some(cluster.namespace.clone()));
    Pod { metadata, spec: template.spec, status: None }
}
