//! From the old file to a proven new one, all of it done by the agent beside them.

use std::sync::Arc;

use async_trait::async_trait;
use dbmig_wire::{self as wire, Proof, Rebuilt};

use super::super::evidence;
use super::super::examine::{self, Examined};
use super::super::space::{Place, Room};
use super::{Desk, EXAMINED, NEW_HERE, PROOF, REBUILT};
use crate::failure::{Failure, Result};
use crate::framework::golang_migrate::verdict::{Recognised, Verdict};
use crate::plan::{ATTENTION, Look, Run, Step};
use crate::ui::human::bytes as size;

/// Has SQLite roll back a hot journal or merge a WAL.
pub(super) struct Settle(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Settle {
    fn id(&self) -> &'static str {
        "settle"
    }

    fn title(&self) -> String {
        "let SQLite settle its journal or WAL".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        // Once the new file is in place, its journal is the application's business.
        Ok(if run.memory.recall::<Proof>(PROOF)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        self.0.prove_stopped(run).await?;
        let agent = self.0.agent(run).await?;
        let call = wire::Settle { database: self.0.spec.database() };
        let settled = agent
            .ask(call, Some(&run.events))
            .await
            .map_err(|error| error.into_failure(&format!("settle {}", self.0.spec.shown)))?;
        Ok(match (settled.rolled_back, settled.checkpointed) {
            (true, _) => "rolled back a transaction that was cut off".to_owned(),
            (false, true) => "merged the WAL".to_owned(),
            (false, false) => "there was nothing to settle".to_owned(),
        })
    }
}

/// Looks again now that nothing moves any more, and decides for good.
pub(super) struct Examine(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Examine {
    fn id(&self) -> &'static str {
        "examine"
    }

    fn title(&self) -> String {
        "examine the database at rest".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if run.memory.recall::<Examined>(EXAMINED)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        let agent = self.0.agent(run).await?;
        let (facts, mut examined) = examine::examine(&agent, spec, true)
            .await
            .map_err(|failure| if failure.passing { failure } else { failure.take_back() })?
            .ok_or_else(|| Failure::failed(format!("{} can't be read although it was settled", spec.shown)).take_back())?;
        evidence::reconsider(&run.cluster, &run.stop, &agent, spec, &facts, &mut examined).await?;
        let (rows, kept) = examined.tables.iter().fold((0, 0), |(rows, kept), table| (rows + table.rows, kept + table.kept));
        run.memory.keep(EXAMINED, &examined)?;
        if let Some(attention) = self.0.unrepaired(&examined) {
            run.memory.keep(ATTENTION, &attention)?;
        }
        Ok(format!("{kept} of {rows} rows stay, {} → about {}", size(examined.bytes), size(examined.expected_bytes)))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        run.memory.forget(EXAMINED);
        Ok(String::new())
    }
}

/// Gives free-list pages back to the file system.
pub(super) struct Punch(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Punch {
    fn id(&self) -> &'static str {
        "punch"
    }

    fn title(&self) -> String {
        "give unused pages of the old file back to the file system".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        let examined: Examined = run.memory.need(EXAMINED)?;
        let rebuilt = run.memory.recall::<Rebuilt>(REBUILT)?.is_some();
        Ok(match examined.room {
            Room::BesideAfterPunching if rebuilt => Look::Done,
            Room::BesideAfterPunching => Look::Todo,
            Room::Beside | Room::Scratch(_) => Look::NotNeeded,
        })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        self.0.prove_stopped(run).await?;
        let agent = self.0.agent(run).await?;
        let call = wire::Punch { database: self.0.spec.database(), batch_ms: 1000, wait_ms: 10_000 };
        let punched = agent.ask(call, Some(&run.events)).await.map_err(|error| error.into_failure("give unused pages back"))?;
        Ok(format!("{} given back in {} holes", size(punched.freed_bytes), punched.holes))
    }
}

/// Builds the new file out of the rows that stay, with the framework's repair in it.
pub(super) struct Rebuild(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Rebuild {
    fn id(&self) -> &'static str {
        "rebuild"
    }

    fn title(&self) -> String {
        "build the new database out of the rows that stay".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if run.memory.recall::<Rebuilt>(REBUILT)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        self.0.prove_stopped(run).await?;
        let agent = self.0.agent(run).await?;
        let examined: Examined = run.memory.need(EXAMINED)?;
        let target = self.0.new_file(&examined);
        let call = wire::Rebuild {
            database: self.0.spec.database(),
            temp: folder(&target).to_owned(),
            target,
            rules: examined.rules.clone(),
            afterwards: self.0.repair(&examined),
            leave_free_bytes: 0,
        };
        let rebuilt = agent
            .job("rebuild", call, &run.events, &run.stop)
            .await
            .map_err(|error| error.into_failure("build the new database"))?;
        run.memory.keep(REBUILT, &rebuilt)?;
        Ok(size(rebuilt.bytes))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        let Some(examined) = run.memory.recall::<Examined>(EXAMINED)? else { return Ok(String::new()) };
        let agent = self.0.agent(run).await?;
        self.0.end_earlier_work(&agent, &["rebuild", "verify"]).await?;
        // From a scratch volume it may have been on its way to the database's.
        let call = wire::Remove { paths: vec![self.0.new_file(&examined), self.0.spec.beside("new")] };
        agent.ask(call, None).await.map_err(|error| error.into_failure("remove the new file"))?;
        self.0.forget_here(run, NEW_HERE).await?;
        for name in [REBUILT, PROOF] {
            run.memory.forget(name);
        }
        Ok(String::new())
    }
}

impl Desk {
    /// What a person must still do about the framework's state, when a repair was asked for and could not be done.
    fn unrepaired(&self, examined: &Examined) -> Option<String> {
        match &examined.framework {
            _ if !self.spec.wishes.repair => None,
            Recognised::Known { state, repair: Verdict::Refused { because } } => {
                Some(format!("{} was left as it is: {because}", state.in_words()))
            }
            Recognised::Other(name) => {
                Some(format!("--repair knows golang-migrate only; this is {name}'s bookkeeping, left as it is"))
            }
            Recognised::None => Some("--repair found no bookkeeping table of a migration framework".to_owned()),
            Recognised::Known { .. } => None,
        }
    }

    /// Statements that set the framework's state right, when that was asked for and is proven.
    fn repair(&self, examined: &Examined) -> Vec<wire::Change> {
        match &examined.framework {
            Recognised::Known { repair: Verdict::Set { changes, .. }, .. } if self.spec.wishes.repair => changes.clone(),
            _ => Vec::new(),
        }
    }
}

/// Proves the new file, and remembers its digest.
pub(super) struct Verify(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Verify {
    fn id(&self) -> &'static str {
        "verify"
    }

    fn title(&self) -> String {
        "prove the new database: integrity, rows, schema, digest".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if run.memory.recall::<Proof>(PROOF)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let agent = self.0.agent(run).await?;
        let examined: Examined = run.memory.need(EXAMINED)?;
        let rebuilt: Rebuilt = run.memory.need(REBUILT)?;
        let call = wire::Verify {
            database: self.0.spec.database(),
            target: self.0.new_file(&examined),
            rules: examined.rules.clone(),
            afterwards: self.0.repair(&examined),
            tables: rebuilt.tables,
        };
        let proof = agent
            .job("verify", call, &run.events, &run.stop)
            .await
            .map_err(|error| error.into_failure("prove the new database"))?;
        if examined.room == Room::Scratch(Place::Local) {
            self.0.bring_here(&agent, run, &self.0.new_file(&examined), NEW_HERE, &proof).await?;
        }
        run.memory.keep(PROOF, &proof)?;
        Ok(format!("{}, sha256 {}", size(proof.bytes), &proof.sha256[..12]))
    }
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("/", |(folder, _)| folder)
}
