//! The row of our own that has to come through.

use std::sync::Arc;

use async_trait::async_trait;

use super::super::Desk;
use super::{OrBack as _, pause};
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};
use crate::replication::{Canary, Lsn, applied};

/// Name in the memory of the position after the row.
pub(super) const ARRIVED: &str = "arrived";
/// The row that is written when nobody else writes any more.
const LAST: &str = "last";

/// Writes a row after everybody else's, and waits until it is on the target.
pub(super) struct Arrive(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Arrive {
    fn id(&self) -> &'static str {
        "arrive"
    }

    fn title(&self) -> String {
        "send a row of our own through, and wait until it has arrived".to_owned()
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if run.memory.recall::<Lsn>(ARRIVED)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let desk = &self.0;
        let open = desk.open(run).await.or_back()?;
        let canary = Canary { id: &run.id };
        canary.prepare(&open.source, &open.target).await.or_back()?;
        let written = canary.write(&open.source, LAST).await.or_back()?;
        canary.push(&open.source).await.or_back()?;
        while !canary.has_arrived(&*open.target, LAST).await.or_back()? {
            if let Some(code) = desk.ended(&run.cluster).await.or_back()? {
                return Err(
                    Failure::failed(format!("pgcopydb has ended with exit code {code} before our row arrived")).take_back()
                );
            }
            let at = applied(&*open.target, &desk.spec.origin).await.or_back()?;
            let at = at.map_or_else(|| "nothing".to_owned(), |at| format!("up to {at}"));
            pause(desk, run, format!("our row, written before {written}, has not arrived; applied: {at}")).await?;
        }
        run.memory.keep(ARRIVED, &written)?;
        Ok(format!("everything up to {written} has arrived"))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        run.memory.forget(ARRIVED);
        Ok(String::new())
    }
}
