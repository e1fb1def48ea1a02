//! What a run will do, shown before anything is done.

use serde::Serialize;

use super::backup::Backup;
use super::offline::Offline;
use super::spec::{Spec, Way};
use crate::cluster::job::{Built, Variable};
use crate::command::session::Session;
use crate::failure::Result;
use crate::framework::State;
use crate::plan::Step;
use crate::ui::human::harmless;
use crate::ui::{Report, Table};

/// The plan, for people and for machines.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Preview {
    from: String,
    job: String,
    container: String,
    image: String,
    command: Vec<String>,
    limits: Option<Variable>,
    way: Way,
    /// Of what is taken back, what has no way back.
    irreversible: Vec<String>,
    sidecars: Vec<String>,
    database: Option<String>,
    /// Where it was found.
    database_from: Option<String>,
    states: Vec<State>,
    /// The backup that is made first.
    backup: Option<String>,
    /// What is stopped around it.
    stopped: Vec<String>,
    /// Why the database was not looked at.
    unread: Option<String>,
    steps: Vec<String>,
}

impl Preview {
    pub(super) fn new(
        spec: &Spec,
        built: &Built,
        found: std::result::Result<(String, Vec<State>), String>,
        steps: &[Box<dyn Step>],
    ) -> Self {
        let (database_from, states, unread) = match found {
            Ok((from, states)) => (Some(from), states, None),
            Err(why) => (None, Vec::new(), Some(why)),
        };
        let pod = built.job.spec.as_ref().and_then(|job| job.template.spec.as_ref());
        let init = pod.into_iter().flat_map(|pod| pod.init_containers.iter().flatten());
        let beside = pod.into_iter().flat_map(|pod| &pod.containers).chain(init.filter(|one| one.restart_policy.is_some()));
        let sidecars = beside.map(|container| container.name.clone()).filter(|name| *name != built.container);
        Self {
            from: spec.origin.shown(),
            job: spec.job.clone(),
            container: built.container.clone(),
            image: built.image.clone(),
            command: built.command.clone(),
            limits: spec.limits.clone(),
            way: spec.way.clone(),
            irreversible: spec.stuck.clone(),
            sidecars: sidecars.collect(),
            database: spec.books.as_ref().map(|books| books.location.clone()),
            database_from,
            states,
            backup: spec.backup.as_ref().map(Backup::in_words),
            stopped: spec.offline.as_ref().map(Offline::in_words).unwrap_or_default(),
            unread,
            steps: steps.iter().map(|step| step.title()).collect(),
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
        let mut lines = vec![format!("job/{}, made from {}", self.job, self.from)];
        let mut figure = |name: &str, text: String| lines.push(format!("  {name:<11}{text}"));
        figure("container", format!("{}, image {}", self.container, self.image));
        let command = if self.command.is_empty() { "that of its image".to_owned() } else { self.command.join(" ") };
        figure("command", command);
        if let Some(limits) = &self.limits {
            figure("limits", format!("{} {}", limits.name, limits.value));
        }
        if let Way::Down(going) = &self.way {
            let shown = going.as_ref().map(|going| going.join(", "));
            figure(
                "takes back",
                shown.unwrap_or_else(|| "what the command says; the books don't tell which migrations".to_owned()),
            );
        }
        for (at, line) in self.irreversible.iter().enumerate() {
            figure(if at == 0 { "one-way" } else { "" }, line.clone());
        }
        if !self.sidecars.is_empty() {
            figure("beside it", format!("{}: ended when the migration has", self.sidecars.join(", ")));
        }
        match (&self.database, &self.unread) {
            (Some(database), _) => {
                figure("database", format!("{database} ({})", self.database_from.as_deref().unwrap_or_default()));
            }
            (None, Some(why)) => figure("database", format!("not asked: {why}; only the exit code will tell")),
            (None, None) => {}
        }
        if let Some(backup) = &self.backup {
            figure("backup", backup.clone());
        }
        for (at, line) in self.stopped.iter().enumerate() {
            figure(if at == 0 { "offline" } else { "" }, line.clone());
        }
        for state in &self.states {
            figure("", format!("{}, in {}", state.in_words(), state.table));
        }
        lines.push(String::new());
        lines.extend(self.steps.iter().enumerate().map(|(index, step)| format!("  {:>2}. {step}", index + 1)));
        lines
    }
}

impl Report for Preview {
    fn kind(&self) -> &'static str {
        if matches!(self.way, Way::Up) { "RunPlan" } else { "RollbackPlan" }
    }

    fn table(&self, _wide: bool) -> Table {
        Table::new(["JOB", "FROM", "COMMAND"]).row([self.job.clone(), self.from.clone(), self.command.join(" ")])
    }

    fn names(&self) -> Vec<String> {
        vec![format!("job/{}", self.job)]
    }
}
