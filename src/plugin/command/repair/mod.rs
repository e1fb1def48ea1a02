//! `repair`: set a migration framework's books right, one thing at a time, with the way back kept.

mod desk;
mod needs;
mod order;
mod preview;
mod problem;
mod spec;
mod step;

use std::sync::Arc;

pub(super) use self::desk::Desk;
use self::desk::Open;
pub(super) use self::order::Order;
use self::preview::Preview;
use self::problem::Problem;
use self::spec::Spec;
pub(super) use self::spec::Which;
pub(super) use self::step::steps;
use super::Context;
use super::books::{self, Book};
use super::migrations::Files;
use super::operation::{self, Start};
use super::reach::Reach;
use super::session::{self, Session};
use crate::cli::repair::HowArgs;
use crate::cluster::access;
use crate::cluster::kind::TargetRef;
use crate::database::find::{self, Found, Named};
use crate::database::{Database, Dialect};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::framework::{Finding, Level, Repair, Safety, Wish};
use crate::plan::{LockName, Record, Store};
use crate::ui::human::harmless;

/// The command's name, in records.
pub const NAME: &str = "repair";

/// Runs the command.
///
/// # Errors
/// `Usage` for an order that is none; `Refused` with nothing changed, or what the engine says.
pub(super) async fn run(ctx: &Context, order: Result<Order>) -> Result<Exit> {
    let Order { target: asked, wishes, how } = order?;
    session::refuse_unasked(&ctx.ui, how.dry_run || how.yes, "what would be done")?;
    let files = Files::of(how.look.migrations.as_deref())?;
    let session = Session::begin(ctx).await?;
    let needs = needs::of(&session.cluster.namespace, asked.kind, how.dry_run);
    access::require(&session.cluster, &needs, needs::ROLE).await?;
    let id = operation::new_id(NAME);
    session.ui.say(&format!("looking for the database of {asked}"));
    let reach = Reach::of(&session, &asked, &how.look, &id).await;
    let reach = Arc::new(reach.map_err(Failure::unchanged)?);
    let look = Look { session: &session, wishes: &wishes, how: &how, id: &id, asked: &asked, reach: reach.clone() };
    let ended = look.and_repair(files).await;
    // However it ended: an operation that stopped half-way comes with a helper of its own.
    let left = reach.leave(&session.cluster).await;
    ended.and_then(|exit| left.map(|()| exit))
}

/// The look, and what it is for.
struct Look<'a> {
    session: &'a Session,
    wishes: &'a [Wish],
    how: &'a HowArgs,
    id: &'a str,
    asked: &'a TargetRef,
    reach: Arc<Reach>,
}

impl Look<'_> {
    async fn and_repair(&self, files: Files) -> Result<Exit> {
        let (session, how) = (self.session, self.how);
        let named = how.look.database.clone().named();
        let (found, lock) = session.stop.interruptible(self.find(named.as_ref())).await??;
        let database = session.stop.interruptible(self.reach.connect(&session.cluster, &session.stop, &found)).await??;
        let books = session.stop.interruptible(self.books(&*database, &files)).await??;
        let problems = if self.wishes.is_empty() { problem::all(&books) } else { problem::wished(&books, self.wishes)? };
        let shown = self.reach.shown(&found);
        let findings = if problems.is_empty() { self.findings(&books) } else { Vec::new() };
        let is_stuck = !findings.is_empty();
        let states = books.iter().map(|book| &book.state).collect();
        let (database_shown, from) = (shown.clone(), found.from.clone());
        Preview { target: self.asked.to_string(), database: database_shown, from, states, findings, problems: &problems }
            .show(session, how.dry_run || problems.is_empty())?;
        let Some(problem) = problems.first() else {
            session.ui.say(if is_stuck { "nothing here can set that right" } else { "nothing to repair" });
            return Ok(if is_stuck { Exit::Attention } else { Exit::Done });
        };
        if how.dry_run {
            return Ok(Exit::Done);
        }
        let repair = self.settle(&books, problem, &*database).await?;
        let spec = Spec {
            target: self.asked.to_string(),
            container: self.reach.target.container.clone(),
            helper_image: how.look.helper_image.clone(),
            which: Which::of(named.as_ref(), &self.reach.as_seen_by_application(&found).location),
            location: shown,
            table: problem.table.clone(),
            repair,
            aim: problem.aim.clone(),
            force: how.force,
        };
        let open = Open { reach: self.reach.clone(), database: Arc::from(database) };
        self.carry_out(Arc::new(Desk::new(spec, files, named, Some(open))), &lock).await
    }

    /// The one database, and what no two operations may work on at once.
    async fn find(&self, named: Option<&Named>) -> Result<(Found, String)> {
        let reach = &self.reach;
        let all = reach.find(&self.session.cluster, named).await?;
        find::the_one(all.iter().map(|found| reach.as_seen_by_application(found)).collect(), &reach.target.pod_name())?;
        let found = all.into_iter().next().ok_or_else(|| Failure::failed("the database that was found is gone"))?;
        let pod = reach.target.pod_name();
        let lock = reach.volume(&found).map(|volume| operation::volume_lock(volume, &pod));
        let lock = lock.unwrap_or_else(|| found.location.place());
        let store = Store::in_namespace(&self.session.cluster, &reach.target.namespace);
        operation::refuse_if_unfinished(&store, &LockName::new(&lock), &reach.target.namespace, NAME).await?;
        Ok((found, lock))
    }

    /// What the books say, of the table that is meant.
    async fn books(&self, database: &dyn Database, files: &Files) -> Result<Vec<Book>> {
        let mut books = books::read(&self.session.cluster, &self.session.stop, &self.reach, database, files).await?;
        files.notes().iter().for_each(|note| self.session.ui.say(&harmless(note)));
        let tables: Vec<String> = books.iter().map(|book| book.state.table.to_string()).collect();
        if let Some(meant) = &self.how.table {
            books.retain(|book| book.state.table.to_string() == *meant || book.state.table.name == *meant);
        }
        if !books.is_empty() {
            return Ok(books);
        }
        let failure =
            Failure::refused("no bookkeeping table of a migration framework was recognised").state("nothing was changed");
        Err(match &self.how.table {
            Some(meant) if !tables.is_empty() => {
                Failure::usage(format!("{meant} is no bookkeeping table of this database")).facts(tables)
            }
            _ => failure.next(format!("kubectl dbmig doctor {}", self.named())),
        })
    }

    /// What is wrong besides what can be repaired.
    fn findings(&self, books: &[Book]) -> Vec<Finding> {
        let mut findings: Vec<Finding> = books.iter().flat_map(|book| book.state.findings()).collect();
        findings.retain(|finding| finding.level > Level::Note);
        for next in findings.iter_mut().flat_map(|finding| &mut finding.next) {
            *next = next.replace("TARGET", &self.named());
        }
        findings
    }

    /// The repair that the user has chosen and agreed to.
    async fn settle(&self, books: &[Book], problem: &Problem, database: &dyn Database) -> Result<Repair> {
        let (session, how) = (self.session, self.how);
        let repair = problem::choose(session, how, self.wishes, problem, &self.named()).await?;
        if !problem.aim.is_about_a_lock() {
            problem::refuse_beside_a_migration(books, how.force, &self.named())?;
        }
        session.stop.interruptible(refuse_replica(database)).await??;
        let agreed = match &repair.safety {
            _ if how.yes => true,
            Safety::Force(risk) => {
                let question = format!("{}: {risk}.", repair.what);
                session.ui.confirm_by_typing(&session.stop, &question, &self.asked.name).await?
            }
            Safety::Proven => session.ui.confirm(&session.stop, &format!("Repair: {}?", repair.what)).await?,
        };
        if agreed { Ok(repair) } else { Err(Failure::refused("not confirmed").state("nothing was changed")) }
    }

    async fn carry_out(&self, desk: Arc<Desk>, lock: &str) -> Result<Exit> {
        let session = self.session;
        session.stop.interruptible(async {}).await?;
        let namespace = &self.reach.target.namespace;
        let (target, spec) = (self.asked.to_string(), &desk.spec);
        let start = Start { id: self.id, command: NAME, namespace, target, lock, spec, before: None };
        let report = operation::start(session, start, steps(&desk)).await;
        // It may have had to come anew while the steps ran.
        let left = desk.leave(&session.cluster).await;
        let report = report?;
        left?;
        session.ui.say(&format!("to take it back: kubectl dbmig undo {} -n {namespace}", self.id));
        Ok(super::report::conclude(session, &report))
    }

    /// What stands for the target in commands to copy.
    fn named(&self) -> String {
        format!("{} -n {}", self.asked, self.reach.target.namespace)
    }
}

/// A copy that only reads would refuse to be written to, or, worse, take it and differ from then on.
async fn refuse_replica(database: &dyn Database) -> Result<()> {
    let sql = match database.dialect() {
        Dialect::Postgres => "SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END",
        Dialect::Mysql | Dialect::MariaDb => "SELECT @@global.read_only",
        Dialect::Sqlite => return Ok(()),
    };
    if database.number(sql).await?.is_some_and(|it_is| it_is != 0) {
        return Err(Failure::refused("this server is a replica, or is set to be read only")
            .state("nothing was changed")
            .next("name the primary: --database URL"));
    }
    Ok(())
}

/// The desk of an operation that is taken up again; `database` is what the user named now.
///
/// # Errors
/// The record comes from another version.
pub(super) fn desk(record: &Record, database: Option<Named>) -> Result<Arc<Desk>> {
    Ok(Arc::new(Desk::new(record.spec()?, Files::Unread, database, None)))
}
