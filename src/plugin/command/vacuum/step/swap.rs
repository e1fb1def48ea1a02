//! The new file takes the old one's place, and the way back.

use std::sync::Arc;

use async_trait::async_trait;
use dbmig_wire::{self as wire, Proof, Restored, Stat};

use super::super::examine::Examined;
use super::super::space::{KeepOld, Place, Room};
use super::{ASIDE, ASIDE_HERE, Desk, EXAMINED, KEEP_APART, NEW_HERE, OLD_COPY, OLD_HERE, PROOF, SWAPPED};
use crate::cluster::agent::{Agent, AskError};
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};
use crate::ui::human::bytes as size;

/// Jobs that put a new file in place, or on its way there.
const WAYS_INTO_PLACE: [&str; 2] = ["replace", "bring-over"];

/// Copies the old file to where it is kept, when that is not beside the new one.
pub(super) struct CopyOld(pub(super) Arc<Desk>);

#[async_trait]
impl Step for CopyOld {
    fn id(&self) -> &'static str {
        "copy-old"
    }

    fn title(&self) -> String {
        "keep a proven copy of the old file elsewhere".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        let examined: Examined = run.memory.need(EXAMINED)?;
        let copied = run.memory.recall::<Proof>(OLD_COPY)?.is_some();
        Ok(match examined.keep_old {
            KeepOld::At(_) if copied => Look::Done,
            KeepOld::At(_) => Look::Todo,
            KeepOld::Beside | KeepOld::No => Look::NotNeeded,
        })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let agent = self.0.agent(run).await?;
        let examined: Examined = run.memory.need(EXAMINED)?;
        if examined.keep_old == KeepOld::At(Place::Local) {
            return self.0.keep_old_here(&agent, run).await;
        }
        let call =
            wire::Copy { from: self.0.spec.database(), to: self.0.old_copy(), replace: true, like: None, expect_sha256: None };
        let proof = agent
            .job("copy-old", call, &run.events, &run.stop)
            .await
            .map_err(|error| error.into_failure("keep a copy of the old file"))?;
        run.memory.keep(OLD_COPY, &proof)?;
        Ok(format!("{}, sha256 {}", size(proof.bytes), &proof.sha256[..12]))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        self.0.forget_here(run, OLD_HERE).await?;
        run.memory.forget(OLD_COPY);
        Ok(String::new()) // A copy in the cluster goes with its volume.
    }
}

/// Puts the proven new file in the old one's place.
pub(super) struct Swap(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Swap {
    fn id(&self) -> &'static str {
        "swap"
    }

    fn title(&self) -> String {
        format!("put the new file in place of {}", self.0.spec.shown)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        // Cut off between the swap and this note, it is called again, and the agent sees that it was done.
        Ok(if self.0.is_swapped(run)? { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        self.0.prove_stopped(run).await?;
        let agent = self.0.agent(run).await?;
        let (examined, proof): (Examined, Proof) = (run.memory.need(EXAMINED)?, run.memory.need(PROOF)?);
        if matches!(examined.room, Room::Scratch(_)) && examined.keep_old != KeepOld::Beside {
            self.0.replace(&agent, run, &examined, proof).await?;
            return self.0.note_swapped(run);
        }
        let old = (examined.keep_old == KeepOld::Beside).then(|| self.0.spec.beside("old"));
        let new = match examined.room {
            Room::Scratch(_) => self.0.bring_over(&agent, run, &examined, &proof).await?,
            Room::Beside | Room::BesideAfterPunching => self.0.new_file(&examined),
        };
        let call = wire::Swap {
            database: self.0.spec.database(),
            new,
            old,
            expect_bytes: proof.bytes,
            expect_sha256: proof.sha256,
            expect_inode: examined.inode,
        };
        agent.ask(call, Some(&run.events)).await.map_err(|error| error.into_failure("put the new file in place"))?;
        self.0.note_swapped(run)
    }

    async fn can_go_back(&self, run: &Run) -> Result<()> {
        let Some(examined) = run.memory.recall::<Examined>(EXAMINED)? else { return Ok(()) };
        if examined.keep_old != KeepOld::No || !self.0.has_begun_to_replace(run, &examined).await? {
            return Ok(());
        }
        Err(Failure::refused("the old file was not kept (--keep-old none), so it can't be put back").state("nothing was changed"))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        self.0.prove_stopped(run).await?;
        let agent = self.0.agent(run).await?;
        self.0.end_earlier_work(&agent, &WAYS_INTO_PLACE).await?;
        let examined: Examined = run.memory.need(EXAMINED)?;
        if matches!(examined.keep_old, KeepOld::At(_)) {
            return self.0.put_copy_back(&agent, run).await;
        }
        let old = self.0.spec.beside("old");
        let there = agent
            .ask(Stat { paths: vec![old.clone()], hash: false }, None)
            .await
            .map_err(|error| error.into_failure("look for the old file"))?;
        if there.files.first().is_none_or(Option::is_none) {
            return Ok("it had not been swapped".to_owned());
        }
        self.0.settle(&agent, run).await?;
        let call = wire::Restore { database: self.0.spec.database(), old, set_aside: self.0.spec.beside("undone") };
        let restored = agent.ask(call, Some(&run.events)).await.map_err(|error| error.into_failure("put the old file back"))?;
        run.memory.forget(SWAPPED);
        self.0.tell_what_was_written(&agent, &restored).await
    }
}

impl Desk {
    /// Lets a new file on the scratch volume take the old one's place where both do not fit.
    async fn replace(&self, agent: &Agent, run: &Run, examined: &Examined, proof: Proof) -> Result<()> {
        self.have_on_helper(agent, run, &self.new_file(examined), NEW_HERE).await?;
        let call = wire::Replace {
            database: self.spec.database(),
            from: self.new_file(examined),
            beside: self.spec.beside("new"),
            expect_sha256: proof.sha256,
            expect_inode: examined.inode,
            like: examined.like,
        };
        agent
            .job("replace", call, &run.events, &run.stop)
            .await
            .map_err(|error| error.into_failure("put the new file in place"))?;
        Ok(())
    }

    /// Keeps the old file on the user's machine.
    async fn keep_old_here(&self, agent: &Agent, run: &Run) -> Result<String> {
        let call = Stat { paths: vec![self.spec.database()], hash: true };
        let there = agent.ask(call, Some(&run.events)).await.map_err(|error| error.into_failure("read the old file"))?;
        let file = there.files.into_iter().next().flatten();
        let proof = file.and_then(|file| Some(Proof { bytes: file.bytes, sha256: file.sha256? }));
        let proof = proof.ok_or_else(|| Failure::failed(format!("{} is not there any more", self.spec.shown)).take_back())?;
        let summary = self.bring_here(agent, run, &self.spec.database(), OLD_HERE, &proof).await?;
        run.memory.keep(OLD_COPY, &proof)?;
        Ok(summary)
    }

    /// Whether the new file is in place: from then on nothing before the swap is done again.
    pub(super) fn is_swapped(&self, run: &Run) -> Result<bool> {
        Ok(run.memory.recall::<bool>(SWAPPED)?.unwrap_or_default())
    }

    /// Whether the old file is not in its place any more, noted or not: the new one may be on its way there.
    async fn has_begun_to_replace(&self, run: &Run, examined: &Examined) -> Result<bool> {
        if self.is_swapped(run)? {
            return Ok(true);
        }
        let agent = self.agent(run).await?;
        self.end_earlier_work(&agent, &WAYS_INTO_PLACE).await?;
        let call = Stat { paths: vec![self.spec.database()], hash: false };
        let there = agent.ask(call, None).await.map_err(|error| error.into_failure("look at the database"))?;
        Ok(there.files.into_iter().next().flatten().is_none_or(|there| there.inode != examined.inode))
    }

    fn note_swapped(&self, run: &Run) -> Result<String> {
        run.memory.keep(SWAPPED, &true)?;
        Ok(String::new())
    }

    /// Copies a new file from the scratch volume beside the old one, where there is room for both.
    async fn bring_over(&self, agent: &Agent, run: &Run, examined: &Examined, proof: &Proof) -> Result<String> {
        let beside = self.spec.beside("new");
        let call = wire::Copy {
            from: self.new_file(examined),
            to: beside.clone(),
            replace: true,
            like: None,
            expect_sha256: Some(proof.sha256.clone()),
        };
        agent
            .job("bring-over", call, &run.events, &run.stop)
            .await
            .map_err(|error| error.into_failure("copy the new file to the database's volume"))?;
        Ok(beside)
    }

    /// Puts the old file's copy back from where it is kept, and keeps there what it replaces, if rows were written into that.
    async fn put_copy_back(&self, agent: &Agent, run: &Run) -> Result<String> {
        let Some(copy) = run.memory.recall::<Proof>(OLD_COPY)? else { return Ok("it had not been swapped".to_owned()) };
        let (examined, database): (Examined, String) = (run.memory.need(EXAMINED)?, self.spec.database());
        let failed = |what: &'static str| move |error: AskError| error.into_failure(what);
        let there =
            agent.ask(Stat { paths: vec![database.clone()], hash: false }, None).await.map_err(failed("look at the database"))?;
        let now = there.files.into_iter().next().flatten();
        if now.as_ref().is_some_and(|now| now.inode == examined.inode) {
            return Ok("it had not been swapped".to_owned());
        }
        self.have_on_helper(agent, run, &self.old_copy(), OLD_HERE).await?;
        if now.is_some() {
            self.settle(agent, run).await?;
            self.set_aside(agent, run, &examined).await?;
        }
        let call = wire::Replace {
            database,
            from: self.old_copy(),
            beside: self.spec.beside("back"),
            expect_sha256: copy.sha256,
            expect_inode: now.map_or(0, |now| now.inode),
            like: examined.like,
        };
        agent.job("put-back", call, &run.events, &run.stop).await.map_err(failed("put the old file back"))?;
        run.memory.forget(SWAPPED);
        Ok(run.memory.recall(ASIDE)?.unwrap_or_else(|| "nothing had been written since".to_owned()))
    }

    /// Keeps the file that is to be replaced, unless the old one has all of its rows. Says what the old one lacks.
    async fn set_aside(&self, agent: &Agent, run: &Run, examined: &Examined) -> Result<()> {
        let database = self.spec.database();
        let call = wire::Since { old: self.old_copy(), new: database.clone() };
        let written = agent
            .job("since", call, &run.events, &run.stop)
            .await
            .map_err(|error| error.into_failure("compare the old file with the new one"))?;
        if written.is_empty() {
            return Ok(());
        }
        let aside = format!("{}.undone", self.old_copy());
        let keep = wire::Copy { from: database, to: aside.clone(), replace: true, like: None, expect_sha256: None };
        let proof = agent
            .job("set-aside", keep, &run.events, &run.stop)
            .await
            .map_err(|error| error.into_failure("set the new file aside"))?;
        let place = if examined.keep_old == KeepOld::At(Place::Local) {
            self.bring_here(agent, run, &aside, ASIDE_HERE, &proof).await?
        } else {
            run.memory.keep(KEEP_APART, &true)?;
            format!("kept on persistentvolumeclaim/{}", self.kept_claim())
        };
        run.memory.keep(ASIDE, &format!("{}; the file that has them is {place}", not_in_the_old(&written)))
    }

    /// The application may have been killed in the middle of a transaction, on the new file too.
    async fn settle(&self, agent: &Agent, run: &Run) -> Result<()> {
        let call = wire::Settle { database: self.spec.database() };
        agent.ask(call, Some(&run.events)).await.map_err(|error| error.into_failure(&format!("settle {}", self.spec.shown)))?;
        Ok(())
    }

    /// Rows that the application wrote into the new file are not in the old one: say so, and keep them.
    async fn tell_what_was_written(&self, agent: &Agent, restored: &Restored) -> Result<String> {
        let aside = self.spec.beside("undone");
        if restored.written_since.is_empty() {
            agent
                .ask(wire::Remove { paths: vec![aside] }, None)
                .await
                .map_err(|error| error.into_failure("remove the new file"))?;
            return Ok("nothing had been written since".to_owned());
        }
        let name = aside.rsplit('/').next().unwrap_or_default();
        Ok(format!("{}; they are kept in {name} beside the database", not_in_the_old(&restored.written_since)))
    }
}

fn not_in_the_old(written: &[wire::TableRows]) -> String {
    let tables: Vec<String> = written.iter().map(|table| format!("{} rows of {}", table.rows, table.name)).collect();
    format!("written since the swap and not in the old file: {}", tables.join(", "))
}

/// Lets the old file go: the application is well on the new one.
pub(super) struct DropOld(pub(super) Arc<Desk>);

#[async_trait]
impl Step for DropOld {
    fn id(&self) -> &'static str {
        "drop-old"
    }

    fn title(&self) -> String {
        "drop the old file".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        let examined: Examined = run.memory.need(EXAMINED)?;
        Ok(if examined.keep_old == KeepOld::Beside { Look::Todo } else { Look::NotNeeded })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let agent = self.0.agent(run).await?;
        let call = wire::Remove { paths: vec![self.0.spec.beside("old")] };
        agent.ask(call, None).await.map_err(|error| error.into_failure("drop the old file"))?;
        Ok(String::new())
    }

    async fn can_go_back(&self, run: &Run) -> Result<()> {
        let examined: Examined = run.memory.need(EXAMINED)?;
        if examined.keep_old != KeepOld::Beside {
            return Ok(());
        }
        let agent = self.0.agent(run).await?;
        let call = Stat { paths: vec![self.0.spec.beside("old")], hash: false };
        let there = agent.ask(call, None).await.map_err(|error| error.into_failure("look for the old file"))?;
        if there.files.first().is_some_and(Option::is_some) {
            return Ok(());
        }
        let _ = self.0.spec.helper.delete(&run.cluster).await;
        Err(Failure::refused("the old file was dropped when the application got Ready, so it can't be put back")
            .state("nothing was changed"))
    }
}
