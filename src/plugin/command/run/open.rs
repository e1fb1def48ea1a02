//! The way to the database of a run: opened from the first place from which that is possible, and again where it is gone.

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use tokio::time::Instant;

use super::desk::{Around, Desk};
use super::guard;
use crate::cluster::Cluster;
use crate::cluster::job::Origin;
use crate::cluster::kind::{Kind, TargetRef};
use crate::cluster::owner::Owner;
use crate::cluster::pods::{is_running, statuses};
use crate::cluster::target::Target;
use crate::cluster::volume::{Mount, Source, mounts};
use crate::command::reach::Reach;
use crate::command::repair::Which;
use crate::database::Database;
use crate::database::find::{self, Found};
use crate::failure::{Failure, Result};

/// The database, and the pod through which it is reached.
pub(super) struct Open {
    pub(super) reach: Reach,
    pub(super) database: Box<dyn Database>,
    pub(super) found: Found,
    /// When it was.
    pub(super) at: Instant,
    /// Our lock in it is held.
    pub(super) locked: bool,
    /// Its sessions are a pooler's; `None` where nobody has looked yet.
    pub(super) pooled: Option<bool>,
}

impl Open {
    /// Whether its sessions are a pooler's.
    ///
    /// # Errors
    /// The database can't be asked.
    pub(super) async fn is_pooled(&self, around: Around<'_>) -> Result<bool> {
        let another = async || self.reach.connect(around.cluster, around.stop, &self.found).await.map_err(Failure::from);
        guard::is_pooled(&*self.database, self.at, another).await
    }
}

impl Desk {
    /// The database as it was opened before, if it still answers; else opened again.
    ///
    /// # Errors
    /// It can't be opened from any place.
    pub(super) async fn reopened<'o>(
        &self,
        open: &'o mut Option<Open>,
        around: Around<'_>,
        beside: Option<&Pod>,
    ) -> Result<&'o mut Open> {
        let answers = match open.as_ref() {
            Some(open) => open.database.query("SELECT 1").await.is_ok(),
            None => false,
        };
        if !answers {
            if let Some(old) = open.take() {
                old.reach.leave(around.cluster).await?;
            }
            *open = Some(self.opened(around, beside).await?);
        }
        open.as_mut().ok_or_else(|| Failure::failed("the database was not opened"))
    }

    /// Opens the database from the first of the places from which that is possible.
    ///
    /// # Errors
    /// What the last of them said.
    pub(super) async fn opened(&self, around: Around<'_>, beside: Option<&Pod>) -> Result<Open> {
        let mut last = Failure::failed("there is no pod from which the database could be asked");
        for target in self.places(around.cluster, beside).await {
            match self.opened_from(around, target).await {
                Ok(open) => return Ok(open),
                Err(failure) if around.stop.requested() => return Err(failure),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn opened_from(&self, around: Around<'_>, target: Target) -> Result<Open> {
        let Around { cluster, stop, id } = around;
        let reach = Reach::beside(cluster, stop, target, &self.spec.helper_image, id).await?;
        let opened = async {
            let found = self.find(cluster, &reach).await?;
            let database = reach.connect(cluster, stop, &found).await.map_err(Failure::from)?;
            Ok((found, database))
        };
        match opened.await {
            Ok((found, database)) => Ok(Open { reach, database, found, at: Instant::now(), locked: false, pooled: None }),
            Err(failure) => {
                reach.leave(cluster).await?;
                Err(failure)
            }
        }
    }

    /// The Job's own pod while something in it runs; a pod of what it was made from; else one as it would be. Where what it was made
    /// from is to be stopped, the last comes before: it stays while the others go.
    async fn places(&self, cluster: &Cluster, beside: Option<&Pod>) -> Vec<Target> {
        let container = &self.spec.container;
        let as_target = |pod: Pod, at_rest: bool| Target {
            asked: TargetRef { kind: Kind::Job, name: self.spec.job.clone() },
            namespace: cluster.namespace.clone(),
            pod,
            at_rest,
            container: container.clone(),
            owner: Owner::None,
            notices: Vec::new(),
        };
        let own = beside.filter(|pod| has_running(pod)).map(|pod| as_target(pod.clone(), false));
        let serving = match &self.spec.origin {
            Origin::Object(asked) if self.spec.origin.serves() => Target::resolve(cluster, asked, Some(container)).await.ok(),
            Origin::Object(_) | Origin::File { .. } | Origin::Hook(_) => None,
        };
        let template = self.template(cluster).await.ok();
        let imagined = template.map(|template| as_target(as_it_would_be(template, cluster, &self.spec.job), true));
        // A file is only where its volume is.
        let lasts = |mount: &Mount| !matches!(mount.source, Source::WithPod(_));
        let may_be_a_file = |target: &Target| mounts(&target.pod, Some(container)).iter().any(lasts);
        let imagined = imagined.filter(|target| serving.is_none() || (self.spec.offline.is_some() && !may_be_a_file(target)));
        own.into_iter().chain(imagined).chain(serving).collect()
    }

    /// The database that was named, the one that the record is about, or the only one.
    async fn find(&self, cluster: &Cluster, reach: &Reach) -> Result<Found> {
        let known = self.spec.books.as_ref();
        let named = match (&self.named, known) {
            (Some(named), _) => Some(named.clone()),
            (None, Some(books)) => books.which.named()?,
            (None, None) => None,
        };
        let all = reach.find(cluster, named.as_ref()).await?;
        let Some(books) = known else {
            find::the_one(all.iter().map(|found| reach.as_seen_by_application(found)).collect(), &reach.target.pod_name())?;
            return all.into_iter().next().ok_or_else(|| Failure::failed("the database that was found is gone"));
        };
        let it = all.into_iter().find(|found| reach.shown(found) == books.location);
        it.ok_or_else(|| {
            let failure = Failure::failed(format!("{} was not found again", books.location));
            match books.which {
                Which::Typed => failure.next("name it again: --database URL, or --database-from secret/NAME:KEY"),
                Which::Found | Which::Reference(_) | Which::Path(_) => failure,
            }
        })
    }
}

fn has_running(pod: &Pod) -> bool {
    statuses(pod).any(is_running)
}

/// A pod of a template that the server does not have.
fn as_it_would_be(template: PodTemplateSpec, cluster: &Cluster, name: &str) -> Pod {
    let mut metadata = template.metadata.unwrap_or_default();
    (metadata.name, metadata.namespace) = (Some(name.to_owned()), Some(cluster.namespace.clone()));
    Pod { metadata, spec: template.spec, status: None }
}
