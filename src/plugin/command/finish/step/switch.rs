//! The application uses the new server from here on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::super::Desk;
use super::freeze::RIGHTS;
use super::setting;
use crate::cluster::service::point;
use crate::database::postgres::Postgres;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};
use crate::replication::{Freeze, Written, end_sessions, written};

/// Nobody may have come back for so long.
const QUIET: Duration = Duration::from_secs(2);
/// No longer than that is waited for it.
const LONGEST: Duration = Duration::from_secs(20);
/// Time between two looks for who has.
const LOOK: Duration = Duration::from_millis(250);

/// Name in the memory of what had been written to the target before the switch.
pub(super) const WRITTEN: &str = "written";

/// Points the Service elsewhere and restarts what connects to it.
pub(super) struct Switch(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Switch {
    fn id(&self) -> &'static str {
        "switch"
    }

    fn title(&self) -> String {
        let spec = &self.0.spec;
        let service =
            spec.service.as_ref().map(|service| format!("point service/{} to the pods of service/{}", service.name, service.to));
        let settings = spec.settings.iter().map(|setting| format!("set {}", setting.at));
        let restart = spec.restart.iter().map(|workload| format!("restart {workload}"));
        service.into_iter().chain(settings).chain(restart).collect::<Vec<_>>().join(", ")
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        if let Some(service) = &spec.service {
            point(&run.cluster, &run.namespace, &service.name, &service.after).await?;
        }
        setting::set(&self.0, run).await?;
        self.restart(run, &run.id).await?;
        let source = self.0.open(run).await?.source;
        self.end_sessions(run, &source, "source").await
    }

    async fn can_go_back(&self, run: &Run) -> Result<()> {
        let Some(before) = run.memory.recall::<Written>(WRITTEN)? else { return Ok(()) };
        if self.0.accept_data_loss {
            return Ok(());
        }
        let now = written(&*self.0.open(run).await?.target).await?;
        if now.next == before.next {
            return Ok(());
        }
        let rows = now.rows - before.rows;
        let fact = match rows {
            0 => "transactions have written since the switch; which rows, its statistics do not tell yet".to_owned(),
            _ => format!("about {rows} rows have been written to it since the switch"),
        };
        Err(Failure::refused("what was written to the target since the switch would be lost")
            .fact(fact)
            .state("nothing was changed")
            .next(format!("kubectl dbmig undo {} -n {} --accept-data-loss", run.id, run.namespace)))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        if let Some(service) = &self.0.spec.service {
            point(&run.cluster, &run.namespace, &service.name, &service.before).await?;
        }
        setting::reset(&self.0, run).await?;
        self.restart(run, &format!("{}-back", run.id)).await?;
        let target = self.0.open(run).await?.target;
        self.end_sessions(run, &target, "target").await
    }
}

impl Switch {
    /// A Service leads new connections elsewhere; those that are open stay where they are, and until every node knows of it some
    /// of those that are made anew lead back. So they are ended until nobody has come back for a while.
    async fn end_sessions(&self, run: &Run, left: &Postgres, side: &str) -> Result<String> {
        let taken = run.memory.recall::<Freeze>(RIGHTS)?.unwrap_or_default();
        if self.0.spec.service.is_none() {
            return Ok(String::new());
        }
        let (begun, mut since, mut count) = (Instant::now(), Instant::now(), 0);
        loop {
            match end_sessions(left, &taken.roles()).await {
                Ok(0) if since.elapsed() >= QUIET => break,
                Ok(0) => {}
                Ok(ended) => (since, count) = (Instant::now(), count + ended),
                // The switch itself is done: what stays connected can't write there.
                Err(failure) => {
                    return Ok(format!(
                        "sessions that are still connected to the {side} could not be ended: {}",
                        failure.cause()
                    ));
                }
            }
            if begun.elapsed() > LONGEST {
                return Ok(format!(
                    "sessions on the {side} were ended {count} times and come back: they are led there by something else"
                ));
            }
            sleep(LOOK).await;
        }
        Ok(if count == 0 { String::new() } else { format!("{count} sessions were still connected to the {side} and were ended") })
    }

    async fn restart(&self, run: &Run, by: &str) -> Result<()> {
        let spec = &self.0.spec;
        for workload in &spec.restart {
            workload.restart(&run.cluster, &run.namespace, by).await?;
        }
        for workload in &spec.restart {
            workload.rolled_out(&run.cluster, &run.namespace, &run.stop, spec.timeout()).await?;
        }
        Ok(())
    }
}
