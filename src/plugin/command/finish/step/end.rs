//! The end of pgcopydb: it is told where, and it gets there.

use std::sync::Arc;

use async_trait::async_trait;

use super::super::Desk;
use super::arrive::LAST;
use super::{OrBack as _, pause};
use crate::command::kept_logs;
use crate::failure::{Failure, Result};
use crate::plan::{ATTENTION, Look, Run, Step};
use crate::replication::{Canary, Lsn};

/// Name in the memory of the position at which pgcopydb ends.
pub(super) const END: &str = "end";
/// The row that is written so that the log goes on after the end: an idle source would never reach it.
const NUDGE: &str = "nudge";
/// What its log says when it has got there.
const DONE: &str = "Follow mode is now done";

/// Tells pgcopydb where to end.
pub(super) struct End(pub(super) Arc<Desk>);

#[async_trait]
impl Step for End {
    fn id(&self) -> &'static str {
        "end"
    }

    fn title(&self) -> String {
        "tell pgcopydb to end here".to_owned()
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        if self.0.ended(&run.cluster).await?.is_some() {
            return Ok(Look::Done);
        }
        let Some(end) = run.memory.recall::<Lsn>(END)? else { return Ok(Look::Todo) };
        let set = self.0.copier(&run.cluster).await?.sentinel(&run.cluster).await?.end;
        Ok(if set == Some(end) { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        self.0.left(run)?;
        let open = self.0.open(run).await.or_back()?;
        let copier = self.0.copier(&run.cluster).await.or_back()?;
        let canary = Canary { id: &run.id };
        let end = canary.write(&open.source, LAST).await.or_back()?;
        run.memory.keep(END, &end)?;
        let told = copier.set_end(&run.cluster, Some(end)).await;
        // It may have come through and have ended already.
        if let Err(failure) = told
            && self.0.ended(&run.cluster).await.or_back()?.is_none()
        {
            return Err(failure.take_back());
        }
        canary.write(&open.source, NUDGE).await.or_back()?;
        Ok(format!("at {end}"))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        if self.0.ended(&run.cluster).await?.is_some() {
            run.memory.keep(ATTENTION, &"pgcopydb has ended: nobody follows the source any more, and a new copy has to be made")?;
            return Ok("pgcopydb has ended; nothing follows any more".to_owned());
        }
        self.0.copier(&run.cluster).await?.set_end(&run.cluster, None).await?;
        run.memory.forget(END);
        Ok("pgcopydb goes on following".to_owned())
    }
}

/// Waits until the container has ended, and judges it.
pub(super) struct Ended(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Ended {
    fn id(&self) -> &'static str {
        "ended"
    }

    fn title(&self) -> String {
        "wait until pgcopydb has ended".to_owned()
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let desk = &self.0;
        let open = desk.open(run).await.or_back()?;
        let code = loop {
            match desk.ended(&run.cluster).await.or_back()? {
                Some(code) => break code,
                None => pause(desk, run, format!("the container of {} still runs", desk.spec.target)).await?,
            }
        };
        // No exit code is proof: a signal ends it with 0, and a clean-up that fails with 1.
        let canary = Canary { id: &run.id };
        if !canary.has_arrived(&*open.target, LAST).await.or_back()? {
            return Err(Failure::failed(format!("pgcopydb has ended with exit code {code}, and our row is not on the target")).take_back());
        }
        let pod = desk.target(&run.cluster).await.or_back()?.pod;
        kept_logs::keep(run, std::slice::from_ref(&pod)).await;
        let said = kept_logs::last_said(&run.cluster.client, std::slice::from_ref(&pod), 400).await;
        let done = said.iter().flat_map(|log| &log.lines).any(|line| String::from_utf8_lossy(&line.text).contains(DONE));
        Ok(match (code, done) {
            (0, true) => "it reached its end, exit code 0".to_owned(),
            (0, false) => "exit code 0, without a word that it reached its end; our row has arrived".to_owned(),
            (code, _) => format!("exit code {code}; everything has arrived all the same"),
        })
    }
}
