//! The steps around a migration that runs offline: stop everything that uses the database, and start it again with the new image.

use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::Patch;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::look::{api_of_cronjobs, running, shown};
use super::sharing::{clues, shared};
use super::{Change, Offline, Scaled, Suspended};
use crate::cluster::as_ours;
use crate::cluster::error::Context as _;
use crate::cluster::helper::{LABEL_OPERATION, is_helper};
use crate::cluster::pods::{Verdict, Wait, why_not_ready};
use crate::cluster::volume::has_ended;
use crate::command::kept_logs;
use crate::command::run::desk::{Around, Desk, Shared};
use crate::command::run::step::is_judged;
use crate::database;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};

/// How long sessions of pods that are gone may stay.
const SESSIONS: Duration = Duration::from_secs(60);
/// Between two looks at the sessions: everybody is kept waiting meanwhile.
const SESSIONS_LOOK: Duration = Duration::from_millis(250);
/// Between two looks at what gets Ready.
const LOOK: Duration = Duration::from_secs(1);
/// Sessions of clients on this database but ours, those included of which this role sees nothing but that they are there.
fn others() -> String {
    format!(
        "SELECT format('session %s of %s from %s, %s', pid, coalesce(usename, '?'), \
            coalesce(host(client_addr), 'its own host'), coalesce(state, 'in an unknown state')) \
         FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
         AND coalesce(backend_type, 'client backend') = 'client backend' AND NOT {} ORDER BY pid LIMIT 20",
        database::is_ours()
    )
}

/// Scales to 0 and suspends whatever uses the database, and waits until its pods are gone.
pub(in crate::command::run) struct StopUsers(pub(in crate::command::run) Shared, pub(in crate::command::run) Offline);

#[async_trait]
impl Step for StopUsers {
    fn id(&self) -> &'static str {
        "stop-users"
    }

    fn title(&self) -> String {
        let scaled = self.1.scaled.iter().map(|one| one.workload.to_string());
        let suspended = self.1.suspended.iter().map(|one| format!("cronjob/{}", one.name));
        format!("stop {}", scaled.chain(suspended).collect::<Vec<_>>().join(", "))
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        if is_judged(run)? {
            return Ok(Look::Done);
        }
        let stopped = is_scaled(&self.1, run, |_| 0).await? && self.0.users(run).await?.is_empty();
        Ok(if stopped { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        stop(&self.0, &self.1, run).await
    }

    async fn back(&self, run: &Run) -> Result<String> {
        start(&self.1, run).await?;
        Ok(String::new())
    }
}

/// Waits until nobody but us is in the database.
pub(in crate::command::run) struct Sessions(pub(in crate::command::run) Shared);

#[async_trait]
impl Step for Sessions {
    fn id(&self) -> &'static str {
        "await-sessions"
    }

    fn title(&self) -> String {
        "wait until nobody is in the database any more".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if is_judged(run)? { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let until = Instant::now() + SESSIONS;
        loop {
            let sessions = match self.0.of_postgres(Around::of(run), &others()).await {
                Ok(Some(sessions)) => sessions,
                Ok(None) => return Ok("a database of this kind does not tell".to_owned()),
                Err(failure) => return Ok(format!("not asked: {}", failure.message)),
            };
            let left: Vec<&str> = sessions.iter().filter_map(|row| row.first()?.as_str()).collect();
            if left.is_empty() {
                return Ok("nobody is".to_owned());
            }
            if Instant::now() > until && self.0.spec.force {
                return Ok(format!("still there (--force): {}", left.join("; ")));
            }
            if Instant::now() > until {
                let limit = SESSIONS.as_secs();
                return Err(Failure::new(Exit::TimedOut, format!("sessions are still in the database after {limit} s"))
                    .facts(left)
                    .fact("every pod that is told of it is gone: it is somebody else, or a statement that goes on without its client")
                    .next("end it: SELECT pg_terminate_backend(NUMBER)")
                    .next("go on beside it: --force")
                    .take_back());
            }
            sleep(SESSIONS_LOOK).await;
        }
    }
}

/// Puts the new image in place of the old one.
pub(in crate::command::run) struct Images(pub(in crate::command::run) Offline, pub(in crate::command::run) String);

#[async_trait]
impl Step for Images {
    fn id(&self) -> &'static str {
        "set-images"
    }

    fn title(&self) -> String {
        format!("set the image to {} where the old one was", self.1)
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        set_images(&self.0, run, |change| &change.new).await?;
        Ok(String::new())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        set_images(&self.0, run, |change| &change.old).await?;
        Ok("the old image is back".to_owned())
    }
}

/// Puts back what was scaled to 0 and suspended.
pub(in crate::command::run) struct StartAgain(pub(in crate::command::run) Shared, pub(in crate::command::run) Offline);

#[async_trait]
impl Step for StartAgain {
    fn id(&self) -> &'static str {
        "start-users"
    }

    fn title(&self) -> String {
        "start everything again as it was".to_owned()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if is_scaled(&self.1, run, |one| one.replicas).await? { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        start(&self.1, run).await?;
        Ok(String::new())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        stop(&self.0, &self.1, run).await
    }
}

/// Waits until everything that was started is Ready.
pub(in crate::command::run) struct Ready(pub(in crate::command::run) Shared, pub(in crate::command::run) Offline);

#[async_trait]
impl Step for Ready {
    fn id(&self) -> &'static str {
        "await-ready"
    }

    fn title(&self) -> String {
        "wait until everything is Ready".to_owned()
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(if self.1.scaled.iter().all(|one| one.replicas == 0) { Look::NotNeeded } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let until = Instant::now() + self.0.spec.patience();
        loop {
            let behind = behind(&self.1, run).await?;
            if behind.is_empty() {
                return Ok(String::new());
            }
            if run.stop.requested() {
                return Err(Failure::new(Exit::Interrupted, "stopped while waiting for everything to get Ready"));
            }
            if Instant::now() > until {
                let limit = self.0.spec.patience_seconds;
                let pods = self.0.users(run).await?;
                let why = pods.iter().filter(|pod| !crate::cluster::pods::is_ready(pod));
                return Err(Failure::failed(format!("not everything got Ready within {limit} s"))
                    .facts(behind)
                    .facts(why.map(|pod| format!("{}: {}", shown(pod), why_not_ready(pod))))
                    .state("the migration has run, and everything was started; the old image is in the operation's record")
                    .next(format!("kubectl dbmig status -n {}", run.namespace)));
            }
            sleep(LOOK).await;
        }
    }
}

impl Desk {
    /// Pods that use the database now and are not ours.
    async fn users(&self, run: &Run) -> Result<Vec<Pod>> {
        let own = clues(&self.template(&run.cluster).await?.spec.unwrap_or_default());
        let left: Vec<String> = self.spec.offline.iter().flat_map(|offline| offline.left.clone()).collect();
        running(&run.cluster, &own, |pod| is_ours(pod, run) || is_left(pod, &left)).await
    }

    /// Proves, right before the migration begins, that nobody has started anything again.
    ///
    /// # Errors
    /// Somebody has; everything is to be taken back.
    pub(in crate::command::run) async fn prove_stopped(&self, run: &Run) -> Result<()> {
        let Some(offline) = &self.spec.offline else { return Ok(()) };
        let again = self.users(run).await?;
        let scaled = is_scaled(offline, run, |_| 0).await?;
        if again.is_empty() && scaled {
            return Ok(());
        }
        let mut failure = Failure::failed("something that uses the database was started again while it should be stopped")
            .fact("the migration has not begun")
            .facts(again.iter().map(|pod| format!("{} uses the database", shown(pod))));
        for one in &offline.scaled {
            let replicas = one.workload.replicas(&run.cluster, &run.namespace).await?;
            if replicas != 0 {
                failure = failure.fact(format!("{} has {replicas} replicas again", one.workload));
            }
            let managers = one.workload.other_managers(&run.cluster, &run.namespace).await?;
            failure = failure.facts(managers.iter().map(|tool| format!("{} is managed by {tool}: pause it first", one.workload)));
        }
        Err(failure.take_back())
    }
}

fn is_ours(pod: &Pod, run: &Run) -> bool {
    is_helper(pod) || pod.labels().get(LABEL_OPERATION).is_some_and(|id| *id == run.id)
}

/// Of something that the user did not want to be stopped.
fn is_left(pod: &Pod, left: &[String]) -> bool {
    let owners = pod.owner_references().iter().map(|owner| format!("{}/{}", owner.kind.to_lowercase(), owner.name));
    owners.chain([shown(pod)]).any(|one| left.contains(&one))
}

async fn stop(desk: &Desk, offline: &Offline, run: &Run) -> Result<String> {
    kept_logs::keep(run, &desk.users(run).await?).await;
    for one in &offline.scaled {
        one.workload.scale(&run.cluster, &run.namespace, one.replicas, 0).await?;
    }
    suspend(offline, run, true).await?;
    let own = clues(&desk.template(&run.cluster).await?.spec.unwrap_or_default());
    let wait = Wait {
        namespace: &run.namespace,
        fields: "",
        limit: desk.spec.patience(),
        what: "every pod that uses the database to go",
    };
    let uses = |pod: &&Pod| {
        let told = pod.spec.as_ref().is_some_and(|spec| shared(&own, &clues(spec)).is_some());
        told && !has_ended(pod) && !is_ours(pod, run) && !is_left(pod, &offline.left)
    };
    let gone = wait.until(&run.cluster, &run.stop, |pods| {
        let left: Vec<String> = pods.iter().filter(uses).map(|pod| format!("{} is still there", shown(pod))).collect();
        if left.is_empty() { Verdict::Met(()) } else { Verdict::Waiting(left.join("\n")) }
    });
    // Who asks to stop decides then whether to go on or back.
    gone.await
        .map_err(|failure| if failure.exit == Exit::Interrupted { failure } else { failure.exit(Exit::TimedOut).take_back() })?;
    Ok(String::new())
}

async fn start(offline: &Offline, run: &Run) -> Result<()> {
    for one in &offline.scaled {
        one.workload.scale(&run.cluster, &run.namespace, 0, one.replicas).await?;
    }
    suspend(offline, run, false).await
}

/// Whether every workload asks for just that many replicas, and CronJobs are suspended where none are asked for.
async fn is_scaled(offline: &Offline, run: &Run, wanted: impl Fn(&Scaled) -> i32) -> Result<bool> {
    for one in &offline.scaled {
        if one.workload.replicas(&run.cluster, &run.namespace).await? != wanted(one) {
            return Ok(false);
        }
    }
    let Some(first) = offline.suspended.first() else { return Ok(true) };
    let wanted = offline.scaled.first().is_none_or(|one| wanted(one) == 0);
    Ok(is_suspended(first, run).await? == wanted)
}

async fn is_suspended(one: &Suspended, run: &Run) -> Result<bool> {
    let read = api_of_cronjobs(&run.cluster).await?.get(&one.name).await.doing(format!("read cronjob/{}", one.name))?;
    Ok(read.data.pointer("/spec/suspend").and_then(Value::as_bool).unwrap_or(false))
}

async fn suspend(offline: &Offline, run: &Run, suspend: bool) -> Result<()> {
    for one in &offline.suspended {
        patch_cronjob(one, run, &json!({"spec": {"suspend": suspend}})).await?;
    }
    Ok(())
}

/// Changes this very CronJob: another one of its name is refused by the server.
async fn patch_cronjob(one: &Suspended, run: &Run, change: &Value) -> Result<()> {
    let mut change = change.clone();
    change["metadata"] = json!({"uid": one.uid});
    let params = as_ours();
    let api = api_of_cronjobs(&run.cluster).await?;
    api.patch(&one.name, &params, &Patch::Strategic(change)).await.doing(format!("change cronjob/{}", one.name))?;
    Ok(())
}

async fn set_images(offline: &Offline, run: &Run, which: impl Fn(&Change) -> &String) -> Result<()> {
    for one in offline.scaled.iter().filter(|one| !one.images.is_empty()) {
        let change = json!({"spec": {"template": {"spec": template(&one.images, &which)}}});
        one.workload.change(&run.cluster, &run.namespace, change).await?;
    }
    for one in offline.suspended.iter().filter(|one| !one.images.is_empty()) {
        let spec = template(&one.images, &which);
        let change = json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}});
        patch_cronjob(one, run, &change).await?;
    }
    Ok(())
}

fn template(changes: &[Change], which: impl Fn(&Change) -> &String) -> Value {
    let of = |init: bool| -> Vec<Value> {
        let same = changes.iter().filter(|change| change.init == init);
        same.map(|change| json!({"name": change.container, "image": which(change)})).collect()
    };
    let mut spec = json!({"containers": of(false)});
    if changes.iter().any(|change| change.init) {
        spec["initContainers"] = of(true).into();
    }
    spec
}

/// What is not Ready yet, a line each.
async fn behind(offline: &Offline, run: &Run) -> Result<Vec<String>> {
    let mut behind = Vec::new();
    for one in offline.scaled.iter().filter(|one| one.replicas > 0) {
        let object = one.workload.get(&run.cluster, &run.namespace).await?;
        let number = |path: &str| object.data.pointer(path).and_then(Value::as_i64).unwrap_or(0);
        let (ready, updated) = (number("/status/readyReplicas"), number("/status/updatedReplicas"));
        let seen = number("/status/observedGeneration") >= object.metadata.generation.unwrap_or(0);
        // A ReplicaSet has no older pods that it would replace.
        let is_set = one.workload.kind == crate::cluster::workload::Kind::ReplicaSet;
        let wanted = i64::from(one.replicas);
        if !seen || ready < wanted || (updated < wanted && !is_set) {
            behind.push(format!("{}: {ready} of {wanted} ready", one.workload));
        }
    }
    Ok(behind)
}
