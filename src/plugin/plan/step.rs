//! What a plan is made of.

use async_trait::async_trait;

use super::{Lease, Memory};
use crate::cluster::Cluster;
use crate::event::Events;
use crate::failure::Result;
use crate::shutdown::Stop;

/// What a step has at hand while it runs.
pub struct Run {
    /// The API server.
    pub cluster: Cluster,
    /// Namespace of the operation.
    pub namespace: String,
    /// Id of the operation.
    pub id: String,
    /// What steps remember across processes; part of the record.
    pub memory: Memory,
    /// Where progress is told.
    pub events: Events,
    /// Whether the user asked to stop.
    pub stop: Stop,
    /// The lock on the target.
    pub lease: Lease,
}

/// What a step sees before it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It is done already, by an earlier run or by somebody else.
    Done,
    /// It has to be done.
    Todo,
    /// What was decided makes it superfluous: it is passed over without a word.
    NotNeeded,
}

/// One step of a plan.
///
/// Each method may be called again after a crash at any point of the previous call, from another machine: it looks
/// before it acts; the engine proves the Lease right before. A failure marked [`crate::failure::Failure::take_back`] makes the engine undo the whole plan;
/// any other leaves it where it is, for `resume` or `undo`.
#[async_trait]
pub trait Step: Send + Sync {
    /// Stable name, kept in records.
    fn id(&self) -> &'static str;

    /// What it does, in the imperative, for the plan that is shown and for progress.
    fn title(&self) -> String;

    /// Whether the whole plan is to be taken back when the user asks to stop before this step: somebody waits for what it holds up.
    fn stop_takes_back(&self) -> bool {
        false
    }

    /// Looks whether there is anything to do. Changes nothing.
    async fn look(&self, run: &Run) -> Result<Look>;

    /// Does it. Returns one line about what came of it; may be empty.
    async fn act(&self, run: &Run) -> Result<String>;

    /// Says no when [`Step::back`] could not keep its promise, before anything is taken back. Changes nothing.
    async fn can_go_back(&self, _run: &Run) -> Result<()> {
        Ok(())
    }

    /// Takes it back, whether it had been done in part or in whole. Returns one line about what came of it; may be empty.
    async fn back(&self, _run: &Run) -> Result<String> {
        Ok(String::new())
    }
}
