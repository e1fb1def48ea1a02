//! Who owns a pod: the chain of controllers above it, up to the one that a person would name. Reads only.

use std::fmt;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;

use super::Cluster;
use super::error::{Context as _, found};
use super::kind::Kind;
use crate::failure::Result;

/// An object, by name and by uid: a new object of the same name is another one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Object {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}

/// The topmost controller of a pod.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Owner {
    /// A bare pod.
    None,
    /// A StatefulSet.
    StatefulSet(Object),
    /// A Deployment, through this ReplicaSet.
    Deployment {
        /// The Deployment.
        object: Object,
        /// The ReplicaSet in between; none for the pod that a Deployment at 0 replicas would run.
        replica_set: Option<Object>,
    },
    /// A ReplicaSet of its own.
    ReplicaSet(Object),
    /// A DaemonSet.
    DaemonSet(Object),
    /// A Job of its own.
    Job(Object),
    /// A CronJob, through this Job.
    CronJob {
        /// The CronJob.
        object: Object,
        /// The Job in between.
        job: Object,
    },
    /// Something of an operator, whose rules we do not know.
    Other {
        /// API version, `apps.example.com/v1`.
        api_version: String,
        /// Kind.
        kind_name: String,
        /// The object.
        object: Object,
        /// The controller that it owns the pod through, if there is one: `("StatefulSet", …)`.
        through: Option<(String, Object)>,
    },
}

impl Owner {
    /// Kind as in `kind:`, and the object; `None` for a bare pod.
    #[must_use]
    pub fn object(&self) -> Option<(&str, &Object)> {
        match self {
            Self::None => None,
            Self::StatefulSet(object) => Some((Kind::StatefulSet.camel(), object)),
            Self::Deployment { object, .. } => Some((Kind::Deployment.camel(), object)),
            Self::ReplicaSet(object) => Some((Kind::ReplicaSet.camel(), object)),
            Self::DaemonSet(object) => Some((Kind::DaemonSet.camel(), object)),
            Self::Job(object) => Some((Kind::Job.camel(), object)),
            Self::CronJob { object, .. } => Some((Kind::CronJob.camel(), object)),
            Self::Other { kind_name, object, .. } => Some((kind_name, object)),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.object() {
            None => f.write_str("<none>"),
            Some((kind, object)) => write!(f, "{}/{}", kind.to_lowercase(), object.name),
        }
    }
}

/// Finds the owner of what has this metadata.
///
/// # Errors
/// An object in between cannot be read. One that is gone ends the chain where it is.
pub async fn owner_of(cluster: &Cluster, namespace: &str, metadata: &ObjectMeta) -> Result<Owner> {
    let Some(first) = controller(metadata) else { return Ok(Owner::None) };
    let above = above(cluster, namespace, first).await?;
    let Some(deployment) = above.as_ref().filter(|above| built_in(above) == Some(Kind::Deployment)) else {
        return Ok(join(first, above.as_ref()));
    };
    // An operator may own the Deployment in turn.
    Ok(match self::above(cluster, namespace, deployment).await? {
        Some(top) => other(&top, Some((deployment.kind.clone(), object(deployment)))),
        None => join(first, above.as_ref()),
    })
}

/// The controller of a controller.
async fn above(cluster: &Cluster, namespace: &str, of: &OwnerReference) -> Result<Option<OwnerReference>> {
    match built_in(of) {
        Some(Kind::ReplicaSet) => controller_of::<ReplicaSet>(cluster, namespace, Kind::ReplicaSet, of).await,
        Some(Kind::Deployment) => controller_of::<Deployment>(cluster, namespace, Kind::Deployment, of).await,
        Some(Kind::Job) => controller_of::<Job>(cluster, namespace, Kind::Job, of).await,
        Some(Kind::StatefulSet) => controller_of::<StatefulSet>(cluster, namespace, Kind::StatefulSet, of).await,
        _ => Ok(None),
    }
}

fn join(first: &OwnerReference, above: Option<&OwnerReference>) -> Owner {
    let lower = object(first);
    match (built_in(first), above) {
        (Some(Kind::ReplicaSet), Some(above)) if built_in(above) == Some(Kind::Deployment) => {
            Owner::Deployment { object: object(above), replica_set: Some(lower) }
        }
        (Some(Kind::Job), Some(above)) if built_in(above) == Some(Kind::CronJob) => {
            Owner::CronJob { object: object(above), job: lower }
        }
        (_, Some(above)) => other(above, Some((first.kind.clone(), lower))),
        (Some(Kind::StatefulSet), None) => Owner::StatefulSet(lower),
        (Some(Kind::Deployment), None) => Owner::Deployment { object: lower, replica_set: None },
        (Some(Kind::ReplicaSet), None) => Owner::ReplicaSet(lower),
        (Some(Kind::DaemonSet), None) => Owner::DaemonSet(lower),
        (Some(Kind::Job), None) => Owner::Job(lower),
        _ => other(first, None),
    }
}

fn other(reference: &OwnerReference, through: Option<(String, Object)>) -> Owner {
    let (api_version, kind_name) = (reference.api_version.clone(), reference.kind.clone());
    Owner::Other { api_version, kind_name, object: object(reference), through }
}

fn object(reference: &OwnerReference) -> Object {
    Object { name: reference.name.clone(), uid: reference.uid.clone() }
}

fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|reference| reference.controller == Some(true))
}

/// The kind, if it is Kubernetes' own: operators use the same words for theirs.
fn built_in(reference: &OwnerReference) -> Option<Kind> {
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    Kind::of_camel(&reference.kind).filter(|kind| kind.group() == group)
}

async fn controller_of<K>(
    cluster: &Cluster,
    namespace: &str,
    kind: Kind,
    reference: &OwnerReference,
) -> Result<Option<OwnerReference>>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(cluster.client.clone(), namespace);
    let read = found(api.get_metadata(&reference.name).await).doing(format!("read {kind} {namespace}/{}", reference.name))?;
    let same = read.filter(|owner| owner.metadata.uid.as_deref() == Some(&reference.uid));
    Ok(same.and_then(|owner| controller(&owner.metadata).cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(api_version: &str, kind: &str) -> OwnerReference {
        OwnerReference {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            name: "n".to_owned(),
            uid: "u".to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        }
    }

    #[test]
    fn an_operators_kind_with_a_built_in_name_is_not_taken_for_it() {
        assert!(matches!(join(&reference("apps/v1", "StatefulSet"), None), Owner::StatefulSet(_)));
        assert!(matches!(join(&reference("apps.kruise.io/v1", "StatefulSet"), None), Owner::Other { .. }));
    }

    #[test]
    fn a_statefulset_that_an_operator_owns_is_the_operators() {
        let owner = join(&reference("apps/v1", "StatefulSet"), Some(&reference("example.com/v1", "Database")));
        assert!(matches!(owner, Owner::Other { through: Some((kind, _)), .. } if kind == "StatefulSet"));
        assert!(matches!(
            join(&reference("apps/v1", "ReplicaSet"), Some(&reference("apps/v1", "Deployment"))),
            Owner::Deployment { .. }
        ));
    }
}
