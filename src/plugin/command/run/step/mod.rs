//! The steps of a run: ask the books, create the Job, follow it to its end, ask the books again, end what is left of its pod.

mod create;
mod finish;
mod follow;

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use self::create::Create;
use self::finish::Finish;
use self::follow::Follow;
use super::backup::{BackUp, Prepare};
use super::desk::{Around, Desk, Shared};
use super::offline::{Fetch, Images, Offline, Ready, Sessions, StartAgain, StopUsers};
use super::outcome::{Ended, Outcome, Seen, Words, judge};
use crate::cluster::error::Context as _;
use crate::cluster::job::owned_by;
use crate::command::report::Told;
use crate::failure::Result;
use crate::plan::{ATTENTION, FAILED, KEPT, Look, Run, Step};

/// Name in the memory of what the books said before.
const BEFORE: &str = "before";
/// Name in the memory of how the container ended.
const ENDED: &str = "ended";
/// Name in the memory of what the books said after.
pub(super) const AFTER: &str = "after";

/// Name in the memory of how the container ended that failed while everything else was stopped: `resume` tries once more.
pub(super) const AGAIN: &str = "again";

/// All steps in order.
pub(in crate::command) fn steps(desk: &Arc<Desk>) -> Vec<Box<dyn Step>> {
    let mut steps: Vec<Box<dyn Step>> = vec![Box::new(Ask(desk.clone()))];
    let new_image = desk.spec.image.clone().filter(|_| desk.spec.offline.as_ref().is_some_and(Offline::changes_images));
    if let Some(image) = new_image.clone() {
        steps.push(Box::new(Fetch(desk.clone(), image)));
    }
    if let Some(backup) = desk.spec.backup.as_ref().filter(|backup| backup.fills_a_claim()) {
        steps.push(Box::new(Prepare(desk.clone(), backup.clone())));
    }
    if let Some(offline) = &desk.spec.offline {
        steps.push(Box::new(StopUsers(desk.clone(), offline.clone())));
        steps.push(Box::new(Sessions(desk.clone())));
    }
    if let Some(backup) = &desk.spec.backup {
        steps.push(Box::new(BackUp(desk.clone(), backup.clone())));
    }
    steps.push(Box::new(Create(desk.clone())));
    steps.push(Box::new(Follow(desk.clone())));
    steps.push(Box::new(Judge(desk.clone())));
    steps.push(Box::new(Finish(desk.clone())));
    if let Some(offline) = &desk.spec.offline {
        steps.extend(new_image.map(|image| -> Box<dyn Step> { Box::new(Images(offline.clone(), image)) }));
        steps.push(Box::new(StartAgain(desk.clone(), offline.clone())));
        steps.push(Box::new(Ready(desk.clone(), offline.clone())));
    }
    steps
}

/// The migration has run, and what came of it is known.
pub(super) fn is_judged(run: &Run) -> Result<bool> {
    Ok(run.memory.recall::<Seen>(AFTER)?.is_some())
}

/// Asks the books before anything is run.
struct Ask(Shared);

#[async_trait]
impl Step for Ask {
    fn id(&self) -> &'static str {
        "ask-before"
    }

    fn title(&self) -> String {
        match &self.0.spec.books {
            Some(books) => format!("read the bookkeeping tables of {}", books.location),
            None => "read the database's bookkeeping tables".to_owned(),
        }
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if run.memory.recall::<Seen>(BEFORE)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let seen = self.0.seen(Around::of(run), None).await;
        let summary = in_words(&seen);
        run.memory.keep(BEFORE, &seen)?;
        Ok(summary)
    }
}

fn in_words(seen: &Seen) -> String {
    match seen {
        Seen::Read(marks) if marks.is_empty() => "no migration framework was recognised".to_owned(),
        Seen::Read(marks) => marks.iter().map(super::outcome::Mark::in_words).collect::<Vec<_>>().join("; "),
        Seen::Unread(why) => format!("not asked: {why}"),
    }
}

/// Asks the books again, and says what came of it.
struct Judge(Shared);

#[async_trait]
impl Step for Judge {
    fn id(&self) -> &'static str {
        "judge"
    }

    fn title(&self) -> String {
        "judge by the container's exit code and the bookkeeping tables".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if is_judged(run)? { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        let (before, ended): (Seen, Ended) = (run.memory.need(BEFORE)?, run.memory.need(ENDED)?);
        let pods = self.0.pods(run).await?;
        let after = self.0.seen(Around::of(run), pods.last()).await;
        let from = spec.origin.target();
        let words = Words {
            job: &spec.job,
            container: &spec.container,
            id: &run.id,
            namespace: &run.namespace,
            from: &from,
            way: &spec.way,
        };
        let outcome = judge(&ended, &before, &after, &words);
        let summary = match outcome {
            Outcome::Well { summary, doubt } => {
                if let Some(doubt) = doubt {
                    run.memory.keep(ATTENTION, &doubt)?;
                }
                summary
            }
            Outcome::Failed(failure) if spec.offline.is_some() => {
                run.memory.forget(ENDED);
                run.memory.keep(AGAIN, &ended)?;
                let (from, namespace) = (spec.origin.target(), &run.namespace);
                let kept: Vec<String> = run.memory.recall(KEPT)?.unwrap_or_default();
                return Err(failure
                    .facts(kept)
                    .fact("everything that uses the database is still stopped")
                    .next(format!("kubectl dbmig rollback {from} -n {namespace}    # where the database is not where it was: first this, then undo")));
            }
            Outcome::Failed(failure) => {
                run.memory.keep(FAILED, &Told::from(failure))?;
                format!("failed: {}", ended.in_words())
            }
        };
        run.memory.keep(AFTER, &after)?;
        Ok(summary)
    }
}

impl Desk {
    /// The pods of the Job, oldest first.
    async fn pods(&self, run: &Run) -> Result<Vec<Pod>> {
        let Some(job) = self.job(run).of(&run.id).await? else { return Ok(Vec::new()) };
        let api: Api<Pod> = Api::namespaced(run.cluster.client.clone(), &run.namespace);
        let labels = ListParams::default().labels(&format!("job-name={}", self.spec.job));
        let mut pods = api.list(&labels).await.doing(format!("list the pods of job/{}", self.spec.job))?.items;
        let uid = job.uid().unwrap_or_default();
        pods.retain(|pod| owned_by(pod, &uid));
        pods.sort_by_key(|pod| pod.creation_timestamp().map(|time| time.0));
        Ok(pods)
    }
}
