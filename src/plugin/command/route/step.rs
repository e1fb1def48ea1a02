//! The steps of leading traffic elsewhere: a gate, the switch, and the proof that whoever comes that way is answered.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Api, Patch};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use super::spec::{Spec, What};
use crate::cluster::error::Context as _;
use crate::cluster::helm::{Program, newest};
use crate::cluster::service::{Probe, point, ready_addresses};
use crate::cluster::{Cluster, as_ours};
use crate::command::promote::{self, package::Package};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step, Store};
use crate::replication::{Written, written};

/// Name in the memory of when the switch began, and what had been written to the new primary by then.
const SWITCHED: &str = "switched";
/// Time between two questions.
const LOOK: Duration = Duration::from_millis(200);

/// What the steps share.
pub(super) struct Desk {
    pub(super) spec: Spec,
    /// What may be given up when the operation is taken back.
    pub(super) accept_data_loss: bool,
    /// The chart and its value, in the process that looked.
    pub(super) package: Option<Package>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Switched {
    time: Timestamp,
    written: Option<Written>,
}

/// All steps in order.
pub(super) fn steps(desk: &Arc<Desk>) -> Vec<Box<dyn Step>> {
    let mut steps: Vec<Box<dyn Step>> = Vec::new();
    if matches!(desk.spec.what, What::Release { .. }) {
        steps.push(Box::new(Keep(desk.clone())));
    }
    steps.push(Box::new(Gate(desk.clone())));
    steps.push(Box::new(Switch(desk.clone())));
    steps.push(Box::new(Prove(desk.clone())));
    steps
}

impl Desk {
    /// The cluster with the namespace of what is switched in force.
    fn there(&self, run: &Run) -> Cluster {
        run.cluster.within(&self.spec.namespace)
    }

    /// The desk of the promotion that made the new release.
    async fn promotion(&self, run: &Run) -> Result<Option<Arc<promote::Desk>>> {
        let Some(id) = &self.spec.promotion else { return Ok(None) };
        let record = Store::in_namespace(&run.cluster, &run.namespace).load(id).await?;
        promote::desk(&record, false).map(Some)
    }

    /// What has been written to the new primary, where that is known.
    async fn written(&self, run: &Run) -> Result<Option<Written>> {
        let Some(promotion) = self.promotion(run).await? else { return Ok(None) };
        written(&promotion.new_primary(&run.cluster).await?).await.map(Some)
    }

    /// Traffic is led to the new release.
    async fn is_switched(&self, run: &Run) -> Result<bool> {
        let there = self.there(run);
        Ok(match &self.spec.what {
            What::Release { name, path, .. } => {
                let release = newest(&there, name).await?;
                let serves = release.value(path).and_then(|value| value.as_str().map(str::to_owned));
                release.status() == "deployed" && serves.as_deref() == Some(self.spec.to.as_str())
            }
            What::Service { name, after, .. } => {
                crate::cluster::service::pointing(&run.cluster, &run.namespace, name).await?["selector"] == after["selector"]
            }
            What::Ingress { name, after, .. } => {
                let api: Api<Ingress> = Api::namespaced(there.client.clone(), &there.namespace);
                let spec = api.get(name).await.doing(format!("read ingress/{name}"))?.spec;
                serde_json::to_value(spec).unwrap_or_default()["rules"] == after["rules"]
            }
        })
    }
}

/// Keeps the chart, so that another machine can go on.
struct Keep(Arc<Desk>);

#[async_trait]
impl Step for Keep {
    fn id(&self) -> &'static str {
        "keep-chart"
    }

    fn title(&self) -> String {
        "keep the chart and its value in a Secret".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        // Once traffic is led there, it is not needed any more, and may be gone again.
        let is_there = Package::kept(run).await?.is_some() || self.0.is_switched(run).await?;
        Ok(if is_there { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let package = self.0.package.as_ref().ok_or_else(|| {
            Failure::failed("the chart was not kept before the operation stopped").state("nothing was changed yet")
        })?;
        package.keep(run).await.map(|()| String::new())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        Package::forget(run).await.map(|()| String::new())
    }
}

/// Sees that whoever comes will be answered, and by data that lacks nothing.
struct Gate(Arc<Desk>);

#[async_trait]
impl Step for Gate {
    fn id(&self) -> &'static str {
        "gate"
    }

    fn title(&self) -> String {
        format!("see that release {} is ready and lacks nothing", self.0.spec.to)
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if self.0.is_switched(run).await? { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        let needed = spec.services.iter().chain(match &spec.what {
            What::Service { like, .. } => Some(like),
            _ => None,
        });
        for service in needed {
            if ready_addresses(&run.cluster, &run.namespace, service).await?.unwrap_or_default() == 0 {
                return Err(Failure::failed(format!("service/{service} has no ready address"))
                    .next(format!("kubectl dbmig status -n {}", run.namespace))
                    .exit(Exit::Unproven)
                    .take_back());
            }
        }
        for probe in &spec.before {
            answers(run, &run.namespace, probe, spec.count, Duration::ZERO)
                .await
                .map_err(|failure| failure.exit(Exit::Unproven).take_back())?;
        }
        let Some(id) = &spec.promotion else { return Ok(String::new()) };
        let record = Store::in_namespace(&run.cluster, &run.namespace).load(id).await?;
        let gap = promote::gap(&run.cluster, &run.stop, &record).await?;
        let old = record.spec::<promote::Spec>()?.primary.target.to_string();
        if gap.differs && !spec.accept_divergence {
            return Err(super::diverged(&gap, &old, spec).exit(Exit::Unproven).take_back());
        }
        Ok(gap.in_words(&old))
    }
}

/// Leads traffic to the new release.
struct Switch(Arc<Desk>);

#[async_trait]
impl Step for Switch {
    fn id(&self) -> &'static str {
        "switch"
    }

    fn title(&self) -> String {
        self.0.spec.what.in_words(&self.0.spec.to)
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        if run.memory.recall::<Switched>(SWITCHED)?.is_none() {
            // Known before the first request can come.
            let written = self.0.written(run).await?;
            run.memory.keep(SWITCHED, &Switched { time: Timestamp::now(), written })?;
        }
        Ok(if self.0.is_switched(run).await? { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let (spec, there) = (&self.0.spec, self.0.there(run));
        match &spec.what {
            What::Release { name, chart, helm, .. } => {
                let helm = Program::find(Path::new(helm), &there, &there.namespace).await?;
                let package = Package::kept(run).await?.ok_or_else(|| Failure::failed("the Secret with the chart is gone"))?;
                let files = package.files(chart.clone())?;
                let upgraded = helm.upgrade(name, &files.chart, &files.values, spec.timeout(), &run.stop).await;
                upgraded.map_err(Failure::take_back)?;
            }
            What::Service { name, after, .. } => point(&run.cluster, &run.namespace, name, after).await?,
            What::Ingress { name, uid, after, .. } => backends(&there, name, uid, after).await?,
        }
        Ok(String::new())
    }

    async fn can_go_back(&self, run: &Run) -> Result<()> {
        let Some(Switched { written: Some(then), time }) = run.memory.recall::<Switched>(SWITCHED)? else { return Ok(()) };
        if self.0.accept_data_loss {
            return Ok(());
        }
        let refused = |fact: String| {
            Failure::refused(format!(
                "what was written to release {} since traffic was led there would be out of use",
                self.0.spec.to
            ))
            .fact(fact)
            .state("nothing was changed")
            .next(format!("kubectl dbmig undo {} -n {} --accept-data-loss", run.id, run.namespace))
        };
        let now = match self.0.written(run).await {
            Ok(Some(now)) => now,
            Ok(None) => return Ok(()),
            Err(failure) => return Err(refused(format!("how much that is can't be asked: {}", failure.message))),
        };
        let since = time.strftime("%H:%M:%SZ");
        match now.differs(&then) {
            false if now.transactions_since(&then) == 0 => Ok(()),
            false => Err(refused(format!(
                "{} transactions have begun since {since}; which rows are theirs, its statistics do not tell yet",
                now.transactions_since(&then)
            ))),
            true => Err(refused(format!("about {} rows have been written since {since}", (now.rows - then.rows).max(0)))),
        }
    }

    async fn back(&self, run: &Run) -> Result<String> {
        let there = self.0.there(run);
        match &self.0.spec.what {
            What::Release { name, helm, revision, .. } => {
                let now = newest(&there, name).await?;
                if now.revision == *revision && now.status() == "deployed" {
                    return Ok(String::new());
                }
                let helm = Program::find(Path::new(helm), &there, &there.namespace).await?;
                helm.roll_back(name, *revision, self.0.spec.timeout()).await?;
                Ok(format!("release {name} is as in revision {revision}"))
            }
            What::Service { name, before, .. } => point(&run.cluster, &run.namespace, name, before).await.map(|()| String::new()),
            What::Ingress { name, uid, before, .. } => backends(&there, name, uid, before).await.map(|()| String::new()),
        }
    }
}

/// Proves that whoever comes the way that clients take is answered.
struct Prove(Arc<Desk>);

#[async_trait]
impl Step for Prove {
    fn id(&self) -> &'static str {
        "prove"
    }

    fn title(&self) -> String {
        match self.0.spec.after.len() {
            0 => "see that traffic arrives".to_owned(),
            _ => format!("see that traffic arrives: {} answers in a row", self.0.spec.count),
        }
    }

    fn stop_takes_back(&self) -> bool {
        true
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        for probe in &spec.after {
            let namespace = if spec.services.contains(&probe.service) { &run.namespace } else { &spec.namespace };
            let asked = answers(run, namespace, probe, spec.count, spec.timeout()).await;
            asked.map_err(
                |failure| if failure.exit == Exit::Interrupted { failure } else { failure.exit(Exit::Unproven).take_back() },
            )?;
        }
        Package::forget(run).await?;
        let Some(Switched { time, .. }) = run.memory.recall::<Switched>(SWITCHED)? else { return Ok(String::new()) };
        let seconds = Timestamp::now().duration_since(time).as_secs_f64();
        Ok(format!("{} probes; {seconds:.1} s since the switch began", spec.after.len()))
    }
}

/// Asks until there have been so many good answers in a row.
async fn answers(run: &Run, namespace: &str, probe: &Probe, count: u32, limit: Duration) -> Result<()> {
    let (until, mut good) = (Instant::now() + limit, 0);
    loop {
        match probe.ask(&run.cluster, namespace).await {
            Ok(()) => good += 1,
            // It has been asked long enough: clients wait.
            Err(failure) if Instant::now() >= until => return Err(Failure { passing: false, ..failure }),
            Err(_) => good = 0,
        }
        if good >= count {
            return Ok(());
        }
        run.stop
            .interruptible(sleep(LOOK))
            .await
            .map_err(|_| Failure::new(Exit::Interrupted, format!("stopped while asking {probe}")))?;
    }
}

async fn backends(cluster: &Cluster, name: &str, uid: &str, to: &Value) -> Result<()> {
    let api: Api<Ingress> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let change = json!({"metadata": {"uid": uid}, "spec": to});
    api.patch(name, &as_ours(), &Patch::Merge(&change)).await.map(drop).doing(format!("change ingress/{name}"))
}
