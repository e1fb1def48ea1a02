//! The helper pod and the volumes apart: made before the work, removed after it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::examine::Examined;
use super::super::space::{KeepOld, Place, Room};
use super::{Apart, Desk, EXAMINED, KEEP_APART, KEPT, NEW_HERE};
use crate::cluster::bare_pod;
use crate::cluster::claim::{self, Wanted};
use crate::cluster::helper::Helper;
use crate::cluster::volume::Source;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};
use async_trait::async_trait;

/// Brings the helper pod up and our binary into it.
pub(super) struct Prepare(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Prepare {
    fn id(&self) -> &'static str {
        "helper"
    }

    fn title(&self) -> String {
        format!("prepare the helper pod/{}", self.0.spec.helper.name)
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo) // Bringing up what is up is cheap, and every later step needs it in this process.
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let agent = self.0.agent(run).await?;
        Ok(format!("runs as user {}", agent.hello.uid))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        self.0.remove_helper(run).await?;
        Ok(String::new())
    }
}

/// Makes a PersistentVolumeClaim for what does not fit on the database's volume.
pub(super) struct Scratch(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Scratch {
    fn id(&self) -> &'static str {
        "scratch-volume"
    }

    fn title(&self) -> String {
        "make a scratch volume".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if self.0.apart(run.memory.recall(EXAMINED)?.as_ref()).is_empty() { Look::NotNeeded } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let examined: Examined = run.memory.need(EXAMINED)?;
        let (mut made, mut claims) = (Vec::new(), BTreeMap::new());
        for apart in self.0.apart(Some(&examined)) {
            if let Place::Claim { class } = &apart.place {
                made.push(make_claim(run, class.as_deref(), &apart).await?);
                claims.insert(apart.volume.to_owned(), Source::Claim(apart.claim));
            }
        }
        self.0.hand_over(run, claims).await?;
        // A claim that nobody provides a volume for keeps the helper from starting: better now than with writers stopped.
        self.0.agent_again(run).await.map_err(Failure::take_back)?;
        Ok(made.join(", "))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        for pod in [&claim::usher(&self.0.spec.helper), &self.0.spec.helper] {
            pod.delete(&run.cluster).await?;
        }
        let mut said = Vec::new();
        // Only what was decided on: a user without rights on claims has none.
        for apart in self.0.apart(run.memory.recall(EXAMINED)?.as_ref()) {
            if !matches!(apart.place, Place::Claim { .. }) {
                continue;
            }
            said.push(if apart.volume == KEPT && run.memory.recall::<bool>(KEEP_APART)?.is_some() {
                format!("persistentvolumeclaim/{} stays: it holds what was written since", apart.claim)
            } else {
                remove_claim(run, &apart.claim).await?
            });
        }
        said.retain(|line| !line.is_empty());
        Ok(said.join(", "))
    }
}

async fn make_claim(run: &Run, class: Option<&str>, apart: &Apart) -> Result<String> {
    let (name, size) = (&apart.claim, claim::size_for(apart.bytes));
    let wanted = Wanted { name, operation: &run.id, class, size: &size, backup_of: None };
    let made = claim::ensure(&run.cluster, &run.namespace, &wanted).await.map_err(Failure::take_back)?;
    Ok(format!("persistentvolumeclaim/{name}{}", if made { format!(", {size}") } else { " is there".to_owned() }))
}

/// Removes the helper pod and what else the operation has left in the cluster.
pub(super) struct CleanUp(pub(super) Arc<Desk>);

#[async_trait]
impl Step for CleanUp {
    fn id(&self) -> &'static str {
        "clean-up"
    }

    fn title(&self) -> String {
        "remove the helper pod".to_owned()
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        self.0.remove_helper(run).await?;
        self.0.forget_here(run, NEW_HERE).await?;
        let Some(examined) = run.memory.recall::<Examined>(EXAMINED)? else { return Ok(String::new()) };
        if matches!(examined.room, Room::Scratch(Place::Claim { .. })) {
            remove_claim(run, &self.0.spec.helper.name).await?;
        }
        Ok(match examined.keep_old {
            KeepOld::At(Place::Claim { .. }) => {
                format!(
                    "the old file stays on persistentvolumeclaim/{}: delete it when undo is not wanted any more",
                    self.0.kept_claim()
                )
            }
            KeepOld::At(Place::Local) => format!("the old file stays in {}", self.0.old_here(run)?),
            KeepOld::At(Place::Node) | KeepOld::Beside | KeepOld::No => String::new(),
        })
    }
}

impl Desk {
    /// Gives new volumes to whoever the helper is.
    async fn hand_over(&self, run: &Run, claims: BTreeMap<String, Source>) -> Result<()> {
        let helper = Helper { node: self.node(run).await?, ..self.spec.helper.clone() };
        claim::hand_over(&run.cluster, &run.stop, &helper, claims).await.map_err(Failure::take_back)
    }

    /// Removes the helper pod, and the saved spec of a bare pod, which runs again by now.
    async fn remove_helper(&self, run: &Run) -> Result<()> {
        self.spec.helper.delete(&run.cluster).await?;
        if self.spec.workload.kind == crate::cluster::workload::Kind::Pod {
            bare_pod::forget(&run.cluster, &run.namespace, &run.id).await?;
        }
        Ok(())
    }
}

async fn remove_claim(run: &Run, name: &str) -> Result<String> {
    let was_there = claim::remove(&run.cluster, &run.namespace, name).await?;
    Ok(if was_there { format!("persistentvolumeclaim/{name} removed") } else { String::new() })
}
