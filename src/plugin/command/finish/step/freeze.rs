//! Stopping writers: their rights go, and what they have begun ends.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::super::Desk;
use super::super::desk::FROZEN;
use super::settle::REHEARSED;
use super::{OrBack as _, pause};
use crate::database::postgres::{End, Postgres};
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};
use crate::replication::{Freeze as Change, Writer, differences, rights, slot, writers};

/// Name in the memory of what the script takes.
pub(super) const RIGHTS: &str = "rights";

/// Keeps in the record what is about to be taken, and its exact way back.
pub(super) struct Keep(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Keep {
    fn id(&self) -> &'static str {
        "keep-rights"
    }

    fn title(&self) -> String {
        "keep what the writers may do now".to_owned()
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if run.memory.recall::<Change>(RIGHTS)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let open = self.0.open(run).await?;
        let change = differences(&open.source, &self.0.spec.script, End::Rollback).await.or_back()?;
        let words = change.in_words();
        run.memory.keep(RIGHTS, &change)?;
        run.memory.keep(FROZEN, &Timestamp::now())?;
        Ok(words)
    }
}

/// Seconds between two moments at which pgcopydb looks whether it has been told to end, which it does when it reports to the source.
const REPORT: f64 = 10.0;
/// Seconds that the steps from here to the end that it is told take besides the comparison.
const LEAD: f64 = 2.0;

/// Takes the writers' rights.
pub(super) struct Freeze(pub(super) Arc<Desk>);

impl Freeze {
    /// Waits until pgcopydb is about to look: what it is told right after that, it hears ten seconds later.
    async fn right_moment(&self, run: &Run, source: &Postgres) -> Result<()> {
        let slot = slot(source, &self.0.spec.slot).await.or_back()?;
        let Some(heard) = slot.and_then(|slot| slot.heard) else { return Ok(()) };
        let comparing: f64 = run.memory.recall(REHEARSED)?.unwrap_or_default();
        let wait = (-(heard + LEAD + comparing)).rem_euclid(REPORT);
        run.stop.interruptible(tokio::time::sleep(Duration::from_secs_f64(wait))).await.or_back()
    }

    /// Whether what the script takes is gone now.
    async fn is_frozen(&self, run: &Run, change: &Change) -> Result<bool> {
        let now = rights(&*self.0.open(run).await?.source).await?;
        Ok(change.lost.is_disjoint(&now) && change.gained.is_subset(&now))
    }
}

#[async_trait]
impl Step for Freeze {
    fn id(&self) -> &'static str {
        "freeze"
    }

    fn title(&self) -> String {
        format!("take the writers' rights ({})", self.0.spec.script_from)
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        let change: Change = run.memory.need(RIGHTS)?;
        if change.is_empty() {
            return Ok(Look::NotNeeded);
        }
        if !self.is_frozen(run, &change).await? {
            return Ok(Look::Todo);
        }
        Ok(Look::Done)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let kept: Change = run.memory.need(RIGHTS)?;
        let open = self.0.open(run).await?;
        self.right_moment(run, &open.source).await?;
        run.memory.keep(FROZEN, &Timestamp::now())?;
        let expected = differences(&open.source, &self.0.spec.script, End::Rollback).await.or_back()?;
        if expected != kept {
            return Err(Failure::failed("somebody has changed rights since they were read")
                .state("the writers' rights were not taken")
                .take_back());
        }
        differences(&open.source, &self.0.spec.script, End::Commit).await.or_back()?;
        Ok(String::new())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        let Some(change) = run.memory.recall::<Change>(RIGHTS)? else { return Ok(String::new()) };
        if change.is_empty() {
            return Ok(String::new());
        }
        // A Job that is gone may take the way to its servers along.
        let by_hand = |failure: Failure| {
            failure.fact(format!("to give the rights back by hand, on {}:", self.0.spec.source)).facts(change.back())
        };
        let source = self.0.open(run).await.map_err(by_hand)?.source;
        source.transact(&change.back().join(";\n"), "SELECT 1", End::Commit).await?;
        let now = rights(&*source).await?;
        if !change.lost.is_subset(&now) || !change.gained.is_disjoint(&now) {
            return Err(Failure::failed("not all rights are back").facts(change.back()));
        }
        Ok(format!("{} are back", change.in_words()))
    }
}

/// Waits until no transaction is left that has written.
pub(super) struct Drain(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Drain {
    fn id(&self) -> &'static str {
        "drain"
    }

    fn title(&self) -> String {
        "wait for the transactions that have written already".to_owned()
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let source = self.0.open(run).await.or_back()?.source;
        loop {
            let left = writers(&*source).await.or_back()?;
            if left.is_empty() {
                return Ok(String::new());
            }
            let left: Vec<String> = left.iter().map(Writer::in_words).collect();
            pause(&self.0, run, left.join("; ")).await?;
        }
    }
}
