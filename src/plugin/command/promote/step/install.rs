//! The new release, installed by real Helm and followed while it comes up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use tokio::time::{Instant, sleep};

use super::super::Desk;
use super::super::package::Package;
use super::freeze::{RIGHTS, give_back};
use super::prove::{PROOF, Proof};
use crate::cluster::error::Context as _;
use crate::cluster::helm::{INSTANCE, Program, newest_of};
use crate::cluster::pods::{is_ready, statuses, why_not_ready};
use crate::cluster::volume::{Source, mounts_source};
use crate::command::kept_logs;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};
use crate::replication::{Freeze, standing, written};
use crate::ui::human::log_text;

/// Time between two looks at the pods that come up.
const LOOK: Duration = Duration::from_secs(1);
/// Starts of the server after which it is given up.
const RESTARTS: i32 = 3;
/// Lines of the log of each container that is told of when it does not come up.
const LINES: i64 = 5;

/// Installs the release.
pub(super) struct Install(pub(super) Arc<Desk>);

#[async_trait]
impl Step for Install {
    fn id(&self) -> &'static str {
        "install"
    }

    fn title(&self) -> String {
        let spec = &self.0.spec;
        format!("install release {} on persistentvolumeclaim/{}", spec.release, spec.claim)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        let release = newest_of(&run.cluster, &self.0.spec.release).await?;
        Ok(if release.is_some_and(|release| release.status() == "deployed") { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        let helm = self.helm(run).await?;
        if self.left_by_another(run).await? {
            return Ok("another helm has installed it meanwhile".to_owned());
        }
        if newest_of(&run.cluster, &spec.release).await?.is_some() {
            helm.uninstall(&spec.release, spec.timeout()).await?;
        }
        self.0.unused(run, &spec.claim).await?;
        let package =
            Package::kept(run).await?.ok_or_else(|| Failure::failed("the Secret with the chart and its values is gone"))?;
        let files = package.files(spec.chart.clone())?;
        let installing = helm.install(&spec.release, &files.chart, &files.values, spec.timeout(), &run.stop);
        // Helm would wait for it to its last second.
        let installed = tokio::select! {
            installed = installing => installed,
            hopeless = self.follow(run) => Err(hopeless),
        };
        match installed {
            Ok(()) => Ok(format!("Helm {}", helm.version)),
            Err(failure) if failure.exit == Exit::Interrupted => Err(failure),
            Err(failure) => Err(self.explained(run, failure).await.take_back()),
        }
    }

    async fn can_go_back(&self, run: &Run) -> Result<()> {
        let Some(proof) = run.memory.recall::<Proof>(PROOF)? else { return Ok(()) };
        if self.0.accept_data_loss {
            return Ok(());
        }
        let accept = format!("kubectl dbmig undo {} -n {} --accept-data-loss", run.id, run.namespace);
        let refused = |fact: String| {
            Failure::refused(format!("what was written to release {} would be out of use", self.0.spec.release))
                .fact(fact)
                .fact(format!("it would stay on persistentvolumeclaim/{}, and nowhere else", self.0.spec.claim))
                .state("nothing was changed")
                .next(accept)
        };
        let server = match self.0.new_primary(&run.cluster).await {
            Ok(server) => server,
            Err(failure) => return Err(refused(format!("how much that is can't be asked: {}", failure.message))),
        };
        let now = written(&server).await?;
        if now.transactions_since(&proof.written) == 0 || !settled(run, &server, &proof).await? {
            return Ok(());
        }
        Err(refused(format!("about {} rows have been written to it since it was proven", (now.rows - proof.written.rows).max(0))))
    }

    async fn back(&self, run: &Run) -> Result<String> {
        let spec = &self.0.spec;
        if newest_of(&run.cluster, &spec.release).await?.is_none() {
            return Ok(String::new());
        }
        kept_logs::keep(run, &self.pods(run).await?).await;
        self.helm(run).await?.uninstall(&spec.release, spec.timeout()).await?;
        self.0.unused(run, &spec.claim).await?;
        Ok(String::new())
    }
}

/// Whether rows differ from what was proven; the server's statistics come some seconds late.
async fn settled(run: &Run, server: &crate::database::postgres::Postgres, proof: &Proof) -> Result<bool> {
    let until = Instant::now() + super::super::parted::LATE;
    loop {
        if written(server).await?.differs(&proof.written) {
            return Ok(true);
        }
        if Instant::now() > until {
            return Ok(false);
        }
        run.stop.interruptible(sleep(LOOK)).await?;
    }
}

impl Install {
    async fn helm(&self, run: &Run) -> Result<Program> {
        Program::find(Path::new(&self.0.spec.helm), &run.cluster, &run.namespace).await
    }

    async fn pods(&self, run: &Run) -> Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(run.cluster.client.clone(), &run.namespace);
        let params = ListParams::default().labels(&format!("{INSTANCE}={}", self.0.spec.release));
        Ok(api.list(&params).await.doing(format!("list the pods of release {}", self.0.spec.release))?.items)
    }

    /// A helm that outlived its plugin may still be at it: it gets the time that it was given. True: it has installed the release.
    async fn left_by_another(&self, run: &Run) -> Result<bool> {
        let until = Instant::now() + self.0.spec.timeout();
        loop {
            let release = newest_of(&run.cluster, &self.0.spec.release).await?;
            let Some(status) = release.map(|release| release.status().to_owned()) else { return Ok(false) };
            if status == "deployed" {
                return Ok(true);
            }
            if !status.starts_with("pending") || self.is_abandoned(run).await? || Instant::now() > until {
                return Ok(false);
            }
            run.events.note(format!("release {} is {status}: perhaps another helm is at it", self.0.spec.release));
            run.stop.interruptible(sleep(LOOK)).await?;
        }
    }

    /// Nothing of the release is Ready that it would still wait for, or all of it is and nobody says so.
    async fn is_abandoned(&self, run: &Run) -> Result<bool> {
        let pods = self.pods(run).await?;
        Ok(pods.iter().all(is_ready))
    }

    /// Tells what becomes of the pods, and gives the writers their rights in the new database as soon as it can be written to: what
    /// comes up may need them. Ends only when the server is seen to end again and again.
    async fn follow(&self, run: &Run) -> Failure {
        let mut told: BTreeMap<String, String> = BTreeMap::new();
        let mut given = !self.0.spec.freezes();
        loop {
            for pod in self.pods(run).await.unwrap_or_default() {
                if self.ends_again_and_again(&pod) {
                    return Failure::failed(format!("the server of release {} does not start", self.0.spec.release));
                }
                let state = if is_ready(&pod) { "Ready".to_owned() } else { why_not_ready(&pod) };
                let name = pod.metadata.name.unwrap_or_default();
                if told.insert(name.clone(), state.clone()).as_ref() != Some(&state) {
                    run.events.note(format!("pod/{name}: {state}"));
                }
            }
            if !given && self.rights_given(run).await.unwrap_or_default() {
                given = true;
                run.events.note("the writers have their rights in the new database".to_owned());
            }
            sleep(LOOK).await;
        }
    }

    /// The pod that mounts the claim has been started too often.
    fn ends_again_and_again(&self, pod: &Pod) -> bool {
        let restarts = statuses(pod).map(|status| status.restart_count).max().unwrap_or_default();
        restarts >= RESTARTS && !is_ready(pod) && mounts_source(pod, &Source::Claim(self.0.spec.claim.clone()))
    }

    async fn rights_given(&self, run: &Run) -> Result<bool> {
        let server = self.0.new_primary(&run.cluster).await?;
        if standing(&server).await?.in_recovery {
            return Ok(false);
        }
        let change: Freeze = run.memory.need(RIGHTS)?;
        give_back(&server, &change).await.map(|_| true)
    }

    /// Adds what did not come up, and what it said last.
    async fn explained(&self, run: &Run, failure: Failure) -> Failure {
        let pods = self.pods(run).await.unwrap_or_default();
        let late: Vec<Pod> = pods.into_iter().filter(|pod| !is_ready(pod)).collect();
        let states =
            late.iter().map(|pod| format!("pod/{}: {}", pod.metadata.name.clone().unwrap_or_default(), why_not_ready(pod)));
        let failure = failure.facts(states);
        let said = kept_logs::last_said(&run.cluster.client, &late, LINES).await;
        failure.facts(said.iter().flat_map(|log| &log.lines).map(|line| log_text(&line.text).into_owned()))
    }
}
