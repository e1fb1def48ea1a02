//! Keeping writers out of the old primary until traffic is led to the new one.

use std::sync::Arc;

use async_trait::async_trait;

use super::super::Desk;
use crate::database::postgres::{End, Postgres};
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};
use crate::replication::{Freeze as Change, differences, rights};

/// Name in the memory of what the script takes.
pub(super) const RIGHTS: &str = "rights";

/// Keeps in the record what is about to be taken, and its exact way back.
pub(super) struct KeepRights(pub(super) Arc<Desk>);

#[async_trait]
impl Step for KeepRights {
    fn id(&self) -> &'static str {
        "keep-rights"
    }

    fn title(&self) -> String {
        "keep what the writers may do now".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if run.memory.recall::<Change>(RIGHTS)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let primary = self.0.primary(&run.cluster).await?;
        let change = differences(&primary, &self.0.spec.script, End::Rollback).await?;
        run.memory.keep(RIGHTS, &change)?;
        Ok(change.in_words())
    }
}

/// Takes the writers' rights.
pub(super) struct Freeze(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Freeze {
    fn id(&self) -> &'static str {
        "freeze"
    }

    fn title(&self) -> String {
        format!("take the writers' rights on {} ({})", self.0.spec.primary.target, self.0.spec.script_from)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        let change: Change = run.memory.need(RIGHTS)?;
        let now = rights(&*self.0.primary(&run.cluster).await?).await?;
        let is_frozen = change.lost.is_disjoint(&now) && change.gained.is_subset(&now);
        Ok(if is_frozen { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let kept: Change = run.memory.need(RIGHTS)?;
        let primary = self.0.primary(&run.cluster).await?;
        if differences(&primary, &self.0.spec.script, End::Rollback).await? != kept {
            return Err(Failure::failed("somebody has changed rights since they were read").take_back());
        }
        differences(&primary, &self.0.spec.script, End::Commit).await?;
        Ok(kept.in_words())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        let Some(change) = run.memory.recall::<Change>(RIGHTS)? else { return Ok(String::new()) };
        give_back(&*self.0.primary(&run.cluster).await?, &change).await
    }
}

/// Gives back on a server what was taken, as far as it is missing there.
///
/// # Errors
/// The server refuses, or not all of it is back.
pub(super) async fn give_back(server: &Postgres, change: &Change) -> Result<String> {
    let is_back = |now: &std::collections::BTreeSet<_>| change.lost.is_subset(now) && change.gained.is_disjoint(now);
    if change.is_empty() || is_back(&rights(server).await?) {
        return Ok(String::new());
    }
    server.transact(&change.back().join(";\n"), "SELECT 1", End::Commit).await?;
    if !is_back(&rights(server).await?) {
        return Err(Failure::failed("not all rights are back").facts(change.back()));
    }
    Ok(format!("{} are back", change.in_words()))
}
