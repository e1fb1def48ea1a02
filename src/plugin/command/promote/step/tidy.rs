//! What the operation needs of its own: kept before the work, removed after it.

use std::sync::Arc;

use async_trait::async_trait;

use super::super::Desk;
use super::super::package::Package;
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
        Ok(if Package::kept(run).await?.is_some() { Look::Done } else { Look::Todo })
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
        "remove the helper pod and what was kept of the chart".to_owned()
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        self.0.spec.helper.delete(&run.cluster).await?;
        Package::forget(run).await.map(|()| String::new())
    }
}
