//! From what the user named to its databases, asked from inside its pod. What had to be brought there for the look goes again.

use super::operation;
use super::session::Session;
use crate::cli::doctor::LookArgs;
use crate::cluster::helper::Helper;
use crate::cluster::kind::TargetRef;
use crate::cluster::seat::{Leaves, Seat};
use crate::cluster::target::Target;
use crate::cluster::volume::{Mount, Source, mounts};
use crate::database::find::{self, Found, Subject};
use crate::database::url::Location;
use crate::database::{self, Database, Limits, Unreached};
use crate::failure::Result;
use crate::ui::human::harmless;

/// A pod with our binary in or beside it.
pub(super) struct Reach {
    pub(super) target: Target,
    helper: Helper,
    seat: Seat,
}

impl Reach {
    /// Looks the target up and brings our binary there: into its running container, else into a helper pod beside its volumes.
    ///
    /// # Errors
    /// Nothing of that name; no place for our binary, with each way that was tried.
    pub(super) async fn of(session: &Session, asked: &TargetRef, look: &LookArgs) -> Result<Self> {
        let (cluster, stop) = (&session.cluster, &session.stop);
        let target = Target::resolve(cluster, asked, look.container.as_deref()).await?;
        for notice in &target.notices {
            session.ui.say(&harmless(notice));
        }
        let all = mounts(&target.pod, Some(&target.container));
        let mounts: Vec<Mount> = all.into_iter().filter(|mount| !matches!(mount.source, Source::WithPod(_))).collect();
        let id = operation::new_id("look");
        let helper = Helper::beside(&target.pod, &target.container, &id, &look.helper_image, &mounts);
        let seat = Seat::beside(cluster, stop, &target.pod, &target.container, helper.clone(), &mounts, Leaves::Nothing).await?;
        Ok(Self { target, helper, seat })
    }

    /// The databases that the pod is told of, or the one that the user named.
    ///
    /// # Errors
    /// What was named is none, or the pod can't be asked.
    pub(super) async fn find(&self, session: &Session, look: &LookArgs) -> Result<Vec<Found>> {
        let target = &self.target;
        let subject = Subject { namespace: &target.namespace, pod: &target.pod, container: &target.container };
        match look.database.clone().named() {
            Some(named) => Ok(vec![find::named(&session.cluster, &subject, &self.seat, &named).await?]),
            None => find::all(&session.cluster, &subject, &self.seat).await,
        }
    }

    /// How one of them is shown: a file by the path that the application knows it by.
    pub(super) fn shown(&self, found: &Found) -> String {
        let Location::File(path) = &found.location else { return found.location.to_string() };
        let located = self.seat.locate(path).and_then(|(mount, inside)| mount.to_container(&inside));
        format!("sqlite:{}", located.as_ref().unwrap_or(path))
    }

    /// Opens one of them. A server is reached by way of a container of the pod that runs, if there is one: a sidecar may listen
    /// where no other pod hears it.
    ///
    /// # Errors
    /// Why it can't be reached.
    pub(super) async fn connect(&self, session: &Session, found: &Found) -> Result<Box<dyn Database>, Unreached> {
        if matches!(found.location, Location::Server(_)) && self.seat.helper.is_some() {
            let (cluster, target, helper) = (&session.cluster, &self.target, self.helper.clone());
            let inside = Seat::in_network(cluster, &session.stop, &target.pod, &target.container, helper).await;
            if let Ok(inside) = inside {
                return database::connect(&inside.agent, &found.location, Limits::default()).await;
            }
        }
        database::connect(&self.seat.agent, &found.location, Limits::default()).await
    }

    /// Removes the helper pod, if the look needed one.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(super) async fn leave(&self, session: &Session) -> Result<()> {
        match &self.seat.helper {
            Some(helper) => helper.delete(&session.cluster).await,
            None => Ok(()),
        }
    }
}
