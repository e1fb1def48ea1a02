//! Two primaries that were one: what the old one has written that the new one lacks.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::step::Mark;
use crate::database::Database;
use crate::failure::Result;
use crate::replication::{Lsn, standing, written};
use crate::shutdown::Stop;

/// How late a server's statistics may come: an idle session tells them after ten seconds.
pub(super) const LATE: Duration = Duration::from_secs(12);
const LOOK: Duration = Duration::from_millis(500);

/// What the old primary has written since both had the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::command) struct Gap {
    /// When both had the same for sure.
    pub(in crate::command) since: Timestamp,
    /// Up to there both have the same log.
    pub(in crate::command) fork: Lsn,
    /// Where the old one's log ends now.
    pub(in crate::command) now: Lsn,
    /// Transactions that got a number since.
    pub(in crate::command) transactions: i64,
    /// Rows that were written, changed and deleted since; those that came in time for the new primary are among them.
    pub(in crate::command) rows: i64,
    /// Rows or tables differ.
    pub(in crate::command) differs: bool,
}

impl Gap {
    /// Asks the old primary. Where transactions have begun and no row is known to be theirs, it waits until the server surely knows.
    ///
    /// # Errors
    /// As [`Database::query`].
    pub(in crate::command) async fn of(mark: &Mark, fork: Lsn, old: &dyn Database, stop: &Stop) -> Result<Self> {
        let until = Instant::now() + LATE;
        loop {
            let (seen, now) = (written(old).await?, standing(old).await?.lsn);
            let (transactions, differs) = (seen.transactions_since(&mark.written), seen.differs(&mark.written));
            if differs || transactions == 0 || Instant::now() > until {
                let rows = (seen.rows - mark.written.rows).max(0);
                return Ok(Self { since: mark.time, fork, now, transactions, rows, differs });
            }
            stop.interruptible(sleep(LOOK)).await?;
        }
    }

    /// In one line.
    pub(in crate::command) fn in_words(&self, old: &str) -> String {
        let since = self.since.strftime("%H:%M:%SZ");
        if !self.differs {
            return format!("{old} has written nothing since {since}");
        }
        format!(
            "{old} has written about {} rows since {since}; what comes after {} is not in the new release",
            self.rows, self.fork
        )
    }
}
