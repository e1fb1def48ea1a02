//! Creating the Job, once; and taking it back while that still means something.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ContainerStatus;
use kube::ResourceExt as _;

use super::{AGAIN, BEFORE, ENDED};
use crate::cluster::job::is_over;
use crate::cluster::pods::statuses;
use crate::command::kept_logs;
use crate::command::run::desk::{Around, Shared};
use crate::command::run::others;
use crate::command::run::outcome::{Ended, Seen};
use crate::command::run::spec::Way;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};

/// Name in the memory of the uid of the Job: another one of its name is not it.
const UID: &str = "job";

/// Creates the Job.
pub(super) struct Create(pub(super) Shared);

#[async_trait]
impl Step for Create {
    fn id(&self) -> &'static str {
        "create-job"
    }

    fn title(&self) -> String {
        let spec = &self.0.spec;
        format!("create job/{} from {}", spec.job, spec.origin.shown())
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        if run.memory.recall::<Ended>(ENDED)?.is_some() {
            return Ok(Look::Done);
        }
        let job = self.0.job(run).of(&run.id).await?;
        if run.memory.recall::<Ended>(AGAIN)?.is_some() && job.as_ref().is_none_or(is_over) {
            return Ok(Look::Todo);
        }
        if let Some(job) = job {
            run.memory.keep(UID, &job.uid())?;
            return Ok(Look::Done);
        }
        match run.memory.recall::<String>(UID)? {
            None => Ok(Look::Todo),
            // What it has done is not known: to create it again might do it twice.
            Some(_) => Err(Failure::failed(format!("job/{} was deleted before anybody saw it end", self.0.spec.job))
                .state("whether its migration has run is not known, so it is not started again")
                .next(format!("kubectl dbmig doctor {} -n {}", self.0.spec.origin.target(), run.namespace))),
        }
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let built = self.0.built(Around::of(run)).await.map_err(Failure::take_back)?;
        self.0.prove_stopped(run).await?;
        // Held since the beginning, unless this is another process, or the pod is gone through which the database was asked.
        let taken = self.0.lock(Around::of(run)).await.map_err(|failure| failure.exit(Exit::Refused).take_back())?;
        taken.into_iter().for_each(|note| run.events.note(note));
        let refused = |failure: Failure| if failure.passing { failure } else { failure.take_back() };
        let own = self.0.job(run);
        let earlier = others::ended(&run.cluster, &run.namespace, &own, &run.id, matches!(self.0.spec.way, Way::Down(_)))
            .await
            .map_err(refused)?;
        let failed = own.of(&run.id).await?.filter(is_over);
        if let Some(earlier) = earlier.or(failed) {
            own.remove(&run.cluster, &run.stop, &earlier).await?;
        }
        let job = own.create(&built.job, &run.id).await.map_err(refused)?;
        run.memory.keep(UID, &job.uid())?;
        Ok(String::new())
    }

    async fn can_go_back(&self, run: &Run) -> Result<()> {
        let again = run.memory.recall::<Ended>(AGAIN)?;
        let Some(ended) = run.memory.recall::<Ended>(ENDED)?.or(again) else { return Ok(()) };
        let before = run.memory.recall::<Seen>(BEFORE)?.unwrap_or_else(|| Seen::Unread("nobody has asked".to_owned()));
        let now = self.0.seen(Around::of(run), None).await;
        let from = self.0.spec.origin.target();
        let refused = |message: &str| {
            Failure::refused(message).fact(format!("it ended with {}", ended.in_words())).state("nothing was changed")
        };
        match before.has_stayed(&now) {
            Some(true) => Ok(()),
            Some(false) => Err(refused("the migration has run, and the database is not where it was before")
                .next(format!(
                    "kubectl dbmig rollback {from} -n {}    # back to where it was; then this undo again",
                    run.namespace
                ))
                .next(format!("kubectl dbmig history {from} -n {}", run.namespace))),
            None => Err(refused("the migration has run, and nothing tells whether the database is where it was before")
                .next(format!("kubectl dbmig doctor {from} -n {}", run.namespace))),
        }
    }

    async fn back(&self, run: &Run) -> Result<String> {
        let own = self.0.job(run);
        let Some(job) = own.of(&run.id).await? else { return Ok("there is no Job".to_owned()) };
        let pods = self.0.pods(run).await?;
        kept_logs::keep(run, &pods).await;
        let had_begun = pods.iter().flat_map(statuses).any(|status| status.name == self.0.spec.container && has_started(status));
        own.remove(&run.cluster, &run.stop, &job).await?;
        let before = run.memory.recall::<Seen>(BEFORE)?.unwrap_or_else(|| Seen::Unread("nobody has asked".to_owned()));
        let stayed = before.has_stayed(&self.0.seen(Around::of(run), None).await);
        if self.0.spec.offline.is_some() && had_begun && stayed != Some(true) {
            // What is stopped around it stays so until the database is where it was: the next undo asks again.
            run.memory.keep(AGAIN, &Ended { why: "it was stopped by undo".to_owned(), ..Ended::default() })?;
            let from = self.0.spec.origin.target();
            return Err(Failure::failed("the migration had begun, and the database is not known to be where it was before")
                .state("the Job is gone; nothing that uses the database was started again")
                .next(format!("kubectl dbmig history {from} -n {}", run.namespace))
                .next(format!(
                    "kubectl dbmig rollback {from} -n {}    # the next undo then starts everything again",
                    run.namespace
                )));
        }
        Ok(match stayed {
            Some(true) => "the Job is gone; the database is where it was".to_owned(),
            Some(false) => "the Job is gone; the database is not where it was: the migration had begun".to_owned(),
            None => "the Job is gone".to_owned(),
        })
    }
}

/// It has run, or runs now.
fn has_started(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}
