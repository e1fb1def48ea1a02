//! What a repair would do, shown before anything is done.

use serde::Serialize;

use super::problem::Problem;
use crate::command::session::Session;
use crate::failure::Result;
use crate::framework::{Finding, Remedy, Repair, Safety, State};
use crate::ui::human::harmless;
use crate::ui::{Report, Table};

/// What is there and what can be done about it, for people and for machines.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Preview<'a> {
    pub(super) target: String,
    /// Without its password.
    pub(super) database: String,
    /// Where it was found.
    pub(super) from: String,
    pub(super) states: Vec<&'a State>,
    /// What is wrong and nothing here can repair.
    pub(super) findings: Vec<Finding>,
    /// The first one is what is repaired; the others are for later.
    pub(super) problems: &'a [Problem],
}

impl Preview<'_> {
    /// Shows it: as an object on stdout for machines where nothing else follows, else in words.
    pub(super) fn show(&self, session: &Session, is_all: bool) -> Result<()> {
        if session.ui.is_machine() {
            return if is_all { session.ui.print(self) } else { Ok(()) };
        }
        for line in self.lines() {
            session.ui.say(&harmless(&line));
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{}  ({}, {})", self.database, self.target, self.from)];
        lines.extend(self.states.iter().map(|state| format!("  {}, in {}", state.in_words(), state.table)));
        for finding in &self.findings {
            lines.push(format!("  {}", finding.what));
            lines.extend(finding.evidence.iter().map(|seen| format!("    seen: {seen}")));
            lines.extend(finding.next.iter().map(|next| format!("    next: {next}")));
        }
        let Some((first, others)) = self.problems.split_first() else { return lines };
        lines.push(String::new());
        lines.push(format!("{}: {}", first.table, first.problem));
        lines.extend(first.repairs.iter().flat_map(way));
        lines.extend(others.iter().map(|other| format!("later: {}: {}", other.table, other.problem)));
        lines
    }
}

fn way(repair: &Repair) -> Vec<String> {
    let to = repair.to.as_ref().map_or_else(String::new, |to| format!("  (--to {to})"));
    let mut lines = vec![format!("  - {}{to}", repair.what), format!("    why: {}", repair.because)];
    match &repair.remedy {
        Remedy::Rows(rows) => lines.extend(rows.changes.iter().map(|change| format!("    SQL: {};", change.sql))),
        Remedy::Session { sql } => lines.push(format!("    SQL: {sql};   -- can't be taken back")),
        Remedy::Elsewhere { .. } => {}
    }
    if let Safety::Force(risk) = &repair.safety {
        lines.push(format!("    needs --force: {risk}"));
    }
    lines
}

impl Report for Preview<'_> {
    fn kind(&self) -> &'static str {
        "RepairPlan"
    }

    fn table(&self, _wide: bool) -> Table {
        let row = |problem: &Problem| vec![problem.table.clone(), problem.problem.clone()];
        Table::new(["TABLE", "PROBLEM"]).rows(self.problems.iter().map(row))
    }

    fn names(&self) -> Vec<String> {
        vec![self.target.clone()]
    }
}
