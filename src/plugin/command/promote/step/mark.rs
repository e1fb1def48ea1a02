//! The moment from which on the old primary and the new one may differ.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::super::Desk;
use super::claim::has_begun;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};
use crate::replication::{Lsn, Writer, Written, largest, receiver, rows_of, standing, writers, written};
use crate::ui::human::count;

/// Name in the memory of the moment.
pub(in crate::command) const MARK: &str = "mark";
/// Tables whose rows are counted.
const TABLES: usize = 10;

/// What both servers had in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Mark {
    /// When.
    pub(in crate::command) time: Timestamp,
    /// How far the replica had replayed.
    pub(in crate::command) lsn: Lsn,
    /// What had been written to the primary.
    pub(in crate::command) written: Written,
    /// Rows of the replica's largest tables.
    pub(in crate::command) rows: Vec<(String, i64)>,
}

/// Lets the replica catch up, and keeps what both have in common.
pub(super) struct TakeMark(pub(super) Arc<Desk>);

#[async_trait]
impl Step for TakeMark {
    fn id(&self) -> &'static str {
        "mark"
    }

    fn title(&self) -> String {
        format!("let pod/{} catch up, and count its rows", self.0.spec.pod)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        if run.memory.recall::<Mark>(MARK)?.is_none() {
            return Ok(Look::Todo);
        }
        // Until the data is parted from the replica, what both have in common grows.
        let is_parted = match self.0.spec.copy.leaves_replica() {
            true => has_begun(&self.0.spec, run).await?,
            false => !self.0.has_replica(run).await?,
        };
        Ok(if is_parted { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let primary = self.0.primary(&run.cluster).await?;
        let until = Instant::now() + self.0.spec.timeout();
        while self.0.spec.freezes() {
            let left: Vec<String> = writers(&*primary).await?.iter().map(Writer::in_words).collect();
            if left.is_empty() {
                break;
            }
            run.stop.pause(until, &left.join("; ")).await.map_err(Failure::take_back)?;
        }
        let replica = self.0.replica(&run.cluster).await.map_err(Failure::take_back)?;
        let written = written(&*primary).await?;
        let wanted = standing(&*primary).await?.lsn;
        let lsn = loop {
            let lsn = standing(&replica).await?.lsn;
            if lsn >= wanted {
                break lsn;
            }
            let streams = receiver(&replica).await?.and_then(|seen| seen.status).unwrap_or_else(|| "away".to_owned());
            let waiting = format!(
                "pod/{} has replayed up to {lsn}, and the primary was at {wanted}; its receiver is {streams}",
                self.0.spec.pod
            );
            run.stop.pause(until, &waiting).await.map_err(Failure::take_back)?;
        };
        let mut rows = Vec::new();
        for table in largest(&replica, TABLES).await? {
            let count = rows_of(&replica, &table).await?.unwrap_or_default();
            rows.push((table, count));
        }
        let all: i64 = rows.iter().map(|(_, rows)| rows).sum();
        let summary =
            format!("{} rows in its {} largest tables, at {lsn}", count(u64::try_from(all).unwrap_or_default()), rows.len());
        run.memory.keep(MARK, &Mark { time: Timestamp::now(), lsn, written, rows })?;
        Ok(summary)
    }
}
