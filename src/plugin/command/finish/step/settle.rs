//! What is compared while writers still write, so that they need not wait for it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dbmig_wire::{Progress, Unit};
use jiff::Timestamp;
use tokio::time::Instant;

use super::super::Desk;
use super::OrBack as _;
use super::compare::unproven;
use super::freeze::RIGHTS;
use crate::event::Event;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};
use crate::replication::{Baseline, Canary, Freeze, Settling, Verify, compare, slot};

/// Name in the memory of what both sides had in common before writers were stopped. It is kept there, and not taken anew, for whoever goes on
/// after this process has died with writers stopped: they have waited long enough. An older one only makes more to compare.
pub(super) const BASELINE: &str = "baseline";
/// Name in the memory of the seconds that the comparison took when it was tried.
pub(super) const REHEARSED: &str = "rehearsed";
/// Age at which it is taken anew, as long as writers write.
const STALE: Duration = Duration::from_secs(600);

/// Compares while writers write.
pub(super) struct Settle(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Settle {
    fn id(&self) -> &'static str {
        "settle"
    }

    fn title(&self) -> String {
        "compare while writers still write".to_owned()
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        if self.0.spec.verify != Verify::Full {
            return Ok(Look::NotNeeded);
        }
        let taken = run.memory.recall::<Baseline>(BASELINE)?;
        if run.memory.recall::<Freeze>(RIGHTS)?.is_some() {
            return Ok(if taken.is_some() { Look::Done } else { Look::NotNeeded });
        }
        let age = taken.map(|taken| Timestamp::now().duration_since(taken.taken));
        let fresh = age.is_some_and(|age| Duration::try_from(age).is_ok_and(|age| age < STALE));
        Ok(if fresh && run.memory.recall::<f64>(REHEARSED)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let desk = &self.0;
        let open = desk.open(run).await.or_back()?;
        let (source, target) = open.patient().await.or_back()?;
        let canary = Canary { id: &run.id };
        canary.prepare(&open.source, &open.target).await.or_back()?;
        let told = |at: usize, of: usize, name: &str| {
            let phase = format!("comparing {name}");
            run.events.tell(Event::Progress(Progress { phase, done: at as u64 - 1, total: of as u64, unit: Unit::Tables }));
        };
        let settling = Settling { source: &source, target: &target, origin: &desk.spec.origin, canary: Some(canary) };
        let (baseline, wrong) = run.stop.interruptible(settling.take(told)).await.or_back()?.or_back()?;
        if !wrong.is_empty() {
            return Err(unproven(wrong.iter().map(ToString::to_string)).fact("writers have not been stopped for this"));
        }
        if baseline.is_none() {
            run.events.note("these servers do not tell what was written since: all rows are compared with writers stopped");
        }
        // What it takes, and everything that will be read is in the servers' memory.
        let begun = Instant::now();
        let comparing = compare(&source, &target, Verify::Full, baseline.as_ref(), told);
        let proof = run.stop.interruptible(comparing).await.or_back()?.or_back()?;
        let seconds = begun.elapsed().as_secs_f64();
        let most = desk.spec.max_downtime;
        if begun.elapsed() >= desk.spec.max_downtime() {
            return Err(Failure::refused(format!(
                "writers would be stopped for more than the {seconds:.0} s that the comparison takes: --max-downtime is {most} s"
            ))
            .next("a longer --max-downtime, or --verify sample")
            .take_back());
        }
        if let Some(baseline) = baseline {
            run.memory.keep(BASELINE, &baseline)?;
        }
        run.memory.keep(REHEARSED, &seconds)?;
        Ok(format!("{} of {} rows are the same and at rest; the others are compared in {seconds:.1} s", proof.before, proof.rows))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        run.memory.forget(BASELINE);
        run.memory.forget(REHEARSED);
        let open = self.0.open(run).await?;
        // Rows may still be on their way: a table that is gone when they arrive would stop all following.
        if slot(&*open.source, &self.0.spec.slot).await?.is_some_and(|slot| slot.active) {
            return Ok("our table stays on both sides, for the next time".to_owned());
        }
        let canary = Canary { id: &run.id };
        canary.remove(&*open.source).await?;
        canary.remove(&*open.target).await?;
        Ok(String::new())
    }
}
