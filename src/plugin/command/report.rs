//! How an operation's end is told.

use serde::{Deserialize, Serialize};

use super::session::Session;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::plan::{ATTENTION, FAILED, KEPT, Memory, Phase, Record, Report as Ended};
use crate::ui::{Report, Table};

/// Tells the end and gives the exit code.
pub(super) fn conclude(session: &Session, ended: &Ended) -> Exit {
    let record = &ended.record;
    let failed =
        Memory::new(record.memory.clone()).recall::<Told>(FAILED).ok().flatten().filter(|_| record.phase == Phase::Failed);
    match record.phase {
        Phase::Undone => session.ui.say(&format!("{} taken back", record.id)),
        Phase::Failed => {}
        _ => session.ui.say(&format!("{} done", record.id)),
    }
    let kept: Vec<String> = Memory::new(record.memory.clone()).recall(KEPT).ok().flatten().unwrap_or_default();
    kept.iter().for_each(|line| session.ui.say(line));
    let attention = record.memory.get(ATTENTION).and_then(|value| value.as_str());
    if let Some(attention) = attention {
        session.ui.warn(attention);
    }
    if session.ui.is_machine()
        && let Err(failure) = session.ui.print(&Outcome { operation: record.clone() })
    {
        session.ui.fail(&failure);
        return Exit::Failed;
    }
    if let Some(told) = failed {
        session.ui.fail(&told.into());
        return Exit::Failed;
    }
    if attention.is_some() && record.phase == Phase::Done { Exit::Attention } else { Exit::Done }
}

/// What a failure says, as a record keeps it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Told {
    message: String,
    facts: Vec<String>,
    state: Option<String>,
    next: Vec<String>,
}

impl From<Failure> for Told {
    fn from(failure: Failure) -> Self {
        let Failure { message, facts, state, next, .. } = failure;
        Self { message, facts, state, next }
    }
}

impl From<Told> for Failure {
    fn from(told: Told) -> Self {
        let Told { message, facts, state, next } = told;
        let failure = Failure { state, ..Self::failed(message).facts(facts) };
        next.into_iter().fold(failure, Self::next)
    }
}

/// An operation that has ended, for `-o json`.
#[derive(Debug, Serialize)]
struct Outcome {
    #[serde(flatten)]
    operation: Record,
}

impl Report for Outcome {
    fn kind(&self) -> &'static str {
        "Operation"
    }

    fn table(&self, _wide: bool) -> Table {
        Table::new(["ID", "PHASE"]).row([self.operation.id.clone(), self.operation.phase.as_str().to_owned()])
    }

    fn names(&self) -> Vec<String> {
        vec![format!("operation/{}", self.operation.id)]
    }
}
