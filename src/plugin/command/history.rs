//! `history`: the operations of a namespace, from their records.

use jiff::Timestamp;
use serde::Serialize;

use super::Context;
use super::session::Session;
use crate::cli::history::Args;
use crate::exit::Exit;
use crate::failure::Result;
use crate::plan::{Record, StepState, Store};
use crate::ui::human::age;
use crate::ui::{Report, Table};

/// The operations, oldest first; only those on one target when it is named.
///
/// # Errors
/// When the records can't be read.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    let session = &Session::begin(ctx).await?;
    let target = (!args.target.is_empty()).then(|| args.target.join("/"));
    let target = target.as_deref();
    let store = Store::new(session.cluster.client.clone(), &session.cluster.namespace, "");
    let mut operations = store.list(None).await?;
    if let Some(target) = target {
        let wanted = target.strip_prefix("pod/").unwrap_or(target);
        operations.retain(|record| record.target == target || record.target.rsplit('/').next() == Some(wanted));
    }
    if operations.is_empty() {
        session.ui.say(&format!("No operations found in {} namespace.", session.cluster.namespace));
    }
    session.ui.print(&History { items: operations })?;
    Ok(Exit::Done)
}

/// One record.
///
/// # Errors
/// `Usage` when there is none of that id.
pub(super) async fn load(session: &Session, id: &str) -> Result<Record> {
    Store::new(session.cluster.client.clone(), &session.cluster.namespace, "").load(id).await
}

/// A list of operations.
#[derive(Debug, Serialize)]
struct History {
    items: Vec<Record>,
}

impl Report for History {
    fn kind(&self) -> &'static str {
        "OperationList"
    }

    fn table(&self, wide: bool) -> Table {
        let mut head = vec!["ID", "COMMAND", "TARGET", "PHASE", "STEPS", "AGE"];
        if wide {
            head.extend(["BY", "FROM", "VERSION", "MESSAGE"]);
        }
        let now = Timestamp::now();
        Table::new(head).rows(self.items.iter().map(|record| row(record, wide, now)))
    }

    fn names(&self) -> Vec<String> {
        self.items.iter().map(|record| format!("operation/{}", record.id)).collect()
    }
}

fn row(record: &Record, wide: bool, now: Timestamp) -> Vec<String> {
    let done = record.steps.iter().filter(|step| step.state == StepState::Done).count();
    let mut row = vec![
        record.id.clone(),
        record.command.clone(),
        record.target.clone(),
        record.phase.as_str().to_owned(),
        format!("{done}/{}", record.steps.len()),
        age(Some(record.created), now),
    ];
    if wide {
        row.extend([record.by.clone(), record.from.clone(), record.version.clone(), record.message.clone()]);
    }
    row
}
