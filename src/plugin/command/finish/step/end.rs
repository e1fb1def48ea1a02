//! The end of pgcopydb: it is told where, and it gets there.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::super::Desk;
use super::{OrBack as _, pause};
use crate::command::kept_logs;
use crate::command::pair::Pair;
use crate::failure::{Failure, Result};
use crate::plan::{ATTENTION, Look, Run, Step};
use crate::replication::{Canary, Lsn, slot};

/// Name in the memory of the position at which pgcopydb ends.
pub(super) const END: &str = "end";
/// The row right before the end.
const BEFORE: &str = "end";
/// What its log says when it has got there.
const DONE: &str = "Follow mode is now done";
/// Lines of its log that are read for what it says of its end.
const LINES: i64 = 400;
/// How long a process may take from its last word to the source to the end of its container: it sets sequences and cleans up.
const LAST_WORDS: Duration = Duration::from_secs(15);

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
        let end = canary.write(&open.source, BEFORE).await.or_back()?;
        run.memory.keep(END, &end)?;
        let told = copier.set_end(&run.cluster, Some(end)).await;
        // It may have come through and have ended already.
        if let Err(failure) = told
            && self.0.ended(&run.cluster).await.or_back()?.is_none()
        {
            return Err(failure.take_back());
        }
        // An idle source would never reach it.
        canary.push(&open.source).await.or_back()?;
        Ok(format!("at {end}"))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        if run.memory.recall::<Lsn>(END)?.is_none() {
            return Ok(String::new());
        }
        if self.0.ended(&run.cluster).await?.is_none() {
            self.0.copier(&run.cluster).await?.set_end(&run.cluster, None).await?;
        }
        let slot = slot(&*self.0.open(run).await?.source, &self.0.spec.slot).await?;
        if slot.is_some_and(|slot| slot.active) {
            run.memory.forget(END);
            return Ok("pgcopydb goes on following".to_owned());
        }
        run.memory.keep(ATTENTION, &"pgcopydb has ended: nobody follows the source any more, and a new copy has to be made")?;
        Ok("pgcopydb has ended; nobody follows any more".to_owned())
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
        let canary = Canary { id: &run.id };
        let code = self.code(run, &canary, &open).await?;
        let pod = desk.target(&run.cluster).await.or_back()?.pod;
        let pods = std::slice::from_ref(&pod);
        let ((), said) = tokio::join!(kept_logs::keep(run, pods), kept_logs::last_said(&run.cluster.client, pods, LINES));
        let lines: Vec<String> =
            said.iter().flat_map(|log| &log.lines).map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect();
        // No exit code is proof: a signal ends it with 0, and a clean-up that fails with 1.
        if !canary.has_arrived(&*open.target, BEFORE).await.or_back()? {
            let errors = lines.iter().filter(|line| line.contains("ERROR") || line.contains("FATAL")).take(5).cloned();
            return Err(Failure::failed("pgcopydb has ended before it got to its end").facts(errors).take_back());
        }
        let done = lines.iter().any(|line| line.contains(DONE));
        Ok(match (code, done) {
            (Some(0) | None, true) => "it got to its end".to_owned(),
            (Some(code), _) => {
                format!("exit code {code}, and no word that it got to its end; everything has arrived all the same")
            }
            (None, _) => "it streams no more, but its container still runs; everything has arrived all the same".to_owned(),
        })
    }
}

impl Ended {
    /// The exit code of the container; `None`: it runs on although nobody streams any more, since its script waits after an error.
    async fn code(&self, run: &Run, canary: &Canary<'_>, open: &Pair) -> Result<Option<i32>> {
        let desk = &self.0;
        let (mut silent, mut hurried): (Option<Instant>, bool) = (None, false);
        loop {
            if let Some(code) = desk.ended(&run.cluster).await.or_back()? {
                return Ok(Some(code));
            }
            if !hurried && canary.has_arrived(&*open.target, BEFORE).await.or_back()? {
                hurried = true;
                // It ends without this too, some seconds later; it may have ended meanwhile.
                let _ = desk.copier(&run.cluster).await.or_back()?.hurry(&run.cluster).await;
            }
            match slot(&*open.source, &desk.spec.slot).await.or_back()? {
                // Its script has cleaned up after it; a kubelet may take seconds to tell that the container has ended.
                None => return Ok(None),
                Some(slot) if slot.active => {
                    silent = None;
                    // It looks at its end only when something comes.
                    canary.push(&open.source).await.or_back()?;
                }
                Some(_) if silent.get_or_insert_with(Instant::now).elapsed() > LAST_WORDS => return Ok(None),
                Some(_) => {}
            }
            pause(desk, run, format!("the container of {} still runs", desk.spec.target)).await?;
        }
    }
}
