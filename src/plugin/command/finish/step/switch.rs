//! The application uses the new server from here on.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Service as Object;
use kube::Api;
use kube::api::Patch;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::Desk;
use super::super::spec::Service;
use super::freeze::RIGHTS;
use super::setting;
use crate::cluster::as_ours;
use crate::cluster::error::translate;
use crate::database::Database;
use crate::database::postgres::Postgres;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};
use crate::replication::{Freeze, end_sessions};

/// Name in the memory of what had been written to the target before the switch.
pub(super) const WRITTEN: &str = "written";

/// How much has been written to a server's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    /// The next number that a writing transaction gets.
    next: i64,
    /// Rows inserted, changed and deleted, by the server's own statistics.
    rows: i64,
}

/// What has been written so far.
pub(super) async fn written(database: &dyn Database) -> Result<Written> {
    let next = database.number("SELECT txid_snapshot_xmax(txid_current_snapshot())").await?.unwrap_or_default();
    let sql = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::int8 FROM pg_stat_user_tables \
               WHERE schemaname NOT IN ('kubectl_dbmig', 'pgcopydb')";
    Ok(Written { next, rows: database.number(sql).await?.unwrap_or_default() })
}

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
            point(run, service, &service.after).await?;
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
            point(run, service, &service.before).await?;
        }
        setting::reset(&self.0, run).await?;
        self.restart(run, &format!("{}-back", run.id)).await?;
        let target = self.0.open(run).await?.target;
        self.end_sessions(run, &target, "target").await
    }
}

impl Switch {
    /// A Service leads new connections elsewhere; those that are open stay where they are.
    async fn end_sessions(&self, run: &Run, left: &Postgres, side: &str) -> Result<String> {
        let taken = run.memory.recall::<Freeze>(RIGHTS)?.unwrap_or_default();
        if self.0.spec.service.is_none() {
            return Ok(String::new());
        }
        // The switch itself is done: what stays connected can't write there.
        Ok(match end_sessions(left, &taken.roles()).await {
            Ok(0) => String::new(),
            Ok(count) => format!("{count} sessions were still connected to the {side} and were ended"),
            Err(failure) => {
                let why = failure.facts.first().cloned().unwrap_or(failure.message);
                format!("sessions that are still connected to the {side} could not be ended: {why}")
            }
        })
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

/// Points a Service somewhere; what of its selector is not named goes.
async fn point(run: &Run, service: &Service, to: &Value) -> Result<()> {
    let services: Api<Object> = Api::namespaced(run.cluster.client.clone(), &run.namespace);
    let doing = format!("point service/{} elsewhere", service.name);
    let mut selector = to["selector"].clone();
    let now = services.get(&service.name).await.map_err(|error| translate(&error, &doing))?;
    let old = now.spec.and_then(|spec| spec.selector).unwrap_or_default();
    if let Some(selector) = selector.as_object_mut() {
        for name in old.keys().filter(|name| to["selector"].get(name.as_str()).is_none()) {
            selector.insert(name.clone(), Value::Null);
        }
    }
    let patch = json!({"spec": {"type": to["type"], "selector": selector, "externalName": to["externalName"]}});
    let params = as_ours();
    services.patch(&service.name, &params, &Patch::Merge(&patch)).await.map_err(|error| translate(&error, &doing))?;
    Ok(())
}
