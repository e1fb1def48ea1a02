//! The steps of a beginning move: its volume, its script, its Job, and the first sign of its work.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use kube::api::{Api, DeleteParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::manifest::{self, CONTAINER};
use super::pod;
use super::spec::Spec;
use crate::cluster::Cluster;
use crate::cluster::error::{Context as _, found, translate};
use crate::cluster::helper::LABEL_OPERATION;
use crate::cluster::job::{OwnJob, is_over, owned_by};
use crate::cluster::pods::{Verdict, Wait, statuses};
use crate::command::kept_logs;
use crate::command::pair::Pair;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};
use crate::replication::{SLOT, applied, drop_origin, drop_slot, slot};

/// Name in the memory that says that slot and origin were nobody's.
const FREE: &str = "free";
/// Name in the memory that says that it follows on, by another Job, with the slot that it had.
const AGAIN: &str = "again";
/// How long pgcopydb may take to make its slot: an image to pull, and every transaction that is open has to end first.
const BEGIN: Duration = Duration::from_secs(600);
/// How long a Job's pod may take to go.
const GO: Duration = Duration::from_secs(120);
/// Time between two looks at a server.
const PAUSE: Duration = Duration::from_millis(500);
/// Lines of the log that tell why it did not begin.
const LINES: i64 = 15;

/// What the steps share.
pub(in crate::command) struct Desk {
    pub(super) spec: Spec,
    pair: Mutex<Option<Pair>>,
}

impl Desk {
    pub(super) fn new(spec: Spec, pair: Option<Pair>) -> Self {
        Self { spec, pair: Mutex::new(pair) }
    }

    async fn pair(&self, run: &Run) -> Result<Pair> {
        let mut pair = self.pair.lock().await;
        if let Some(pair) = pair.as_ref()
            && pair.answers().await
        {
            return Ok(pair.clone());
        }
        let pod = pod(&self.spec, &run.id, &run.namespace)?;
        Ok(pair.insert(Pair::reach(&run.cluster, &run.stop, &pod, CONTAINER, &run.id).await?).clone())
    }

    fn job(&self, run: &Run) -> OwnJob {
        OwnJob::new(&run.cluster, &run.namespace, &self.spec.name)
    }

    /// Removes the pod from which both servers are reached, if there is one.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(in crate::command) async fn leave(&self, cluster: &Cluster) -> Result<()> {
        match self.pair.lock().await.take() {
            Some(pair) => pair.leave(cluster).await,
            None => Ok(()),
        }
    }
}

/// All steps in order.
pub(in crate::command) fn steps(desk: &Arc<Desk>) -> Vec<Box<dyn Step>> {
    vec![
        Box::new(Make::<PersistentVolumeClaim>::new(desk, "volume", manifest_claim)),
        Box::new(Make::<ConfigMap>::new(desk, "script", manifest_config)),
        Box::new(Free(desk.clone())),
        Box::new(Copy(Make::<Job>::new(desk, "job", manifest::job))),
        Box::new(Begin(desk.clone())),
    ]
}

fn manifest_claim(spec: &Spec, id: &str) -> Result<Value> {
    Ok(manifest::claim(spec, id))
}

fn manifest_config(spec: &Spec, id: &str) -> Result<Value> {
    Ok(manifest::config(spec, id))
}

/// Makes an object that carries the operation's id, and removes it on the way back.
struct Make<K> {
    desk: Arc<Desk>,
    id: &'static str,
    manifest: fn(&Spec, &str) -> Result<Value>,
    kind: std::marker::PhantomData<fn() -> K>,
}

impl<K> Make<K> {
    fn new(desk: &Arc<Desk>, id: &'static str, manifest: fn(&Spec, &str) -> Result<Value>) -> Self {
        Self { desk: desk.clone(), id, manifest, kind: std::marker::PhantomData }
    }
}

/// What all three kinds are.
trait Object:
    Resource<Scope = NamespaceResourceScope>
    + Metadata<Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>
    + kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + std::fmt::Debug
    + DeserializeOwned
    + serde::Serialize
    + Send
    + Sync
    + 'static
{
}

impl Object for PersistentVolumeClaim {}
impl Object for ConfigMap {}
impl Object for Job {}

impl<K: Object> Make<K> {
    fn api(run: &Run) -> Api<K> {
        Api::namespaced(run.cluster.client.clone(), &run.namespace)
    }

    fn name(&self) -> String {
        format!("{}/{}", <K as Resource>::KIND.to_lowercase(), self.desk.spec.name)
    }

    /// Whether it is there and ours.
    ///
    /// # Errors
    /// Somebody else's has its name.
    async fn is_there(&self, run: &Run) -> Result<bool> {
        let found = Self::api(run).get_opt(&self.desk.spec.name).await;
        let found = found.map_err(|error| translate(&error, &format!("read {}", self.name())))?;
        let Some(found) = found else { return Ok(false) };
        let labels = Metadata::metadata(&found).labels.clone().unwrap_or_default();
        if labels.get(LABEL_OPERATION) == Some(&run.id) {
            return Ok(true);
        }
        Err(Failure::refused(format!("there is a {} already, which this operation did not make", self.name()))
            .state("it was left as it is")
            .take_back())
    }
}

#[async_trait]
impl<K: Object> Step for Make<K> {
    fn id(&self) -> &'static str {
        self.id
    }

    fn title(&self) -> String {
        format!("make {}", self.name())
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if self.is_there(run).await? { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let object: K = serde_json::from_value((self.manifest)(&self.desk.spec, &run.id)?)
            .map_err(|error| Failure::failed(format!("cannot describe {}: {error}", self.name())))?;
        let made = Self::api(run).create(&PostParams::default(), &object).await;
        match made {
            // An answer that was lost on its way says nothing about the object.
            Err(error) if !self.is_there(run).await? => Err(translate(&error, &format!("create {}", self.name())).take_back()),
            _ => Ok(String::new()),
        }
    }

    async fn back(&self, run: &Run) -> Result<String> {
        if !self.is_there(run).await.unwrap_or(false) {
            return Ok("it is not there".to_owned());
        }
        let deleted = found(Self::api(run).delete(&self.desk.spec.name, &DeleteParams::foreground()).await);
        deleted.doing(format!("delete {}", self.name())).map(|_| String::new())
    }
}

/// Sees that slot and origin are nobody else's; on the way back drops them, after the Job that used them is gone.
struct Free(Arc<Desk>);

#[async_trait]
impl Step for Free {
    fn id(&self) -> &'static str {
        "free"
    }

    fn title(&self) -> String {
        format!("see that nobody has a replication slot or origin {SLOT}")
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        // From here on it is ours: the Job makes it at a moment of its own.
        Ok(if run.memory.recall::<bool>(FREE)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let pair = self.0.pair(run).await?;
        let taken = slot(&*pair.source, SLOT).await?.is_some() || applied(&*pair.target, SLOT).await?.is_some();
        if taken {
            return Err(Failure::refused(format!("somebody else has made a replication slot or origin {SLOT} meanwhile"))
                .state("it was left as it is")
                .take_back());
        }
        run.memory.keep(FREE, &true)?;
        Ok(String::new())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        if run.memory.recall::<bool>(FREE)?.is_none() {
            return Ok(String::new());
        }
        let what = format!("the pods of job/{} to go", self.0.spec.name);
        let wait = Wait { namespace: &run.namespace, fields: "", limit: GO, what: &what };
        wait.until(&run.cluster, &run.stop, |pods| match pods.iter().any(|pod| is_of(pod, run)) {
            true => Verdict::Waiting("they are still there".to_owned()),
            false => Verdict::Met(()),
        })
        .await?;
        let pair = self.0.pair(run).await?;
        let had_slot = drop_slot(&*pair.source, SLOT).await?;
        drop_origin(&*pair.target, SLOT).await?;
        Ok(if had_slot { "the source keeps nothing for it any more" } else { "" }.to_owned())
    }
}

/// Makes the Job; in place of one that has ended when it was to follow on.
struct Copy(Make<Job>);

#[async_trait]
impl Step for Copy {
    fn id(&self) -> &'static str {
        self.0.id()
    }

    fn title(&self) -> String {
        self.0.title()
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(match self.ended(run).await? {
            Some(_) => Look::Todo,
            None => self.0.look(run).await?,
        })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let Some(job) = self.ended(run).await? else { return self.0.act(run).await };
        let pair = self.0.desk.pair(run).await?;
        match slot(&*pair.source, SLOT).await? {
            Some(slot) if !slot.lost => {}
            Some(_) => return Err(over("the source has thrown away what its slot still needs")),
            None => return Err(over("the source has no slot of it any more")),
        }
        run.memory.keep(AGAIN, &true)?;
        kept_logs::keep(run, &pods(run).await?).await;
        self.0.desk.job(run).remove(&run.cluster, &run.stop, &job).await?;
        self.0.act(run).await?;
        Ok("in place of the one that had ended".to_owned())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        self.0.back(run).await
    }
}

impl Copy {
    /// The Job, if it is ours and has ended.
    async fn ended(&self, run: &Run) -> Result<Option<Job>> {
        Ok(self.0.desk.job(run).of(&run.id).await?.filter(is_over))
    }
}

/// Nothing of it can go on.
fn over(why: &str) -> Failure {
    Failure::refused(format!("the move can't go on: {why}"))
        .fact("either it was finished, or what was written since is lost to its copy")
        .state("nothing was changed")
}

/// Waits until pgcopydb has its replication slot: from then on nothing that is written is missed.
struct Begin(Arc<Desk>);

#[async_trait]
impl Step for Begin {
    fn id(&self) -> &'static str {
        "begin"
    }

    fn title(&self) -> String {
        "wait until pgcopydb has its replication slot".to_owned()
    }

    async fn look(&self, _run: &Run) -> Result<Look> {
        Ok(Look::Todo)
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let pair = self.0.pair(run).await?;
        let (until, goes_on) = (Instant::now() + BEGIN, run.memory.recall::<bool>(AGAIN)?.is_some());
        loop {
            let found = slot(&*pair.source, SLOT).await?;
            if let Some(slot) = found.filter(|slot| slot.active || !goes_on) {
                return Ok(format!("slot {} by {}", slot.name, slot.plugin));
            }
            self.refuse_ended(run).await?;
            if Instant::now() > until {
                return Err(Failure::failed(format!("pgcopydb has no replication slot after {} s", BEGIN.as_secs()))
                    .next(format!("kubectl dbmig logs job/{}", self.0.spec.name)));
            }
            run.stop.interruptible(tokio::time::sleep(PAUSE)).await?;
        }
    }

    async fn back(&self, run: &Run) -> Result<String> {
        kept_logs::keep(run, &pods(run).await?).await;
        Ok(String::new())
    }
}

impl Begin {
    /// A pgcopydb that has ended makes no slot any more.
    async fn refuse_ended(&self, run: &Run) -> Result<()> {
        let job = self.0.job(run).of(&run.id).await?;
        let (uid, mut pods) = (job.and_then(|job| job.metadata.uid).unwrap_or_default(), pods(run).await?);
        // What is left of a Job in whose place it was made says nothing about it.
        pods.retain(|pod| owned_by(pod, &uid));
        let ended = pods.iter().flat_map(statuses).find_map(|status| Some(status.state.as_ref()?.terminated.as_ref()?.exit_code));
        let Some(code) = ended else { return Ok(()) };
        let said = kept_logs::last_said(&run.cluster.client, &pods, LINES).await;
        let lines = said.iter().flat_map(|log| &log.lines).map(|line| String::from_utf8_lossy(&line.text).into_owned());
        Err(Failure::failed(format!("pgcopydb ended with exit code {code} before it had a replication slot"))
            .facts(lines.collect::<Vec<_>>())
            .take_back())
    }
}

/// The pods of the Job.
async fn pods(run: &Run) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::namespaced(run.cluster.client.clone(), &run.namespace);
    let listed = api.list(&kube::api::ListParams::default()).await.map_err(|error| translate(&error, "list pods"))?;
    Ok(listed.items.into_iter().filter(|pod| is_of(pod, run)).collect())
}

/// A pod of the Job, and not the one that is like it.
fn is_of(pod: &Pod, run: &Run) -> bool {
    let owned = pod.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "Job");
    owned && pod.metadata.labels.as_ref().is_some_and(|labels| labels.get(LABEL_OPERATION) == Some(&run.id))
}
