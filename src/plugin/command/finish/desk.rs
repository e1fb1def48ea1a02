//! What the steps of a cut-over share: both servers, reached again where the way to them is gone, pgcopydb, and the clock.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use tokio::sync::Mutex;

use super::spec::Spec;
use crate::cluster::Cluster;
use crate::cluster::error::translate;
use crate::cluster::kind::TargetRef;
use crate::cluster::pods::statuses;
use crate::cluster::target::Target;
use crate::command::pair::Pair;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::Run;
use crate::replication::Copier;

/// Name in the memory of the moment from which on writes are refused.
pub(super) const FROZEN: &str = "frozen";

/// What the steps share.
pub(in crate::command) struct Desk {
    pub(super) spec: Spec,
    /// What may be given up when the operation is taken back.
    pub(super) accept_data_loss: bool,
    open: Mutex<Option<Pair>>,
}

impl Desk {
    /// For a spec; `open` is what the look has opened.
    pub(super) fn new(spec: Spec, accept_data_loss: bool, open: Option<Pair>) -> Self {
        Self { spec, accept_data_loss, open: Mutex::new(open) }
    }

    /// Both servers as they were opened before, if they still answer; else opened again.
    pub(super) async fn open(&self, run: &Run) -> Result<Pair> {
        let mut open = self.open.lock().await;
        if let Some(open) = open.as_ref()
            && open.answers().await
        {
            return Ok(open.clone());
        }
        let new = self.reach(run).await?;
        let (source, target) = new.shown();
        if (source.as_str(), target.as_str()) != (self.spec.source.as_str(), self.spec.to.as_str()) {
            return Err(Failure::failed("the Job's source or target is not what it was when this operation began")
                .fact(format!("then: {} and {}", self.spec.source, self.spec.to))
                .fact(format!("now: {source} and {target}")));
        }
        Ok(open.insert(new).clone())
    }

    async fn reach(&self, run: &Run) -> Result<Pair> {
        let pod = match (self.is_gone(&run.cluster).await?, &self.spec.pod) {
            (true, Some(pod)) => pod.clone(),
            _ => self.target(&run.cluster).await?.pod,
        };
        Pair::reach(&run.cluster, &run.stop, &pod, &self.spec.container, &run.id).await
    }

    /// The pod that ran pgcopydb when this began is not there any more.
    async fn is_gone(&self, cluster: &Cluster) -> Result<bool> {
        let Some(pod) = &self.spec.pod else { return Ok(false) };
        let name = pod.name_any();
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &pod.namespace().unwrap_or_default());
        let found = pods.get_opt(&name).await.map_err(|error| translate(&error, &format!("read pod/{name}")))?;
        Ok(found.is_none())
    }

    /// pgcopydb can still be told something.
    pub(super) async fn runs(&self, cluster: &Cluster) -> Result<bool> {
        Ok(!self.is_gone(cluster).await? && self.ended(cluster).await?.is_none())
    }

    /// The pod that runs pgcopydb, or ran it.
    pub(super) async fn target(&self, cluster: &Cluster) -> Result<Target> {
        Target::resolve(cluster, &TargetRef::parse(&[&self.spec.target])?, Some(&self.spec.container)).await
    }

    /// How the container that runs pgcopydb ended; `None` while it runs.
    pub(super) async fn ended(&self, cluster: &Cluster) -> Result<Option<i32>> {
        Ok(exit_code(&self.target(cluster).await?))
    }

    /// The pgcopydb of the Job.
    pub(super) async fn copier(&self, cluster: &Cluster) -> Result<Copier> {
        Ok(copier(&self.target(cluster).await?, self.spec.dir.clone()))
    }

    /// Time left until writes have been refused for too long.
    ///
    /// # Errors
    /// There is none: everything is taken back.
    pub(super) fn left(&self, run: &Run) -> Result<Duration> {
        let Some(since) = run.memory.recall::<Timestamp>(FROZEN)? else { return Ok(self.spec.max_downtime()) };
        let gone = Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default();
        self.spec.max_downtime().checked_sub(gone).filter(|left| !left.is_zero()).ok_or_else(|| {
            let limit = self.spec.max_downtime;
            Failure::new(Exit::TimedOut, format!("writes have been refused for more than {limit} s (--max-downtime)")).take_back()
        })
    }

    /// Removes the twin, if there is one.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(in crate::command) async fn leave(&self, cluster: &Cluster) -> Result<()> {
        match self.open.lock().await.take() {
            Some(open) => open.leave(cluster).await,
            None => Ok(()),
        }
    }
}

/// The pgcopydb of a pod.
pub(super) fn copier(target: &Target, dir: Option<String>) -> Copier {
    let (namespace, pod, container) = (target.namespace.clone(), target.pod_name(), target.container.clone());
    Copier { namespace, pod, container, dir }
}

/// The exit code of the container that counts, once it has ended.
pub(super) fn exit_code(target: &Target) -> Option<i32> {
    let status = statuses(&target.pod).find(|status| status.name == target.container)?;
    status.state.as_ref()?.terminated.as_ref().map(|ended| ended.exit_code)
}
