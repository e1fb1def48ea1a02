//! `doctor`: everything that can be known of a migration that does not go through, as findings with the next command. Reads only.

mod blocked;
mod databases;
mod everywhere;
mod surroundings;
mod volumes;

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde::Serialize;

pub(super) use self::databases::{Looked, look};
use super::session::Session;
use super::{Context, status};
use crate::cli::doctor::{Args, LookArgs};
use crate::cluster::kind::{Kind, TargetRef};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::framework::{Finding, Level, State};
use crate::observe::{Facts, PodRow, Pods, Scope, Verdict};
use crate::ui::human::harmless;
use crate::ui::{Report, Table};

/// Databases that are looked at side by side where many migrations are meant.
const AT_ONCE: usize = 4;
/// Pods whose databases are looked at, at the most.
const MOST: usize = 50;

/// Looks at the workload, its logs and events, and at its database, and says what is wrong, worst first.
///
/// # Errors
/// Nothing of that name, or the server does not answer. A database that can't be reached is a finding.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    let session = &Session::begin(ctx).await?;
    let (scopes, left_out) = everywhere::scopes(session, &args.scope).await?;
    let several = scopes.len() > 1;
    let looks = scopes.into_iter().map(|scope| of_scope(session, &args, scope, several));
    let looked: Vec<Diagnosis> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    let target = looked.first().map(|first| first.target.clone()).unwrap_or_default();
    let mut report = Diagnosis { target, findings: left_out.into_iter().collect(), databases: Vec::new() };
    for one in looked {
        report.findings.extend(one.findings);
        report.databases.extend(one.databases);
    }
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    show(session, &report)?;
    let attention = report.findings.iter().any(|finding| finding.level > Level::Note);
    Ok(if attention { Exit::Attention } else { Exit::Done })
}

/// What is found in one scope; its namespace goes in front where there are several.
async fn of_scope(session: &Session, args: &Args, scope: Scope, several: bool) -> Result<Diagnosis> {
    let observer = status::look(session, scope).await?;
    let facts = observer.facts();
    let verdict = Verdict::of(facts);
    let told = verdict.text.clone();
    let around = session.stop.interruptible(surroundings::look(&session.cluster, facts, verdict)).await?;
    let (mut findings, complaints) = around;
    let mut subjects = subjects(args, facts)?;
    let named = named(args, subjects.first(), facts);
    if let [only] = subjects.as_mut_slice() {
        only.named.clone_from(&named);
    }
    findings.extend(left_out(&mut subjects));
    let many = several || subjects.len() > 1;
    if many && args.look.database.clone().named().is_some() {
        return Err(Failure::usage("--database and --database-from are about one target, and several are meant"));
    }
    let looks = subjects.iter().map(|subject| subject.look(session, &args.look, &told, many));
    let looked: Vec<(Vec<Looked>, Vec<Finding>)> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
    let (mut databases, mut within) = (Vec::new(), Vec::new());
    for (of_one, found) in looked {
        databases.extend(of_one);
        within.extend(found);
    }
    let states: Vec<&State> = databases.iter().flat_map(|database: &Looked| &database.states).collect();
    findings.extend(complaints.into_iter().map(|complaint| complaint.beside(&states)));
    if let Some(namespace) = facts.scope().namespace.as_ref().filter(|_| several) {
        findings.iter_mut().for_each(|finding| finding.what = format!("{namespace}: {}", finding.what));
    }
    findings.extend(within);
    point_at(&mut findings, &named);
    Ok(Diagnosis { target: facts.scope().title.clone(), findings, databases })
}

/// Something whose database is looked at.
struct Subject {
    namespace: String,
    target: TargetRef,
    /// As it stands in commands to copy.
    named: String,
}

impl Subject {
    fn of(row: &PodRow) -> Self {
        let target = TargetRef { kind: Kind::Pod, name: row.name.clone() };
        Self { namespace: row.namespace.clone(), named: format!("{target} -n {}", row.namespace), target }
    }

    /// Its databases and what was found there; with its name in front where several are looked at.
    async fn look(&self, session: &Session, args: &LookArgs, told: &str, several: bool) -> Result<(Vec<Looked>, Vec<Finding>)> {
        let mut findings = Vec::new();
        let looked = look(&session.within(&self.namespace), &self.target, args, told, &mut findings).await?;
        point_at(&mut findings, &self.named);
        if several {
            findings
                .iter_mut()
                .for_each(|finding| finding.what = format!("{}/{}: {}", self.namespace, self.target.name, finding.what));
        }
        Ok((looked, findings))
    }
}

/// Puts a name for the target into commands that have none yet.
fn point_at(findings: &mut [Finding], named: &str) {
    for next in findings.iter_mut().flat_map(|finding| &mut finding.next) {
        *next = next.replace("TARGET", named);
    }
}

/// What was named; else, of each workload that was found, the pod that is newest and not through with its work.
fn subjects(args: &Args, facts: &Facts) -> Result<Vec<Subject>> {
    let pods = facts.pod_rows();
    let is_operation =
        matches!(args.scope.target.as_slice(), [one] if !one.contains('/') && pods.iter().all(|pod| pod.name != *one));
    if !args.scope.target.is_empty() && !is_operation {
        let namespace = facts.scope().namespace.clone().unwrap_or_default();
        return Ok(vec![Subject { namespace, target: TargetRef::parse(&args.scope.target)?, named: String::new() }]);
    }
    let many = matches!(facts.scope().pods, Pods::Migrations | Pods::Matching(_));
    if !many {
        return Ok(pods.last().map(Subject::of).into_iter().collect());
    }
    let mut newest: BTreeMap<String, &Pod> = BTreeMap::new();
    for pod in facts.pods().filter(|pod| !is_done(pod)) {
        let above = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
        let known = newest.entry(above.map_or_else(|| pod.uid().unwrap_or_default(), |owner| owner.uid.clone())).or_insert(pod);
        if pod.creation_timestamp().map(|time| time.0) > known.creation_timestamp().map(|time| time.0) {
            *known = pod;
        }
    }
    Ok(newest.into_values().map(|pod| Subject::of(&PodRow::of(pod))).collect())
}

/// A migration that ended well has nothing to be asked about.
fn is_done(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Succeeded") || pod.metadata.deletion_timestamp.is_some()
}

fn left_out(subjects: &mut Vec<Subject>) -> Option<Finding> {
    let all = subjects.len();
    subjects.truncate(MOST);
    (all > MOST).then(|| Finding::new(Level::Note, format!("the databases of {MOST} of {all} pods were looked at")))
}

/// What stands for the target in commands to copy.
fn named(args: &Args, first: Option<&Subject>, facts: &Facts) -> String {
    let name = match (args.scope.target.is_empty(), first) {
        (false, _) => args.scope.target.join("/"),
        (true, Some(first)) => first.target.to_string(),
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
