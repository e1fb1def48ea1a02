//! Both sides hold the same.

use std::sync::Arc;

use async_trait::async_trait;
use dbmig_wire::{Progress, Unit};
use serde::{Deserialize, Serialize};

use super::super::Desk;
use super::OrBack as _;
use super::settle::BASELINE;
use crate::database::Database as _;
use crate::event::Event;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};
use crate::replication::{Baseline, Verify, compare};

/// Name in the memory of what was the same.
pub(super) const SAME: &str = "same";

/// What was the same on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Same {
    tables: usize,
    rows: u64,
    /// Rows that had been compared before writers were stopped.
    before: u64,
}

impl Same {
    /// In words.
    pub(super) fn in_words(self) -> String {
        let Self { tables, rows, before } = self;
        let when = match before {
            0 => String::new(),
            _ => format!(" ({before} compared before, {} with writers stopped)", rows - before),
        };
        format!("{tables} tables with {rows} rows{when}")
    }
}

/// Both sides are not the same.
pub(super) fn unproven(differences: impl IntoIterator<Item = String>) -> Failure {
    Failure::new(Exit::Unproven, "source and target do not hold the same rows").facts(differences).take_back()
}

/// Compares what nobody writes to any more.
pub(super) struct Compare(pub(super) Arc<Desk>);

/// Compares both sides as the spec says.
pub(super) async fn same(desk: &Desk, run: &Run, verify: Verify) -> Result<Same> {
    let open = desk.open(run).await.or_back()?;
    let (source, target) = open.patient().await.or_back()?;
    let left = desk.left(run)?;
    let told = |at: usize, of: usize, name: &str| {
        let phase = format!("comparing {name}");
        run.events.tell(Event::Progress(Progress { phase, done: at as u64 - 1, total: of as u64, unit: Unit::Tables }));
    };
    let baseline = run.memory.recall::<Baseline>(BASELINE)?;
    let comparing = tokio::time::timeout(left, compare(&source, &target, verify, baseline.as_ref(), told));
    let Ok(compared) = run.stop.interruptible(comparing).await.or_back()? else {
        // What it asks is the clock itself.
        desk.left(run)?;
        return Err(Failure::new(Exit::TimedOut, "the comparison took too long")
            .next("--max-downtime, or --verify counts")
            .take_back());
    };
    let proof = compared.or_back()?;
    let objects = "SELECT count(*) FROM pg_largeobject_metadata";
    let (here, there) = futures::try_join!(source.number(objects), target.number(objects)).or_back()?;
    let mut differences: Vec<String> = proof.differences.iter().map(ToString::to_string).collect();
    if verify != Verify::None && here != there {
        let count = |number: Option<i64>| number.unwrap_or_default();
        differences.push(format!(
            "large objects: {} on the source, {} on the target; following does not carry them over",
            count(here),
            count(there)
        ));
    }
    if !differences.is_empty() {
        return Err(unproven(differences));
    }
    Ok(Same { tables: proof.tables, rows: proof.rows, before: proof.before })
}

#[async_trait]
impl Step for Compare {
    fn id(&self) -> &'static str {
        "compare"
    }

    fn title(&self) -> String {
        match self.0.spec.verify {
            Verify::None => "compare nothing (--verify none)".to_owned(),
            Verify::Counts => "count the rows of both sides".to_owned(),
            Verify::Sample => "count the rows of both sides, and compare the newest".to_owned(),
            Verify::Full => "compare every row of both sides".to_owned(),
        }
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        if self.0.spec.verify == Verify::None {
            return Ok(Look::NotNeeded);
        }
        Ok(if run.memory.recall::<Same>(SAME)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let same = same(&self.0, run, self.0.spec.verify).await?;
        run.memory.keep(SAME, &same)?;
        Ok(match self.0.spec.verify {
            Verify::Counts | Verify::None => format!("{} on both sides", same.in_words()),
            Verify::Sample => format!("samples of {} are the same", same.in_words()),
            Verify::Full => format!("{} are the same", same.in_words()),
        })
    }

    async fn back(&self, run: &Run) -> Result<String> {
        run.memory.forget(SAME);
        Ok(String::new())
    }
}
