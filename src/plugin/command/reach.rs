//! From what the user named to its databases, asked from inside its pod. What had to be brought there for the look goes again.

use std::sync::atomic::{AtomicBool, Ordering};

use super::session::Session;
use crate::cli::doctor::LookArgs;
use crate::cluster::Cluster;
use crate::cluster::agent::Agent;
use crate::cluster::helper::Helper;
use crate::cluster::image::ImagePod;
use crate::cluster::kind::TargetRef;
use crate::cluster::pods::{statuses, stays};
use crate::cluster::seat::{Leaves, Seat};
use crate::cluster::target::Target;
use crate::cluster::volume::{Mount, Source, mounts};
use crate::database::find::{self, Found, Named, Subject};
use crate::database::url::Location;
use crate::database::{self, Database, Limits, Unreached};
use crate::failure::Result;
use crate::shutdown::Stop;
use crate::ui::human::harmless;

/// A pod with our binary in or beside it.
pub(super) struct Reach {
    pub(super) target: Target,
    helper: Helper,
    seat: Seat,
    /// A pod of the application's image was begun.
    image: AtomicBool,
}

impl Reach {
    /// Looks the target up, says what was decided about it, and brings our binary there.
    ///
    /// # Errors
    /// Nothing of that name; no place for our binary, with each way that was tried.
    pub(super) async fn of(session: &Session, asked: &TargetRef, look: &LookArgs, id: &str) -> Result<Self> {
        let target = Target::resolve(&session.cluster, asked, look.container.as_deref()).await?;
        for notice in &target.notices {
            session.ui.say(&harmless(notice));
        }
        Self::beside(&session.cluster, &session.stop, target, &look.helper_image, id).await
    }

    /// Brings our binary to a target: into its running container, else into a helper pod beside its volumes. `id` is part of the helper's name.
    ///
    /// # Errors
    /// No place for our binary, with each way that was tried.
    pub(super) async fn beside(cluster: &Cluster, stop: &Stop, target: Target, image: &str, id: &str) -> Result<Self> {
        let all = mounts(&target.pod, Some(&target.container));
        let mounts: Vec<Mount> = all.into_iter().filter(|mount| !matches!(mount.source, Source::WithPod(_))).collect();
        let helper = Helper::beside(&target.pod, &target.container, id, image, &mounts);
        let seat = Seat::beside(cluster, stop, &target.pod, &target.container, helper.clone(), &mounts, Leaves::Nothing).await?;
        Ok(Self { target, helper, seat, image: AtomicBool::new(false) })
    }

    /// The databases that the pod is told of, or the one that was named.
    ///
    /// # Errors
    /// What was named is none, or the pod can't be asked.
    pub(super) async fn find(&self, cluster: &Cluster, named: Option<&Named>) -> Result<Vec<Found>> {
        let target = &self.target;
        let subject = Subject { namespace: &target.namespace, pod: &target.pod, container: &target.container };
        match named {
            Some(named) => Ok(vec![find::named(cluster, &subject, &self.seat, named).await?]),
            None => find::all(cluster, &subject, &self.seat).await,
        }
    }

    /// How one of them is shown: a file by the path that the application knows it by.
    pub(super) fn shown(&self, found: &Found) -> String {
        self.as_seen_by_application(found).location.to_string()
    }

    /// The same database as the application knows it; not for [`Reach::connect`].
    pub(super) fn as_seen_by_application(&self, found: &Found) -> Found {
        let mut found = found.clone();
        if let Location::File(path) = &mut found.location
            && let Some(known) = self.seat.locate(path).and_then(|(mount, inside)| mount.to_container(&inside))
        {
            *path = known;
        }
        found
    }

    /// The volume that a file is on; `None` for a server, and for a file on none.
    pub(super) fn volume(&self, found: &Found) -> Option<&Source> {
        let Location::File(path) = &found.location else { return None };
        self.seat.locate(path).map(|(mount, _)| &mount.source)
    }

    /// The volume of a path that the agent sees, and the path within it.
    pub(super) fn locate(&self, path: &str) -> Option<(&Mount, String)> {
        self.seat.locate(path)
    }

    /// Our binary in a container of the pod, where it is there already.
    pub(super) fn inside(&self, container: &str) -> Option<&Agent> {
        (self.seat.in_container && self.target.container == container).then_some(&self.seat.agent)
    }

    /// Our binary beside the pod's volumes.
    pub(super) fn agent(&self) -> &Agent {
        &self.seat.agent
    }

    /// The pod's durable volumes, and the folders in which [`Reach::agent`] sees them.
    pub(super) fn volumes(&self) -> impl Iterator<Item = (&Mount, &str)> {
        self.seat.volumes()
    }

    /// How a pod of the application's image is called and started. From now on [`Reach::leave`] looks after it.
    pub(super) fn for_image(&self) -> &Helper {
        self.image.store(true, Ordering::Relaxed);
        &self.helper
    }

    /// Opens one of them. A server is reached by way of a container of the pod that runs, if there is one: a sidecar may listen
    /// where no other pod hears it.
    ///
    /// # Errors
    /// Why it can't be reached.
    pub(super) async fn connect(&self, cluster: &Cluster, stop: &Stop, found: &Found) -> Result<Box<dyn Database>, Unreached> {
        let has_neighbours = statuses(&self.target.pod).any(stays);
        if matches!(found.location, Location::Server(_)) && self.seat.helper.is_some() && has_neighbours {
            let (target, helper) = (&self.target, self.helper.clone());
            let inside = Seat::in_network(cluster, stop, &target.pod, &target.container, helper).await;
            if let Ok(inside) = inside {
                return database::connect(&inside.agent, &found.location, Limits::default()).await;
            }
        }
        database::connect(&self.seat.agent, &found.location, Limits::default()).await
    }

    /// Removes the pods that the look needed, if it did.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(super) async fn leave(&self, cluster: &Cluster) -> Result<()> {
        if self.image.swap(false, Ordering::Relaxed) {
            ImagePod::forget(cluster, &self.helper).await;
        }
        match &self.seat.helper {
            Some(helper) => helper.delete(cluster).await,
            None => Ok(()),
        }
    }
}
