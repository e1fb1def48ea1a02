//! What a vacuum will do, shown before anything is done.

use dbmig_wire::{Facts, KeptRows};
use serde::Serialize;

use super::examine::Examined;
use super::space::{KeepOld, Place, Room};
use super::spec::Spec;
use crate::command::session::Session;
use crate::failure::Result;
use crate::framework::golang_migrate::verdict::{Recognised, Verdict};
use crate::plan::Step;
use crate::ui::human::{bytes as size, count, harmless};
use crate::ui::{Report, Table};

/// Bytes per second that a slow cloud disk reads or writes; for the estimate of the time without writes.
const SLOW_DISK: u64 = 60 << 20;
/// Seconds that pods need to stop and start.
const STOP_AND_START: u64 = 15;

/// The plan, for people and for machines.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Preview {
    target: String,
    container: String,
    database: String,
    volume: String,
    workload: String,
    replicas: i32,
    managed_by: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    examined: Option<Examined>,
    seconds_without_writes: u64,
    repair: bool,
    steps: Vec<Planned>,
}

impl Preview {
    pub(super) fn new(
        target: &str,
        spec: &Spec,
        seen: Option<&(Facts, Examined)>,
        steps: &[Box<dyn Step>],
        managers: &[String],
    ) -> Self {
        let examined = seen.map(|(_, examined)| examined.clone());
        let journal = match seen {
            Some((facts, _)) => facts.side_files.iter().find(|side| side.hot).map(|side| {
                let suffix = side.path.rsplit('-').next().unwrap_or_default();
                format!("{}-{suffix} holds {} to settle", spec.shown, size(side.bytes))
            }),
            None => Some(
                "a transaction was cut off: SQLite rolls it back once writers are stopped, and the rows are counted then"
                    .to_owned(),
            ),
        };
        let bytes = examined.as_ref().map_or(0, |examined| examined.bytes + 3 * examined.expected_bytes);
        Self {
            target: target.to_owned(),
            container: spec.container.clone(),
            database: spec.shown.clone(),
            volume: spec.volume_name(),
            workload: spec.workload.to_string(),
            replicas: spec.replicas,
            managed_by: managers.to_vec(),
            journal,
            examined,
            seconds_without_writes: STOP_AND_START + bytes / SLOW_DISK,
            repair: spec.wishes.repair,
            steps: steps
                .iter()
                .map(|step| Planned::new(step.as_ref(), spec.replicas, seen.map(|(_, examined)| examined)))
                .collect(),
        }
    }

    /// Shows the plan: as an object on stdout for machines in a dry run, else in words.
    pub(super) fn show(&self, session: &Session, dry_run: bool) -> Result<()> {
        if session.ui.is_machine() {
            return if dry_run { session.ui.print(self) } else { Ok(()) };
        }
        for line in self.lines() {
            session.ui.say(&harmless(&line));
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{}  {}  ({}, container {})", self.database, self.volume, self.target, self.container)];
        let mut figure = |name: &str, text: String| lines.push(format!("  {name:<12}{text}"));
        if let Some(examined) = &self.examined {
            let (file, free, all) = (size(examined.bytes), size(examined.free_bytes), size(examined.volume_bytes));
            figure("file", format!("{file}; {free} of {all} free on its volume"));
            figure("afterwards", format!("about {}", size(examined.expected_bytes)));
        }
        if let Some(journal) = &self.journal {
            figure("journal", journal.clone());
        }
        figure("owner", format!("{}, {}", self.workload, replicas(self.replicas)));
        if !self.managed_by.is_empty() {
            figure(
                "managed by",
                format!("{}: it may start it again meanwhile, which stops this operation", self.managed_by.join(", ")),
            );
        }
        figure("no writes", format!("for about {} s", self.seconds_without_writes));
        if let Some(examined) = &self.examined {
            for (name, text) in decisions(examined, self.repair, self.replicas) {
                figure(name, text);
            }
            lines.push(String::new());
            lines.extend(rows(&examined.tables).render(true).lines().map(|line| format!("  {line}")));
        }
        lines.push(String::new());
        lines.extend(self.steps.iter().enumerate().map(|(index, step)| format!("  {:>2}. {}", index + 1, step.in_words())));
        lines
    }
}

/// A step as it is shown; numbered like the progress that follows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Planned {
    title: String,
    needed: bool,
}

impl Planned {
    fn new(step: &dyn Step, replicas: i32, examined: Option<&Examined>) -> Self {
        let runs = replicas > 0 || !matches!(step.id(), "stop-writers" | "start-writers" | "await-ready");
        Self { title: step.title(), needed: runs && examined.is_none_or(|examined| needed(step.id(), examined)) }
    }

    fn in_words(&self) -> String {
        if self.needed { self.title.clone() } else { format!("({}: not needed)", self.title) }
    }
}

/// Whether a step will have anything to do, as far as that is decided.
fn needed(step: &str, examined: &Examined) -> bool {
    match step {
        "scratch-volume" => matches!(examined.room, Room::Scratch(_)) || matches!(examined.keep_old, KeepOld::At(_)),
        "punch" => examined.room == Room::BesideAfterPunching,
        "copy-old" => matches!(examined.keep_old, KeepOld::At(_)),
        "drop-old" => examined.keep_old == KeepOld::Beside,
        _ => true,
    }
}

fn replicas(count: i32) -> String {
    if count == 1 { "1 replica".to_owned() } else { format!("{count} replicas") }
}

fn decisions(examined: &Examined, repair: bool, replicas: i32) -> Vec<(&'static str, String)> {
    let mut lines = vec![("framework", framework(&examined.framework, repair))];
    match &examined.profile {
        Some(profile) => lines.push(("profile", format!("{}: {}", profile.name, profile.says))),
        None if examined.rules.is_empty() => lines.push(("rules", "none: every row stays, the file only shrinks".to_owned())),
        None => {}
    }
    lines.push((
        "new file",
        match &examined.room {
            Room::Beside => "is built beside the old one".to_owned(),
            Room::BesideAfterPunching => "is built beside the old one, in the room that its unused pages give back".to_owned(),
            Room::Scratch(place) => format!("is built elsewhere first: {}", in_words(place)),
        },
    ));
    lines.push((
        "old file",
        match &examined.keep_old {
            KeepOld::Beside if replicas == 0 => {
                "goes as soon as the new one is proven and in place: nothing runs that must get Ready".to_owned()
            }
            KeepOld::Beside => "stays until the application is Ready again; undo puts it back".to_owned(),
            KeepOld::At(place) => format!("is kept: {}", in_words(place)),
            KeepOld::No => "is not kept: no undo once the new one is in place".to_owned(),
        },
    ));
    lines
}

fn in_words(place: &Place) -> String {
    let what = match place {
        Place::Claim { class: Some(class) } => format!("a PersistentVolumeClaim of class {class}"),
        Place::Claim { class: None } => "a PersistentVolumeClaim of the default class".to_owned(),
        Place::Node => "the helper pod's own disk".to_owned(),
        Place::Local => "this machine's disk".to_owned(),
    };
    format!("{what}, which {}", place.survives())
}

fn framework(framework: &Recognised, wanted: bool) -> String {
    match framework {
        Recognised::None => "no bookkeeping table was recognised".to_owned(),
        Recognised::Other(name) => format!("{name}; left as it is"),
        Recognised::Known { state, repair } => match repair {
            Verdict::NotNeeded => state.in_words(),
            Verdict::Set { to, because, .. } => {
                let to = to.map_or_else(|| "no row".to_owned(), |to| format!("version {to}"));
                let how = if wanted { "set to" } else { "--repair would set it to" };
                format!("{}; {how} {to}: {because}", state.in_words())
            }
            Verdict::Refused { because } => format!("{}; left as it is: {because}", state.in_words()),
        },
    }
}

fn rows(tables: &[KeptRows]) -> Table {
    let row = |counted: &KeptRows| {
        vec![counted.name.clone(), count(counted.rows), count(counted.kept), count(counted.rows.saturating_sub(counted.kept))]
    };
    Table::new(["TABLE", "ROWS", "KEPT", "DROPPED"]).rows(tables.iter().map(row))
}

impl Report for Preview {
    fn kind(&self) -> &'static str {
        "VacuumPlan"
    }

    fn table(&self, _wide: bool) -> Table {
        self.examined.as_ref().map_or_else(|| rows(&[]), |examined| rows(&examined.tables))
    }

    fn names(&self) -> Vec<String> {
        vec![self.target.clone()]
    }
}
