//! The steps of a vacuum, one file per group; each looks before it acts and can be called again after any crash.

mod build;
mod helper;
mod local;
mod ready;
mod swap;
mod writers;

use std::sync::Arc;
use std::time::Duration;

use dbmig_wire as wire;
use tokio::sync::Mutex;

use super::examine::Examined;
use super::space::{KeepOld, Place, Room};
use super::spec::Spec;
use crate::cluster::agent::{Agent, AskError};
use crate::cluster::claim;
use crate::cluster::helper::Helper;
use crate::cluster::seat::agent_in;
use crate::cluster::volume::{Source, users};
use crate::failure::Result;
use crate::plan::{Run, Step};

/// Name in the memory of what was examined after writers were stopped.
const EXAMINED: &str = "examined";
/// Name in the memory of what the rebuild kept.
const REBUILT: &str = "rebuilt";
/// Name in the memory of the new file's proof.
const PROOF: &str = "proof";
/// Name in the memory of the proof of the old file's copy.
const OLD_COPY: &str = "oldCopy";
/// Name in the memory of the new file's copy on the user's machine.
const NEW_HERE: &str = "newHere";
/// Name in the memory of the old file's copy on the user's machine.
const OLD_HERE: &str = "oldHere";
/// Name in the memory that says that the new file is in place.
const SWAPPED: &str = "swapped";
/// Name in the memory that says that what is kept apart holds rows that the database does not have.
const KEEP_APART: &str = "keepApart";
/// Name in the memory of what an undo set aside and why, in words.
const ASIDE: &str = "aside";
/// Name in the memory of what an undo set aside on the user's machine.
const ASIDE_HERE: &str = "asideHere";
/// Name in the memory of the uid of a bare pod that was created again.
const POD_AGAIN: &str = "podAgain";
/// The volume in the helper pod where the new file is built, when that is not beside the old one.
const SCRATCH: &str = "dbmig-scratch";
/// The volume in the helper pod where the old file is kept, when that is not beside the new one.
const KEPT: &str = "dbmig-kept";

/// What the steps share: the spec, and the helper once it is up.
pub(super) struct Desk {
    spec: Spec,
    agent: Mutex<Option<Agent>>,
}

impl Desk {
    /// The agent beside the volumes that the decisions so far call for; in a new helper pod when the one before is gone.
    async fn agent(&self, run: &Run) -> Result<Agent> {
        let mut agent = self.agent.lock().await;
        if let Some(agent) = agent.as_ref()
            && agent.is_there().await?
        {
            return Ok(agent.clone());
        }
        Ok(agent.insert(self.bring_up(run).await?).clone())
    }

    /// Whatever a plugin that was killed has left at work on the database must not go on with it once that is taken back.
    async fn end_earlier_work(&self, agent: &Agent, jobs: &[&str]) -> Result<()> {
        let failed = |error: AskError| error.into_failure("end what was left at work on the database");
        for job in jobs {
            agent.end_job(job).await.map_err(failed)?;
        }
        agent.ask(wire::Alone { database: self.spec.database() }, None).await.map_err(failed)
    }

    /// The agent in a helper pod that has every volume which is needed from now on.
    async fn agent_again(&self, run: &Run) -> Result<Agent> {
        self.agent.lock().await.take();
        self.agent(run).await
    }

    async fn bring_up(&self, run: &Run) -> Result<Agent> {
        let mut helper = self.helper(run).await?;
        helper.node = self.node(run).await?;
        let agent = agent_in(&run.cluster, &run.stop, &helper, &self.spec.arch).await?;
        agent.arrival.iter().for_each(|event| run.events.tell(event.clone()));
        Ok(agent)
    }

    /// The node where the volume is in use now; a claim that nobody uses may go wherever the scheduler finds it.
    async fn node(&self, run: &Run) -> Result<Option<String>> {
        let users = users(&run.cluster, &run.namespace, &self.spec.mount.source).await?;
        let in_use = users.into_iter().find_map(|pod| pod.spec.and_then(|spec| spec.node_name));
        let anywhere = matches!(self.spec.mount.source, Source::Claim(_));
        Ok(in_use.or_else(|| if anywhere { None } else { self.spec.helper.node.clone() }))
    }

    /// The helper pod, with the volumes apart that were decided on. A claim that is not made yet, or gone again, would
    /// keep the pod from starting.
    async fn helper(&self, run: &Run) -> Result<Helper> {
        let mut helper = self.spec.helper.clone();
        for apart in self.apart(run.memory.recall(EXAMINED)?.as_ref()) {
            let source = match apart.place {
                Place::Claim { .. } if !claim::is_there(&run.cluster, &run.namespace, &apart.claim).await? => continue,
                Place::Claim { .. } => Source::Claim(apart.claim),
                // What is kept on the user's machine is worked on here.
                Place::Node | Place::Local => Source::WithPod("emptyDir".to_owned()),
            };
            helper.volumes.insert(apart.volume.to_owned(), source);
            helper.identity.groups.extend(self.spec.helper.identity.group_of_new_volumes());
        }
        Ok(helper)
    }

    /// The volumes apart that a decision needs: one for the new file, one for the old.
    fn apart(&self, examined: Option<&Examined>) -> Vec<Apart> {
        let Some(examined) = examined else { return Vec::new() };
        let mut needed = Vec::new();
        if let Room::Scratch(place) = &examined.room {
            let (place, claim) = (place.clone(), self.spec.helper.name.clone());
            needed.push(Apart { volume: SCRATCH, place, claim, bytes: examined.expected_bytes });
        }
        if let KeepOld::At(place) = &examined.keep_old {
            // An undo sets the new file aside there, and it may have grown.
            let bytes = examined.bytes + 2 * examined.expected_bytes;
            needed.push(Apart { volume: KEPT, place: place.clone(), claim: self.kept_claim(), bytes });
        }
        needed
    }

    /// Name of the claim for the old file.
    fn kept_claim(&self) -> String {
        format!("{}-old", self.spec.helper.name)
    }

    /// Path of the new file while it is built.
    fn new_file(&self, examined: &Examined) -> String {
        match examined.room {
            Room::Scratch(_) => {
                Helper::path(SCRATCH, &format!("{}.dbmig-{}.new", file_name(&self.spec.inside), self.spec.helper.operation))
            }
            Room::Beside | Room::BesideAfterPunching => self.spec.beside("new"),
        }
    }

    /// Path of the old file's copy.
    fn old_copy(&self) -> String {
        Helper::path(KEPT, &format!("{}.dbmig-{}.old", file_name(&self.spec.inside), self.spec.helper.operation))
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.spec.wishes.timeout_seconds)
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A volume of the helper pod apart from the database's.
struct Apart {
    /// Its name in the pod.
    volume: &'static str,
    /// What it is.
    place: Place,
    /// Name of the claim, if it is one.
    claim: String,
    /// What it must hold, in bytes.
    bytes: u64,
}

/// All steps in order.
pub(super) fn steps(spec: &Spec) -> Vec<Box<dyn Step>> {
    let desk = Arc::new(Desk { spec: spec.clone(), agent: Mutex::new(None) });
    vec![
        Box::new(helper::Prepare(desk.clone())),
        Box::new(writers::Stop(desk.clone())),
        Box::new(build::Settle(desk.clone())),
        Box::new(build::Examine(desk.clone())),
        Box::new(helper::Scratch(desk.clone())),
        Box::new(build::Punch(desk.clone())),
        Box::new(build::Rebuild(desk.clone())),
        Box::new(build::Verify(desk.clone())),
        Box::new(swap::CopyOld(desk.clone())),
        Box::new(swap::Swap(desk.clone())),
        Box::new(writers::Start(desk.clone())),
        Box::new(ready::Await(desk.clone())),
        Box::new(swap::DropOld(desk.clone())),
        Box::new(helper::CleanUp(desk)),
    ]
}
