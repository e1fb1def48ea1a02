//! What the operation needs of its own: kept before the work, removed after it.

use std::sync::Arc;

use async_trait::async_trait;
use dbmig_wire::ForgetStandby;

use super::super::Desk;
use super::super::desk::{data_directory, log_in, seat};
use super::super::package::Package;
use super::claim::forget_snapshot;
use super::prove::{PROOF, Proof};
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};

/// Keeps the chart and its values, so that another machine can go on.
pub(super) struct KeepPackage(pub(super) Arc<Desk>);

#[async_trait]
impl Step for KeepPackage {
    fn id(&self) -> &'static str {
        "keep-chart"
    }

    fn title(&self) -> String {
        "keep the chart and its values in a Secret".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        // Once the release has proven itself, it is not needed any more, and may be gone again.
        let is_over = run.memory.recall::<Proof>(PROOF)?.is_some();
        Ok(if is_over || Package::kept(run).await?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let package = self.0.package.as_ref().ok_or_else(|| {
            Failure::failed("the chart and its values were not kept before the operation stopped")
                .state("nothing was changed yet")
        })?;
        package.keep(run).await.map(|()| String::new())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        Package::forget(run).await.map(|()| String::new())
    }
}

/// Removes what only the work needed.
pub(super) struct Tidy(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Tidy {
    fn id(&self) -> &'static str {
        "clean-up"
    }

    fn title(&self) -> String {
        "remove what only the work needed".to_owned()
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        spec.helper.delete(&run.cluster).await?;
        Package::forget(run).await?;
        forget_snapshot(&spec.copy, run).await?;
        // A server has run on it since: there is no way back for it any more, and its kept files would go into every base backup.
        let seat = seat(&run.cluster, &spec.server).await?;
        let path = data_directory(&log_in(&seat).await?).await?;
        let forgotten = seat.agent.ask(ForgetStandby { path, operation: run.id.clone() }, None).await;
        forgotten.map(|_| String::new()).map_err(|error| error.into_failure("remove what the data directory had as a standby"))
    }
}
