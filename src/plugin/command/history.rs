//! `history`: the operations of a namespace, from their records; of a target, the migrations of its database too.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::Context;
use super::doctor::{self, Looked};
use super::session::Session;
use crate::cli::history::Args;
use crate::cluster::kind::TargetRef;
use crate::exit::Exit;
use crate::failure::Result;
use crate::framework::State;
use crate::plan::{Record, StepState, Store};
use crate::ui::human::{age, duration};
use crate::ui::{Report, Table};

/// The operations, oldest first; when a target is named, its migrations and only the operations on it.
///
/// # Errors
/// When the records can't be read. A database that can't be asked is left out with a warning.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    let session = &Session::begin(ctx).await?;
    let target = (!args.target.is_empty()).then(|| args.target.join("/"));
    let target = target.as_deref();
    let store = Store::in_namespace(&session.cluster, &session.cluster.namespace);
    let mut operations = store.list(None).await?;
    if let Some(target) = target {
        let wanted = target.strip_prefix("pod/").unwrap_or(target);
        operations.retain(|record| record.target == target || record.target.rsplit('/').next() == Some(wanted));
    }
    if !args.target.is_empty() {
        return of_target(session, &args, operations).await;
    }
    if operations.is_empty() {
        session.ui.say(&format!("No operations found in {} namespace.", session.cluster.namespace));
    }
    session.ui.print(&History { items: operations })?;
    Ok(Exit::Done)
}

async fn of_target(session: &Session, args: &Args, operations: Vec<Record>) -> Result<Exit> {
    let asked = TargetRef::parse(&args.target)?;
    let mut hindrances = Vec::new();
    let databases = doctor::look(session, &asked, &args.look, "", &mut hindrances).await?;
    // What is wrong is `doctor`'s to say; here only what is missing from the list.
    let reached = databases.iter().any(|database| database.reached);
    for finding in hindrances.iter().filter(|_| !reached) {
        session.ui.warn(&finding.in_a_line());
    }
    session.ui.print(&Migrations { target: asked.to_string(), databases, operations: History { items: operations } })?;
    Ok(if reached { Exit::Done } else { Exit::Attention })
}

/// One record.
///
/// # Errors
/// `Usage` when there is none of that id.
pub(super) async fn load(session: &Session, id: &str) -> Result<Record> {
    Store::in_namespace(&session.cluster, &session.cluster.namespace).load(id).await
}

/// Migrations of a target's databases, and the operations on it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Migrations {
    target: String,
    databases: Vec<Looked>,
    #[serde(flatten)]
    operations: History,
}

impl Report for Migrations {
    fn kind(&self) -> &'static str {
        "MigrationList"
    }

    fn table(&self, wide: bool) -> Table {
        let mut head = vec!["STATE", "MIGRATION", "AT", "TOOK"];
        if wide {
            head.extend(["NAME", "CHECKSUM", "FRAMEWORK", "DATABASE"]);
        }
        let width = head.len();
        let mut rows = Vec::new();
        for database in &self.databases {
            for state in &database.states {
                rows.extend(of_state(state, &database.location));
            }
        }
        rows.extend(self.operations.items.iter().map(as_migration));
        Table::new(head).rows(rows.into_iter().map(|mut row| {
            row.truncate(width);
            row
        }))
    }

    fn names(&self) -> Vec<String> {
        let states = self.databases.iter().flat_map(|database| &database.states);
        states.flat_map(|state| state.applied.iter().map(|applied| applied.id.clone())).chain(self.operations.names()).collect()
    }
}

/// The migrations in order: applied, the one that failed, those to come.
fn of_state(state: &State, location: &str) -> Vec<Vec<String>> {
    let row = |word: &str, id: &str, at: String, took: String, name: String, checksum: String| {
        vec![word.to_owned(), id.to_owned(), at, took, name, checksum, state.framework.to_string(), location.to_owned()]
    };
    let none = String::new;
    let failed = |id: &str| state.failed.iter().any(|failed| failed.id == id);
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut rows = Vec::new();
    for one in state.applied.iter().filter(|one| !failed(&one.id)) {
        let took = one.duration_ms.map_or_else(none, |ms| duration(Duration::from_millis(ms)));
        rows.push(row("applied", &one.id, text(&one.at), took, text(&one.name), text(&one.checksum)));
    }
    for one in &state.failed {
        rows.push(row("failed", &one.id, none(), none(), one.how.clone(), none()));
    }
    for one in state.pending.iter().flatten() {
        rows.push(row("pending", &one.id, none(), none(), one.name.clone(), none()));
    }
    rows
}

fn as_migration(record: &Record) -> Vec<String> {
    let took = record.updated.duration_since(record.created).unsigned_abs();
    let at = record.created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let none = String::new;
    let message = record.message.clone();
    vec![
        record.phase.as_str().to_owned(),
        format!("operation/{}", record.id),
        at,
        duration(took),
        message,
        none(),
        none(),
        none(),
    ]
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
