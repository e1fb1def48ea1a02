//! What a promotion would do, shown before anything is done.

use serde::Serialize;

use super::look::Facts;
use super::spec::{Copy, Spec};
use crate::command::session::Session;
use crate::failure::Result;
use crate::ui::human::{bytes, harmless};
use crate::ui::{Report, Table};

/// The plan and what it rests on.
pub(super) struct Preview<'a> {
    pub(super) spec: &'a Spec,
    pub(super) facts: &'a Facts,
}

impl Preview<'_> {
    /// Shows it: as an object on stdout for machines where nothing else follows, else in words.
    pub(super) fn show(&self, session: &Session, is_all: bool) -> Result<()> {
        if session.ui.is_machine() {
            let Self { spec, facts } = self;
            let plan = Plan { spec, lag: facts.lag, objects: &facts.objects, warnings: self.warnings() };
            return if is_all { session.ui.print(&plan) } else { Ok(()) };
        }
        for line in self.lines() {
            session.ui.say(&harmless(&line));
        }
        for warning in self.warnings() {
            session.ui.warn(&warning);
        }
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let Self { spec, facts } = self;
        let current = spec.current.as_ref().map(|name| format!(", release {name}")).unwrap_or_default();
        let mut lines = vec![
            format!("pod/{}  →  release {}  (replica of {}{current})", spec.pod, spec.release, spec.primary.target),
            format!(
                "  replica    PostgreSQL {}, {} behind, timeline {}, data in {} of persistentvolumeclaim/{}",
                spec.replica.major(),
                bytes(facts.lag),
                spec.replica.timeline,
                if spec.data.is_empty() { "the root" } else { &spec.data },
                spec.bound.claim
            ),
        ];
        lines.push(match &spec.copy {
            Copy::None => format!(
                "  volume     persistentvolume/{} goes to persistentvolumeclaim/{}; {} goes from {} to {} replicas, and one that is added later clones anew",
                spec.bound.volume,
                spec.claim,
                spec.set,
                spec.replicas,
                spec.replicas - 1
            ),
            Copy::Clone => format!("  volume     persistentvolumeclaim/{} is cloned from it; the replica stays", spec.claim),
            Copy::Snapshot(class) => {
                format!("  volume     persistentvolumeclaim/{} is made of a snapshot of it ({class}); the replica stays", spec.claim)
            }
        });
        lines.push(format!(
            "  release    {} of {} by Helm {}: {} objects; {} mounts the claim ({})",
            spec.release,
            spec.chart.place,
            facts.helm,
            facts.objects.len(),
            spec.server.target,
            spec.claim_value
        ));
        lines.push(match &facts.freeze {
            Some(freeze) => format!(
                "  writers    {} takes {} on {}, until traffic is led on or all is taken back",
                spec.script_from,
                freeze.in_words(),
                spec.primary.target
            ),
            None => format!(
                "  writers    go on: what they write to {} from then on is not in release {}",
                spec.primary.target, spec.release
            ),
        });
        lines
            .push(format!("  serving    {} is not touched; {}", spec.primary.target, "`route` leads traffic to the new release"));
        lines
    }

    fn warnings(&self) -> Vec<String> {
        let Self { spec, facts } = self;
        let mut warnings = facts.notes.clone();
        warnings.extend(facts.still.iter().map(|(role, table)| format!("{role} could still write, to {table} for one")));
        if spec.bound.reclaim == "Delete" && spec.copy == Copy::None {
            warnings.push(format!(
                "persistentvolume/{} would go with its claim (reclaim policy Delete): it is told to stay while this lasts, and is as before only when all is taken back",
                spec.bound.volume
            ));
        }
        if facts.primary.major() != spec.replica.major() {
            warnings.push("primary and replica are of different versions".to_owned());
        }
        warnings
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan<'a> {
    #[serde(flatten)]
    spec: &'a Spec,
    lag: u64,
    objects: &'a [String],
    warnings: Vec<String>,
}

impl Report for Plan<'_> {
    fn kind(&self) -> &'static str {
        "PromotePlan"
    }

    fn table(&self, _wide: bool) -> Table {
        Table::new(["REPLICA", "CLAIM", "RELEASE"]).row([
            self.spec.pod.clone(),
            self.spec.claim.clone(),
            self.spec.release.clone(),
        ])
    }

    fn names(&self) -> Vec<String> {
        vec![format!("release/{}", self.spec.release)]
    }
}
