//! Between the end of pgcopydb and the switch: sequences, proof that nobody wrote meanwhile, and rights on the target.

use std::sync::Arc;

use async_trait::async_trait;

use super::super::Desk;
use super::OrBack as _;
use super::compare::same;
use super::freeze::RIGHTS;
use crate::database::postgres::End;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{ATTENTION, Look, Run, Step};
use crate::replication::{Freeze, Verify, behind, catch_up, rights, writers};

/// Moves the target's sequences on to where the source's are.
pub(super) struct Sequences(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Sequences {
    fn id(&self) -> &'static str {
        "sequences"
    }

    fn title(&self) -> String {
        "move the target's sequences on".to_owned()
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let open = self.0.open(run).await.or_back()?;
        let (late, all) = behind(&*open.source, &*open.target).await.or_back()?;
        if let Some(missing) = late.iter().find(|one| !one.there) {
            return Err(Failure::new(Exit::Unproven, format!("the target has no sequence {}", missing.name)).take_back());
        }
        if !late.is_empty() {
            catch_up(&*open.target, &late).await.or_back()?;
        }
        let (left, _) = behind(&*open.source, &*open.target).await.or_back()?;
        if let Some(one) = left.first() {
            return Err(Failure::new(Exit::Unproven, format!("sequence {} stays behind on the target", one.name)).take_back());
        }
        Ok(format!("{} of {all} were behind", late.len()))
    }
}

/// Proves that nobody has written to the source since both sides were the same.
pub(super) struct Still(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Still {
    fn id(&self) -> &'static str {
        "still"
    }

    fn title(&self) -> String {
        "see that nobody has written to the source since".to_owned()
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        self.0.left(run)?;
        let open = self.0.open(run).await.or_back()?;
        let unproven = |message: &str| Failure::new(Exit::Unproven, message).take_back();
        let left = writers(&*open.source).await.or_back()?;
        if let Some(writer) = left.first() {
            return Err(unproven("somebody writes to the source").fact(writer.in_words()));
        }
        let taken: Freeze = run.memory.need(RIGHTS)?;
        if !taken.lost.is_disjoint(&rights(&*open.source).await.or_back()?) {
            return Err(unproven("somebody has given writers of the source their rights back"));
        }
        let again = if self.0.spec.verify == Verify::None { Verify::None } else { Verify::Counts };
        same(&self.0, run, again).await?;
        Ok(String::new())
    }
}

/// Sees that the writers have on the target what they had on the source.
pub(super) struct Rights(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Rights {
    fn id(&self) -> &'static str {
        "rights"
    }

    fn title(&self) -> String {
        "give the writers on the target what they had on the source".to_owned()
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        let taken: Freeze = run.memory.need(RIGHTS)?;
        Ok(if taken.lost.is_empty() { Look::NotNeeded } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let taken: Freeze = run.memory.need(RIGHTS)?;
        let target = self.0.open(run).await.or_back()?.target;
        let there = rights(&*target).await.or_back()?;
        let missing = Freeze { lost: taken.lost.difference(&there).cloned().collect(), ..Freeze::default() };
        if missing.is_empty() {
            return Ok("they have it".to_owned());
        }
        let mut refused = Vec::new();
        for statement in missing.given_back() {
            if let Err(failure) = target.transact(&statement, "SELECT 1", End::Commit).await {
                refused.push(format!("{statement}: {}", failure.cause()));
            }
        }
        if refused.is_empty() {
            return Ok(format!("{} were missing", missing.in_words()));
        }
        run.memory.keep(ATTENTION, &format!("these rights could not be given on the target: {}", refused.join("; ")))?;
        Ok(format!("{} could not be given", refused.len()))
    }
}
