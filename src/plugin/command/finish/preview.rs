//! What a cut-over would do, shown before anything is done.

use serde::Serialize;

use super::look::Facts;
use super::spec::Spec;
use crate::command::session::Session;
use crate::failure::Result;
use crate::replication::Verify;
use crate::ui::human::{bytes, harmless};
use crate::ui::{Report, Table};

/// Seconds that the other steps take about: a row through, the end of pgcopydb, its sequences and its slot.
const OTHER_SECONDS: f64 = 5.0;

/// The plan and what it rests on.
pub(super) struct Preview<'a> {
    pub(super) spec: &'a Spec,
    pub(super) facts: &'a Facts,
}

impl Preview<'_> {
    /// Shows it: as an object on stdout for machines where nothing else follows, else in words.
    pub(super) fn show(&self, session: &Session, is_all: bool) -> Result<()> {
        if session.ui.is_machine() {
            return if is_all { session.ui.print(&self.plan()) } else { Ok(()) };
        }
        for line in self.lines() {
            session.ui.say(&harmless(&line));
        }
        Ok(())
    }

    fn plan(&self) -> Plan<'_> {
        Plan {
            spec: self.spec,
            statements: self.facts.freeze.back(),
            lag: self.facts.slot.lag,
            downtime: self.seconds(),
            warnings: self.warnings(),
        }
    }

    /// Seconds for which writes would be refused, as far as that can be known before.
    fn seconds(&self) -> Option<f64> {
        let open = self.facts.writers.iter().map(|writer| writer.seconds).fold(0.0, f64::max);
        self.facts.rehearsal.as_ref().map(|rehearsal| open + rehearsal.seconds + OTHER_SECONDS)
    }

    fn lines(&self) -> Vec<String> {
        let Self { spec, facts } = self;
        let lag = facts.slot.lag.unwrap_or_default();
        let mut lines = vec![
            format!("{}  →  {}  ({}, container {})", spec.source, spec.to, spec.target, spec.container),
            format!(
                "  following: slot {} by {}, {} behind; began at {}",
                facts.slot.name,
                facts.slot.plugin,
                bytes(lag),
                at(facts.sentinel.start)
            ),
            format!("  writers: {} takes {}", spec.script_from, facts.freeze.in_words()),
        ];
        for scaled in &spec.scaled {
            lines.push(format!(
                "  writers: {} is scaled from {} to 0 replicas, and up again at the end",
                scaled.workload, scaled.replicas
            ));
        }
        lines.push(format!("  proof: a row of our own goes through; {}; sequences are moved on", how(spec.verify, facts.tables)));
        lines.push(if spec.switches() {
            let service =
                spec.service.iter().map(|service| format!("service/{} gets the pods of service/{}", service.name, service.to));
            let settings = spec.settings.iter().map(ToString::to_string);
            let restart = spec.restart.iter().map(|workload| format!("{workload} is restarted"));
            format!("  switch: {}", service.chain(settings).chain(restart).collect::<Vec<_>>().join(", "))
        } else {
            "  switch: nothing; you point the application to the new server afterwards (--restart, --switch-service, --set-secret)"
                .to_owned()
        });
        lines.push(match self.seconds() {
            Some(seconds) => format!(
                "  writes would be refused for about {seconds:.0} s, and for {} s at most before the switch",
                spec.max_downtime
            ),
            None => format!(
                "  writes are refused for {} s at most before the switch, else everything is taken back",
                spec.max_downtime
            ),
        });
        lines.extend(self.warnings().into_iter().map(|warning| format!("  attention: {warning}")));
        lines
    }

    fn warnings(&self) -> Vec<String> {
        let Facts { still, unidentified, writers, freeze, caveat, rehearsal, settings, .. } = self.facts;
        let mut warnings: Vec<String> = caveat.iter().cloned().collect();
        if !still.is_empty() {
            let (role, table) = &still[0];
            let roles: Vec<&str> = still.iter().map(|(role, _)| role.as_str()).collect();
            warnings
                .push(format!("after that these roles may still write: {} ({role} to {table}, for instance)", roles.join(", ")));
        }
        if freeze.is_empty() {
            warnings.push("only scaling down stops writers: whoever else connects can still write".to_owned());
        }
        if !unidentified.is_empty() {
            warnings.push(format!(
                "updates and deletes in tables without a replica identity are lost on the way, or end all following; they are compared row by row: {}",
                unidentified.join(", ")
            ));
        }
        warnings.extend(settings.iter().cloned());
        let wrong = rehearsal.iter().flat_map(|rehearsal| &rehearsal.wrong);
        warnings.extend(wrong.map(|difference| format!("the target is wrong already: {difference}")));
        let long = writers.iter().filter(|writer| writer.seconds > 5.0);
        warnings.extend(long.map(|writer| format!("it will be waited for: {}", writer.in_words())));
        warnings
    }
}

fn at(lsn: Option<crate::replication::Lsn>) -> String {
    lsn.map_or_else(|| "an unknown position".to_owned(), |lsn| lsn.to_string())
}

fn how(verify: Verify, tables: usize) -> String {
    match verify {
        Verify::None => "nothing is compared (--verify none)".to_owned(),
        Verify::Counts => format!("the rows of {tables} tables are counted on both sides"),
        Verify::Sample => format!("the rows of {tables} tables are counted, and the newest of each compared"),
        Verify::Full => format!("every row of {tables} tables is compared, most of them before writers are stopped"),
    }
}

/// The same for machines.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan<'a> {
    #[serde(flatten)]
    spec: &'a Spec,
    /// SQL that gives the rights back.
    statements: Vec<String>,
    /// Bytes of write-ahead log that the target is behind.
    lag: Option<u64>,
    /// Seconds for which writes would be refused.
    downtime: Option<f64>,
    warnings: Vec<String>,
}

impl Report for Plan<'_> {
    fn kind(&self) -> &'static str {
        "FinishPlan"
    }

    fn table(&self, _wide: bool) -> Table {
        Table::new(["SOURCE", "TARGET"]).row([self.spec.source.clone(), self.spec.to.clone()])
    }

    fn names(&self) -> Vec<String> {
        vec![self.spec.target.clone()]
    }
}
