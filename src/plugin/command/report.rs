//! How an operation's end is told.

use serde::Serialize;

use super::session::Session;
use crate::exit::Exit;
use crate::plan::{ATTENTION, Phase, Record, Report as Ended};
use crate::ui::{Report, Table};

/// Tells the end and gives the exit code.
pub(super) fn conclude(session: &Session, ended: &Ended) -> Exit {
    let record = &ended.record;
    let word = if record.phase == Phase::Undone { "taken back" } else { "done" };
    session.ui.say(&format!("{} {word}", record.id));
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
    if attention.is_some() && record.phase == Phase::Done { Exit::Attention } else { Exit::Done }
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
