//! Whether the new image can be had: seen before anything is stopped, by a pod that runs nothing of it.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Affinity, Container, ContainerState, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, PostParams};

use crate::cluster::error::{Context as _, found, is_conflict, translate};
use crate::cluster::job::own_labels;
use crate::cluster::pods::{Obstacle, Verdict, Wait, statuses, why_not_ready};
use crate::command::run::desk::Shared;
use crate::failure::{Failure, Result};
use crate::plan::{Look, Run, Step};

/// Name in the memory that says that it was there.
const THERE: &str = "image";
/// Its only container; what it is told to run is not there, so that nothing of the application begins.
const CONTAINER: &str = "image";
const NOTHING: &str = "/kubectl-dbmig-only-wants-the-image";

/// Has a node fetch the image.
pub(in crate::command::run) struct Fetch(pub(in crate::command::run) Shared, pub(in crate::command::run) String);

#[async_trait]
impl Step for Fetch {
    fn id(&self) -> &'static str {
        "fetch-image"
    }

    fn title(&self) -> String {
        format!("see that image {} can be had", self.1)
    }

    async fn look(&self, run: &Run) -> Result<Look> {
        Ok(if run.memory.recall::<bool>(THERE)?.is_some() { Look::Done } else { Look::Todo })
    }

    async fn act(&self, run: &Run) -> Result<String> {
        let pod = self.pod(run).await?;
        match pods(run).create(&PostParams::default(), &pod).await {
            Err(error) if !is_conflict(&error) => {
                return Err(translate(&error, &format!("create pod/{}", name(run))).take_back());
            }
            _ => {}
        }
        let (fields, what) = (format!("metadata.name={}", name(run)), format!("a node to fetch image {}", self.1));
        let wait = Wait { namespace: &run.namespace, fields: &fields, limit: self.0.spec.patience(), what: &what };
        let fetched = wait.until(&run.cluster, &run.stop, |pods| self.judge(pods.first())).await;
        remove(run).await?;
        fetched.map_err(Failure::take_back)?;
        run.memory.keep(THERE, &true)?;
        Ok(String::new())
    }

    async fn back(&self, run: &Run) -> Result<String> {
        remove(run).await?;
        Ok(String::new())
    }
}

impl Fetch {
    fn judge(&self, pod: Option<&Pod>) -> Verdict<()> {
        let Some(pod) = pod else { return Verdict::Waiting("its pod is not there yet".to_owned()) };
        // Only a container that was made, of an image that was there, can have failed to start.
        let ended = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
        let made = statuses(pod).any(|status| !status.image_id.is_empty() || status.state.as_ref().is_some_and(ended));
        let why = why_not_ready(pod);
        match Obstacle::of(&why) {
            Some(Obstacle::Pull | Obstacle::Image) => Verdict::Never(
                Failure::refused(format!("image {} can't be had", self.1)).fact(why).fact("nothing was stopped yet"),
            ),
            Some(Obstacle::Start) => Verdict::Met(()),
            None if made => Verdict::Met(()),
            None => Verdict::Waiting(why),
        }
    }

    /// Where the application's pods may be, with what they may pull with, and without any label by which it could be taken for one.
    async fn pod(&self, run: &Run) -> Result<Pod> {
        let like = self.0.template(&run.cluster).await?.spec.unwrap_or_default();
        let container = Container {
            name: CONTAINER.to_owned(),
            image: Some(self.1.clone()),
            image_pull_policy: like
                .containers
                .iter()
                .find(|one| one.name == self.0.spec.container)
                .and_then(|one| one.image_pull_policy.clone()),
            command: Some(vec![NOTHING.to_owned()]),
            ..Container::default()
        };
        let spec = PodSpec {
            containers: vec![container],
            restart_policy: Some("Never".to_owned()),
            automount_service_account_token: Some(false),
            service_account_name: like.service_account_name,
            image_pull_secrets: like.image_pull_secrets,
            node_selector: like.node_selector,
            affinity: like.affinity.map(|affinity| Affinity { pod_affinity: None, pod_anti_affinity: None, ..affinity }),
            tolerations: like.tolerations,
            security_context: like.security_context,
            ..PodSpec::default()
        };
        let metadata = ObjectMeta { name: Some(name(run)), labels: Some(own_labels(&run.id)), ..ObjectMeta::default() };
        Ok(Pod { metadata, spec: Some(spec), status: None })
    }
}

fn name(run: &Run) -> String {
    // Not that of the pod in which files of an image are read (`-image`), which may still be on its way out.
    format!("dbmig-{}-fetch", run.id)
}

fn pods(run: &Run) -> Api<Pod> {
    Api::namespaced(run.cluster.client.clone(), &run.namespace)
}

/// Removes it, if it is there.
async fn remove(run: &Run) -> Result<()> {
    let deleted = found(pods(run).delete(&name(run), &DeleteParams::default().grace_period(0)).await);
    deleted.doing(format!("delete pod/{}", name(run))).map(drop)
}
