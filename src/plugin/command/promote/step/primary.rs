//! Making the replica's data directory a primary's, by our binary in a pod that has the volume for itself.

use std::sync::Arc;

use async_trait::async_trait;
use dbmig_wire::{ClusterRole, ErrorKind, MakePrimary as Call, MakeStandby};

use super::super::Desk;
use super::prove::{PROOF, Proof};
use crate::cluster::agent::AskError;
use crate::cluster::helm;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};

/// Name in the memory of whether a server has run on the volume as a primary, so that it can't be a replica's any more.
pub(super) const DIVERGED: &str = "diverged";

/// Takes out of the data directory what makes it a standby, so that the next server on it ends recovery by itself.
pub(super) struct MakePrimary(pub(super) Arc<Desk>);

#[async_trait]
impl Step for MakePrimary {
    fn id(&self) -> &'static str {
        "make-primary"
    }

    fn title(&self) -> String {
        format!("make the data directory on persistentvolumeclaim/{} a primary's", self.0.spec.claim)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        // Once there is a release, its server has the volume.
        let is_installed = helm::newest_of(&run.cluster, &self.0.spec.release).await?.is_some();
        Ok(if is_installed { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        self.0.refuse_used(run, &spec.claim).await?;
        let seat = self.0.helper(run).await.map_err(|failure| if failure.passing { failure } else { failure.take_back() })?;
        let call = Call {
            path: self.0.data(),
            operation: run.id.clone(),
            system_identifier: spec.replica.system_identifier.clone(),
            // A snapshot or a clone is a server's that runs: it replays its log as after a crash.
            must_be_clean: false,
        };
        let made = seat.agent.ask(call, Some(&run.events)).await;
        let made = made.map_err(|error| error.into_failure("make the data directory a primary's"))?;
        if made.role != ClusterRole::Recovering {
            return Err(Failure::new(Exit::Unproven, "the data directory is no primary's, whatever was done").take_back());
        }
        self.0.remove_helper(run).await?;
        Ok(format!("PostgreSQL {}, left {}, timeline {}", made.version, made.control.state, made.control.timeline))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        if run.memory.recall::<Proof>(PROOF)?.is_some() {
            run.memory.keep(DIVERGED, &true)?;
            return Ok("a primary has run on it: it stays as it is".to_owned());
        }
        self.0.refuse_used(run, &self.0.spec.claim).await?;
        let seat = self.0.helper(run).await?;
        let call = MakeStandby { path: self.0.data(), operation: run.id.clone() };
        let said = match seat.agent.ask(call, Some(&run.events)).await {
            Ok(_) => {
                run.memory.keep(DIVERGED, &false)?;
                "it is a standby's again".to_owned()
            }
            Err(AskError::Agent(error)) if error.kind == ErrorKind::Changed => {
                run.memory.keep(DIVERGED, &true)?;
                format!("{}: it stays as it is", error.message)
            }
            Err(error) => return Err(error.into_failure("make the data directory a standby's again")),
        };
        self.0.remove_helper(run).await?;
        Ok(said)
    }
}
