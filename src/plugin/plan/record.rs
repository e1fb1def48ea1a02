//! The state of an operation, as it is kept in the cluster.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::failure::{Failure, Result};

/// One run of a command that changes something: all that `resume` and `undo` need, on any machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Unique in its namespace: `vacuum-x7k2p`.
    pub id: String,
    /// The command: `vacuum`.
    pub command: String,
    /// Namespace it works in.
    pub namespace: String,
    /// What the user named, kubectl style: `pod/upmeter-0`.
    pub target: String,
    /// Name of the Lease that guards the target.
    pub lock: String,
    /// Who started it, as the API server knows the user; where from.
    pub by: String,
    /// Host name of the machine it was started on.
    pub from: String,
    /// Version of kubectl-dbmig that wrote it.
    pub version: String,
    /// When it was started.
    pub created: Timestamp,
    /// When it was last written.
    pub updated: Timestamp,
    /// Where it stands.
    pub phase: Phase,
    /// Why it stopped, or what came of it; one line.
    pub message: String,
    /// What was decided before the first step; the command knows its shape.
    pub spec: Value,
    /// The steps in order.
    pub steps: Vec<StepRecord>,
    /// What the steps remember.
    pub memory: Map<String, Value>,
}

impl Record {
    /// What was decided before the first step, in the shape of its command.
    ///
    /// # Errors
    /// The record comes from another version.
    pub fn spec<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_value(self.spec.clone()).map_err(|error| {
            Failure::failed(format!("the operation's record can't be read by this version of kubectl-dbmig: {error}"))
        })
    }

    /// The step that was begun last and is not over, with its index, as long as the operation is not.
    #[must_use]
    pub fn at(&self) -> Option<(usize, &StepRecord)> {
        let begun = self.steps.iter().enumerate().rev().find(|(_, step)| step.state == StepState::Started);
        begun.filter(|_| !self.phase.is_over())
    }
}

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Being carried out, or its process is gone without a word.
    Running,
    /// Stopped half-way: `resume` or `undo`.
    Stopped,
    /// Being taken back, or the process that did so is gone.
    Undoing,
    /// Carried out.
    Done,
    /// Carried out, but what it ran did not go well; the message says how.
    Failed,
    /// Taken back; things are as before.
    Undone,
}

impl Phase {
    /// Nothing more will happen unless somebody asks for `undo`.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Undone)
    }

    /// As shown to people and in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Undoing => "undoing",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Undone => "undone",
        }
    }
}

/// A step in a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    /// [`super::Step::id`].
    pub id: String,
    /// [`super::Step::title`].
    pub title: String,
    /// Where it stands.
    pub state: StepState,
    /// What came of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// When it was last begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
}

/// Where a step stands. `Started` is written before the step acts, so it also means "perhaps done".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum StepState {
    Pending,
    Started,
    Done,
    Undone,
}

impl StepRecord {
    /// A step that has not begun.
    #[must_use]
    pub fn pending(id: &str, title: String) -> Self {
        Self { id: id.to_owned(), title, state: StepState::Pending, summary: String::new(), started: None, ended: None }
    }
}
