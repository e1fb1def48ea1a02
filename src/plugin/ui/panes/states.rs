//! The pane of states as rows of text: verdict, workload, Jobs, pods, volumes, operations, events. Pure.

use jiff::Timestamp;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use crate::observe::{Facts, Incident, Standing, Verdict};
use crate::plan::{Record, StepState};
use crate::ui::human::{age, amount, harmless};

/// Events shown, newest last.
const EVENTS: usize = 8;

/// Everything the pane shows, taken at one moment.
#[derive(Debug, Clone)]
pub struct Picture {
    /// What is watched.
    pub title: String,
    /// In one line.
    pub verdict: Verdict,
    /// Workload, Jobs, pods, claims: name, state, details, and whether it is bad.
    pub objects: Vec<(String, String, String, bool)>,
    /// Our operations.
    pub operations: Vec<Progress>,
    /// The newest events.
    pub events: Vec<Incident>,
}

/// An operation, and how far it is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// `vacuum-7kx2pq`.
    pub id: String,
    /// `running`.
    pub phase: &'static str,
    /// Steps done and in all.
    pub steps: (usize, usize),
    /// The present step, and since when.
    pub step: Option<(String, Option<Timestamp>)>,
    /// How far that is, if it is told.
    pub amount: Option<dbmig_wire::Progress>,
}

impl Picture {
    /// What is known now.
    #[must_use]
    pub fn of(facts: &Facts, now: Timestamp) -> Self {
        let mut objects = Vec::new();
        if let Some(row) = facts.workload_row().filter(|row| !row.name.starts_with("job/")) {
            objects.push((
                row.name.clone(),
                format!("{}/{}", row.ready, row.desired),
                row.complaint.clone(),
                row.ready < row.desired,
            ));
        }
        for row in facts.job_rows() {
            let detail = format!("{} failed, {}", row.failed, age(row.started, now));
            objects.push((row.name.clone(), format!("{} {}", row.completions, row.state.as_str()), detail, row.failed > 0));
        }
        for row in facts.pod_rows() {
            let restarts = match row.last_restart {
                Some(last) if row.restarts > 0 => format!("{} restarts ({} ago), ", row.restarts, age(Some(last), now)),
                _ => String::new(),
            };
            let node = row.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
            let bad = !row.is_ready && !matches!(row.status.as_str(), "Completed" | "Succeeded");
            objects.push((
                format!("pod/{}", row.name),
                format!("{}/{} {}", row.ready, row.containers, row.status),
                format!("{restarts}{}{node}", age(row.created, now)),
                bad,
            ));
        }
        for row in facts.copy_rows() {
            let at_work = row.at_work();
            let (state, detail) = at_work.split_once("; ").unwrap_or((&at_work, ""));
            let bad = row.trouble(facts.is_worked_on()).is_some();
            objects.push(("pgcopydb".to_owned(), state.to_owned(), detail.to_owned(), bad));
        }
        for row in facts.claim_rows() {
            let full = row.usage.is_some_and(|usage| usage.is_full());
            objects.push((format!("pvc/{}", row.name), row.phase.clone(), row.room(), full || row.phase != "Bound"));
        }
        let incidents = facts.incidents();
        let newest = incidents.len().saturating_sub(EVENTS);
        Self {
            title: facts.scope().title.clone(),
            verdict: Verdict::of(facts),
            objects,
            operations: facts.operations().into_iter().map(|record| progress(record, facts)).collect(),
            events: incidents[newest..].iter().map(|incident| (*incident).clone()).collect(),
        }
    }

    /// The verdict, coloured by what it says.
    pub(super) fn headline(&self) -> Line<'static> {
        let (mark, colour) = match self.verdict.state {
            Standing::Fine => ("ok", Color::Green),
            Standing::Moving => ("moving", Color::Yellow),
            Standing::Wrong => ("wrong", Color::Red),
        };
        let head = Span::styled(format!(" {mark} "), Style::new().fg(colour).add_modifier(Modifier::REVERSED | Modifier::BOLD));
        Line::from(vec![head, Span::raw(format!(" {}", harmless(&self.verdict.text)))])
    }

    /// The rows of the pane; `events` are left out when they are not wanted.
    pub(super) fn rows(&self, now: Timestamp, events: bool) -> Vec<Line<'static>> {
        let mut rows = Vec::new();
        let width = self.objects.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0).min(36);
        for (name, state, detail, bad) in &self.objects {
            let colour = if *bad { Color::Red } else { Color::Green };
            rows.push(Line::from(vec![
                Span::raw(format!("{name:width$}  ")),
                Span::styled(harmless(state).into_owned(), Style::new().fg(colour)),
                Span::styled(format!("  {}", harmless(detail)), Style::new().add_modifier(Modifier::DIM)),
            ]));
        }
        for next in self.verdict.next.iter().take(2) {
            rows.push(Line::from(vec![
                Span::styled("next: ", Style::new().fg(Color::Cyan)),
                Span::raw(harmless(next).into_owned()),
            ]));
        }
        for operation in &self.operations {
            rows.push(Line::raw(""));
            rows.extend(operation.rows(now));
        }
        if events && !self.events.is_empty() {
            rows.push(Line::raw(""));
            rows.extend(self.events.iter().rev().map(|incident| event(incident, now)));
        }
        rows
    }
}

fn progress(record: &Record, facts: &Facts) -> Progress {
    let done = record.steps.iter().filter(|step| step.state == StepState::Done).count();
    Progress {
        id: record.id.clone(),
        phase: record.phase.as_str(),
        steps: (done, record.steps.len()),
        step: record.at().map(|(_, step)| (step.title.clone(), step.started)),
        amount: record.at().and_then(|_| facts.progress_of(&record.id)).cloned(),
    }
}

impl Progress {
    fn rows(&self, now: Timestamp) -> Vec<Line<'static>> {
        const WIDTH: usize = 20;
        let (done, all) = self.steps;
        let filled = (done * WIDTH).checked_div(all).unwrap_or(0);
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(WIDTH - filled));
        let mut rows = vec![Line::from(vec![
            Span::styled(self.id.clone(), Style::new().add_modifier(Modifier::BOLD)),
            Span::raw(format!(" {} ", self.phase)),
            Span::styled(bar, Style::new().fg(Color::Cyan)),
            Span::raw(format!(" {done}/{all}")),
        ])];
        if let Some((title, since)) = &self.step {
            let amount = self.amount.as_ref().map(in_words).unwrap_or_default();
            rows.push(Line::raw(format!("  {} ({}){amount}", harmless(title), age(*since, now))));
        }
        rows
    }
}

fn in_words(progress: &dbmig_wire::Progress) -> String {
    let done = amount(progress.unit, progress.done);
    match progress.total {
        0 => format!(" {done}"),
        total => format!(" {} of {}, {} %", done, amount(progress.unit, total), progress.done.saturating_mul(100) / total),
    }
}

fn event(incident: &Incident, now: Timestamp) -> Line<'static> {
    let colour = if incident.explains {
        Color::Red
    } else if incident.warning {
        Color::Yellow
    } else {
        Color::Reset
    };
    Line::from(vec![
        Span::styled(format!("{:>5} ", age(incident.last, now)), Style::new().add_modifier(Modifier::DIM)),
        Span::styled(incident.reason.clone(), Style::new().fg(colour)),
        Span::raw(format!(" {}: {}", incident.object, harmless(&incident.message))),
    ])
}
