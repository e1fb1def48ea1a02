//! The steps of a backup: make room for it and find its tool while nothing is stopped yet; make it, once nobody writes where that was
//! asked for; keep it.

use async_trait::async_trait;
use dbmig_wire::Proof;
use k8s_openapi::api::core::v1::PodSpec;

use super::decide::taken_back;
use super::place::{self, ToolPod};
use super::restore::{Kept, of_snapshot};
use super::{Backup, How, MADE, Made};
use crate::cluster::agent::AskError;
use crate::cluster::claim;
use crate::cluster::helper::Helper;
use crate::cluster::snapshot::{self, Wanted};
use crate::cluster::volume::Mount;
use crate::command::run::desk::{Around, Shared};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{KEPT, Look, Run, Step};

/// Name of the agent's job.
const JOB: &str = "backup";

/// Makes the claim, and brings up what fills it.
pub(in crate::command::run) struct Prepare(pub(in crate::command::run) Shared, pub(in crate::command::run) Backup);

#[async_trait]
impl Step for Prepare {
    fn id(&self) -> &'static str {
        "prepare-backup"
    }

    fn title(&self) -> String {
        format!("make {} for the backup", self.1.object())
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if is_made(run)? { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let said = place::make_claim(run, &self.1).await?;
        match &self.1.how {
            How::Dump { image, .. } => {
                let found = place::with_tool(run, &self.0, &self.1, image).await?;
                Ok(format!("{said}; {} of image {image}", found.tool.program()))
            }
            How::Copy { helper, mount, .. } => {
                place::hand_over(run, helper, &self.1).await?;
                place::in_helper(run, helper, mount, &self.1).await?;
                Ok(said)
            }
            How::Snapshot { .. } => Ok(said),
        }
    }

    async fn back(&self, run: &Run) -> Result<String> {
        place::remove(run, &self.1).await?;
        if is_made(run)? {
            return Ok(format!("{} stays: it is the backup", self.1.object()));
        }
        let was_there = claim::remove(&run.cluster, &run.namespace, &self.1.name).await?;
        Ok(if was_there { format!("{} removed: the backup was not made", self.1.object()) } else { String::new() })
    }
}

/// Makes the backup, and proves it.
pub(in crate::command::run) struct BackUp(pub(in crate::command::run) Shared, pub(in crate::command::run) Backup);

#[async_trait]
impl Step for BackUp {
    fn id(&self) -> &'static str {
        "back-up"
    }

    fn title(&self) -> String {
        format!("back up {}", self.1.of)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if is_made(run)? { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let made = match &self.1.how {
            How::Dump { image, .. } => self.dump(run, image).await?,
            How::Copy { helper, mount, inside, .. } => self.copy(run, helper, mount, inside).await?,
            How::Snapshot { claim } => self.snapshot(run, claim).await?,
        };
        run.memory.keep(MADE, &made)?;
        run.memory.keep(KEPT, &made.lines())?;
        // What this leaves behind when it is killed here is made once more: nothing says yet that it is there.
        place::remove(run, &self.1).await?;
        Ok(made.in_words())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        match (&self.1.how, is_made(run)?) {
            (_, true) => Ok(format!("{} stays", self.1.object())),
            (How::Snapshot { .. }, false) => {
                let was_there = snapshot::remove(&run.cluster, &run.namespace, &self.1.name).await?;
                Ok(if was_there { format!("{} removed: it was not ready", self.1.object()) } else { String::new() })
            }
            (_, false) => Ok(String::new()),
        }
    }
}

impl BackUp {
    async fn dump(&self, run: &Run, image: &str) -> Result<Made> {
        let (desk, backup) = (&self.0, &self.1);
        let ToolPod { agent, tool, .. } = place::with_tool(run, desk, backup, image).await?;
        let server = desk.server(Around::of(run)).await.map_err(Failure::take_back)?;
        let name = format!("{}.{}", file_name(server.database.as_deref().unwrap_or("database"), run), tool.suffix());
        let path = format!("{}/{name}", place::FOLDER);
        let dumped = agent.job(JOB, tool.dump(&server, &path), &run.events, &run.stop).await;
        let proof = dumped.map_err(|error| self.failed(error))?;
        let like: PodSpec = desk.template(&run.cluster).await?.spec.unwrap_or_default();
        let kept = self.kept(run, &name, &proof);
        let restore = kept.of_server(image, &like, &desk.spec.container, &tool.restore(&server, &path));
        Ok(self.made(Some((name, proof)), restore))
    }

    async fn copy(&self, run: &Run, helper: &Helper, mount: &Mount, inside: &str) -> Result<Made> {
        let agent = place::in_helper(run, helper, mount, &self.1).await?;
        let base = inside.rsplit('/').next().unwrap_or(inside);
        let name = format!("{}.sqlite", file_name(base, run));
        let call = dbmig_wire::Backup { database: Helper::path(&mount.volume, inside), to: place::path_in_helper(&name) };
        let proof = agent.job(JOB, call, &run.events, &run.stop).await.map_err(|error| self.failed(error))?;
        let kept = self.kept(run, &name, &proof);
        let restore = kept.of_file(&place::beside(helper, &self.1), mount, inside);
        Ok(self.made(Some((name, proof)), restore))
    }

    async fn snapshot(&self, run: &Run, claim: &str) -> Result<Made> {
        let (backup, class) = (&self.1, self.1.class.as_deref().unwrap_or_default());
        let patience = self.0.spec.patience();
        let wanted = Wanted { name: &backup.name, operation: &run.id, claim, class, backup_of: &backup.of, patience };
        let ready = snapshot::take(&run.cluster, &run.stop, &run.namespace, &wanted).await.map_err(taken_back)?;
        Ok(self.made(None, of_snapshot(backup, &run.namespace, claim, &ready)))
    }

    fn kept<'a>(&'a self, run: &'a Run, name: &'a str, proof: &'a Proof) -> Kept<'a> {
        Kept { backup: &self.1, namespace: &run.namespace, name, proof }
    }

    fn made(&self, file: Option<(String, Proof)>, restore: Vec<String>) -> Made {
        let (name, file) = file.unzip();
        Made { object: self.1.object(), file, name, of: self.1.of.clone(), restore }
    }

    /// Nothing was migrated, so all of it can be taken back; unless it was only stopped, or nobody knows.
    fn failed(&self, error: AskError) -> Failure {
        let is_certain = matches!(error, AskError::Agent(_));
        let failure = error.into_failure(&format!("back up {}", self.1.of));
        let stopped = matches!(failure.exit, Exit::Incomplete | Exit::Interrupted);
        if is_certain && !stopped { failure.take_back() } else { failure }
    }
}

fn is_made(run: &Run) -> Result<bool> {
    Ok(run.memory.recall::<Made>(MADE)?.is_some())
}

/// The name of a file that tells what it is of.
fn file_name(of: &str, run: &Run) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '_' };
    format!("{}-{}", of.chars().map(plain).collect::<String>(), run.id)
}
