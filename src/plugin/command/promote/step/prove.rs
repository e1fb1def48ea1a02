//! The proof that the new release has a primary of its own, with all that the replica had, and that the old one is as it was.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::{Desk, parted};
use super::freeze::{RIGHTS, give_back};
use super::mark::{MARK, Mark};
use crate::cluster::workload::Workload;
use crate::database::Database;
use crate::database::postgres::Postgres;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::framework::{Level, recognise};
use crate::plan::{ATTENTION, Look, Run, Step};
use crate::replication::{Freeze, Lsn, Written, fork, rows_of, standing, written};

/// Name in the memory of what was proven.
pub(in crate::command) const PROOF: &str = "proof";

/// What was proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Proof {
    /// When.
    pub(in crate::command) time: Timestamp,
    /// The new primary's timeline.
    pub(in crate::command) timeline: i64,
    /// Where it begins: up to there both servers have the same log. How far the replica had replayed, where that may not be read.
    pub(in crate::command) fork: Lsn,
    /// What had been written to the new primary.
    pub(in crate::command) written: Written,
}

/// Proves it.
pub(super) struct Prove(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Prove {
    fn id(&self) -> &'static str {
        "prove"
    }

    fn title(&self) -> String {
        format!(
            "prove release {}: a primary of its own, no row less, everything Ready, its migrations applied",
            self.0.spec.release
        )
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if run.memory.recall::<Proof>(PROOF)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        for workload in &spec.workloads {
            let workload = Workload::find(&run.cluster, workload).await?;
            workload.rolled_out(&run.cluster, &run.namespace, &run.stop, spec.timeout()).await.map_err(Failure::take_back)?;
        }
        let server = self.0.new_primary(&run.cluster).await?;
        let mark: Mark = run.memory.need(MARK)?;
        let (timeline, fork) = self.is_primary(&server, &mark).await?;
        if let Some(change) = run.memory.recall::<Freeze>(RIGHTS)? {
            give_back(&server, &change).await?;
        }
        self.old_is_unaffected(run).await?;
        let mut open = fewer(&server, &mark).await?;
        let books = self.books(&server).await?;
        open.extend(spec.slot.as_ref().map(|slot| {
            format!("replication slot {slot} of the replica keeps log on {} for nobody: SELECT pg_drop_replication_slot('{slot}') once undo is not wanted any more", spec.primary.target)
        }).filter(|_| !spec.copy.leaves_replica()));
        if !open.is_empty() {
            run.memory.keep(ATTENTION, &open.join("; "))?;
        }
        let written = written(&server).await?;
        run.memory.keep(PROOF, &Proof { time: Timestamp::now(), timeline, fork, written })?;
        let gap = parted::Gap::of(&mark, fork, &*self.0.primary(&run.cluster).await?, &run.stop).await?;
        let books = if books.is_empty() { String::new() } else { format!("; {}", books.join(", ")) };
        Ok(format!(
            "timeline {} → {timeline} at {fork}{books}; {}",
            spec.replica.timeline,
            gap.in_words(&spec.primary.target.to_string())
        ))
    }
}

impl Prove {
    /// Its timeline, and where it begins.
    async fn is_primary(&self, server: &Postgres, mark: &Mark) -> Result<(i64, Lsn)> {
        let (before, now) = (&self.0.spec.replica, standing(server).await?);
        let unproven = |what: String| Failure::new(Exit::Unproven, what).take_back();
        if now.in_recovery {
            return Err(unproven(format!("the server of release {} is still a standby", self.0.spec.release)));
        }
        if now.system_identifier != before.system_identifier {
            return Err(unproven(format!("release {} runs on another database", self.0.spec.release))
                .fact(format!("system identifier {}, and the replica had {}", now.system_identifier, before.system_identifier))
                .fact(format!("its chart does not mount persistentvolumeclaim/{}", self.0.spec.claim)));
        }
        if now.timeline <= before.timeline {
            return Err(unproven(format!("the server of release {} is still on timeline {}", self.0.spec.release, now.timeline)));
        }
        let fork = fork(server, now.timeline).await?.unwrap_or(mark.lsn);
        if fork < mark.lsn {
            return Err(unproven("the new primary lacks what the replica had".to_owned())
                .fact(format!("its timeline begins at {fork}, and the replica had replayed up to {}", mark.lsn)));
        }
        Ok((now.timeline, fork))
    }

    /// The old primary is what it was.
    async fn old_is_unaffected(&self, run: &Run) -> Result<()> {
        let now = standing(&*self.0.primary(&run.cluster).await?).await?;
        if !now.in_recovery && now.timeline == self.0.spec.replica.timeline {
            return Ok(());
        }
        Err(Failure::new(Exit::Unproven, format!("{} is not what it was", self.0.spec.primary.target)).fact(format!(
            "it is {} on timeline {}",
            if now.in_recovery { "a standby" } else { "a primary" },
            now.timeline
        )))
    }

    /// What the migration frameworks' books say; a migration that failed is no release to lead traffic to.
    async fn books(&self, server: &dyn Database) -> Result<Vec<String>> {
        let mut said = Vec::new();
        for state in recognise(server).await? {
            let findings = state.findings();
            if let Some(broken) = findings.iter().find(|finding| finding.level == Level::Broken) {
                return Err(Failure::new(Exit::Unproven, format!("{}: {}", state.framework, broken.in_a_line())).take_back());
            }
            let newest = state.applied.last().map_or_else(|| "nothing applied".to_owned(), |applied| applied.id.clone());
            said.push(format!("{} {newest}", state.framework));
        }
        Ok(said)
    }
}

/// Tables with fewer rows than the replica had: its own migration may have moved them, and the old primary deleted some.
async fn fewer(server: &dyn Database, mark: &Mark) -> Result<Vec<String>> {
    let mut fewer = Vec::new();
    for (name, had) in &mark.rows {
        match rows_of(server, name).await? {
            Some(has) if has >= *had => {}
            Some(has) => fewer.push(format!("{name} has {has} rows, and the replica had {had}")),
            None => fewer.push(format!("{name} is not there, and the replica had {had} rows in it")),
        }
    }
    Ok(fewer)
}
