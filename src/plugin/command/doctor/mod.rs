//! `doctor`: everything that can be known of a migration that does not go through, as findings with the next command. Reads only.

mod blocked;
mod databases;
mod surroundings;

use serde::Serialize;

pub(super) use self::databases::{Looked, look};
use super::Context;
use super::session::Session;
use super::status;
use crate::cli::doctor::Args;
use crate::cluster::kind::{Kind, TargetRef};
use crate::exit::Exit;
use crate::failure::Result;
use crate::framework::{Finding, Level};
use crate::observe::Facts;
use crate::ui::human::harmless;
use crate::ui::{Report, Table};

/// Looks at the workload, its logs and events, and at its database, and says what is wrong, worst first.
///
/// # Errors
/// Nothing of that name, or the server does not answer. A database that can't be reached is a finding.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    let session = &Session::begin(ctx).await?;
    let observer = status::look(session, &args.scope).await?;
    let facts = observer.facts();
    let mut findings = session.stop.interruptible(surroundings::look(&session.cluster, facts)).await?;
    let asked = pod_to_ask(&args, facts)?;
    let databases = match &asked {
        Some(asked) => look(session, asked, &args.look, &mut findings).await?,
        None => Vec::new(),
    };
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let named = named(&args, asked.as_ref(), facts);
    for next in findings.iter_mut().flat_map(|finding| &mut finding.next) {
        *next = next.replace("TARGET", &named);
    }
    let report = Diagnosis { target: facts.scope().title.clone(), findings, databases };
    show(session, &report)?;
    let attention = report.findings.iter().any(|finding| finding.level > Level::Note);
    Ok(if attention { Exit::Attention } else { Exit::Done })
}

/// The pod whose database is looked at: what was named, else the one pod that there is. Where many things are looked at, none.
fn pod_to_ask(args: &Args, facts: &Facts) -> Result<Option<TargetRef>> {
    if args.scope.all_namespaces || args.scope.selector.is_some() {
        return Ok(None);
    }
    let pods = facts.pod_rows();
    let is_operation =
        matches!(args.scope.target.as_slice(), [one] if !one.contains('/') && pods.iter().all(|pod| pod.name != *one));
    if !args.scope.target.is_empty() && !is_operation {
        return TargetRef::parse(&args.scope.target).map(Some);
    }
    Ok(pods.last().map(|pod| TargetRef { kind: Kind::Pod, name: pod.name.clone() }))
}

/// What stands for the target in commands to copy.
fn named(args: &Args, asked: Option<&TargetRef>, facts: &Facts) -> String {
    let name = match (args.scope.target.is_empty(), asked) {
        (false, _) => args.scope.target.join("/"),
        (true, Some(asked)) => asked.to_string(),
        (true, None) => facts.scope().title.clone(),
    };
    match &facts.scope().namespace {
        Some(namespace) => format!("{name} -n {namespace}"),
        None => name,
    }
}

fn show(session: &Session, report: &Diagnosis) -> Result<()> {
    if session.ui.is_machine() {
        return session.ui.print(report);
    }
    let mut text = String::new();
    for database in &report.databases {
        text += &format!("{} ({})\n", harmless(&database.location), harmless(&database.from));
        for state in &database.states {
            text += &format!("  {}, in {}\n", harmless(&state.in_words()), harmless(&state.table.to_string()));
        }
        for note in &database.files {
            text += &format!("  {}\n", harmless(note));
        }
        if database.reached && database.states.is_empty() {
            text += "  no bookkeeping table of a migration framework was recognised\n";
        }
    }
    if !report.databases.is_empty() {
        text.push('\n');
    }
    for finding in &report.findings {
        text += &format!("{}: {}\n", word(finding.level), harmless(&finding.what));
        if let Some(evidence) = &finding.evidence {
            text += &format!("  seen: {}\n", harmless(evidence));
        }
        for next in &finding.next {
            text += &format!("  next: {}\n", harmless(next));
        }
    }
    if report.findings.is_empty() {
        text += "nothing is wrong as far as could be seen\n";
    }
    session.ui.print_text(&text)
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Broken => "broken",
        Level::Attention => "attention",
        Level::Note => "note",
    }
}

/// All that was found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Diagnosis {
    target: String,
    findings: Vec<Finding>,
    databases: Vec<Looked>,
}

impl Report for Diagnosis {
    fn kind(&self) -> &'static str {
        "Diagnosis"
    }

    fn table(&self, _wide: bool) -> Table {
        let row = |finding: &Finding| vec![word(finding.level).to_owned(), finding.what.clone()];
        Table::new(vec!["LEVEL", "FINDING"]).rows(self.findings.iter().map(row))
    }

    fn names(&self) -> Vec<String> {
        self.databases.iter().map(|database| database.location.clone()).collect()
    }
}
