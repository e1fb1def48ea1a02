//! What following has left behind, and the report.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::super::Desk;
use super::super::desk::FROZEN;
use super::compare::{SAME, Same};
use super::end::END;
use crate::failure::Result;
use crate::plan::{Look, Run, Step};
use crate::replication::{Canary, Lsn, Verify, drop_origin, drop_slot};

/// Drops the slot, the origin and our own table, where they are still there.
pub(super) struct Clean(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Clean {
    fn id(&self) -> &'static str {
        "clean"
    }

    fn title(&self) -> String {
        "drop replication slot, origin and our own table".to_owned()
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        let open = self.0.open(run).await?;
        drop_slot(&*open.source, &spec.slot).await?;
        drop_origin(&*open.target, &spec.origin).await?;
        let canary = Canary { id: &run.id };
        canary.remove(&*open.source).await?;
        canary.remove(&*open.target).await?;
        report(run, spec.verify)
    }
}

/// What people want to know afterwards, in one line.
fn report(run: &Run, verify: Verify) -> Result<String> {
    let since = run.memory.recall::<Timestamp>(FROZEN)?;
    let refused = since
        .map(|since| format!("writes were refused for {:.1} s until here", Timestamp::now().duration_since(since).as_secs_f64()));
    let end = run.memory.recall::<Lsn>(END)?.map(|end| format!("last position {end}"));
    let proof = |same: Same| match verify {
        Verify::Full => format!("{} proven the same", same.in_words()),
        Verify::Sample => format!("{}, of which samples are proven the same", same.in_words()),
        Verify::Counts | Verify::None => format!("{}, counted and not compared", same.in_words()),
    };
    let same = run.memory.recall::<Same>(SAME)?.map_or_else(|| "no row was compared".to_owned(), proof);
    Ok([refused, end, Some(same)].into_iter().flatten().collect::<Vec<_>>().join("; "))
}
