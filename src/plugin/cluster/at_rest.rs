//! The pod that a workload at 0 replicas would run, from its template: its volumes hold data all the same. Reads only.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::ListParams;

use super::Cluster;
use super::error::{Context as _, found};
use super::kind::{Kind, TargetRef};
use crate::failure::{Failure, Result};

/// The pod that `asked` stands for, if it is a workload at 0 replicas, or a pod of a StatefulSet at 0 replicas. The API
/// server has no such pod.
///
/// # Errors
/// `Refused` when a StatefulSet has the volumes of several pods, or of none; or something can't be read.
pub(super) async fn pod(cluster: &Cluster, asked: &TargetRef) -> Result<Option<Pod>> {
    let reading = || format!("read {asked} in namespace {}", cluster.namespace);
    match asked.kind {
        Kind::Pod => {
            let Some((set, ordinal)) = asked.name.rsplit_once('-') else { return Ok(None) };
            let Ok(ordinal) = ordinal.parse() else { return Ok(None) };
            // Who may not read it has named a pod, and is told about that.
            let Ok(Some(set)) = found(api::<StatefulSet>(cluster).get(set).await) else { return Ok(None) };
            of_stateful_set(cluster, set, Some(ordinal)).await
        }
        Kind::StatefulSet => match found(api::<StatefulSet>(cluster).get(&asked.name).await).doing(reading())? {
            Some(set) => of_stateful_set(cluster, set, None).await,
            None => Ok(None),
        },
        Kind::Deployment => {
            let Some(it) = found(api::<Deployment>(cluster).get(&asked.name).await).doing(reading())? else { return Ok(None) };
            let Some(spec) = it.spec.filter(|spec| spec.replicas == Some(0)) else { return Ok(None) };
            Ok(Some(from_template(Kind::Deployment, &it.metadata, &asked.name, spec.template)))
        }
        Kind::ReplicaSet => {
            let Some(it) = found(api::<ReplicaSet>(cluster).get(&asked.name).await).doing(reading())? else { return Ok(None) };
            let Some(spec) = it.spec.filter(|spec| spec.replicas == Some(0)) else { return Ok(None) };
            Ok(Some(from_template(Kind::ReplicaSet, &it.metadata, &asked.name, spec.template.unwrap_or_default())))
        }
        Kind::DaemonSet | Kind::Job | Kind::CronJob | Kind::PersistentVolumeClaim => Ok(None),
    }
}

fn api<K>(cluster: &Cluster) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

async fn of_stateful_set(cluster: &Cluster, set: StatefulSet, asked: Option<u32>) -> Result<Option<Pod>> {
    let Some(spec) = set.spec.filter(|spec| spec.replicas == Some(0)) else { return Ok(None) };
    let name = set.metadata.name.clone().unwrap_or_default();
    let claims: Vec<String> =
        spec.volume_claim_templates.iter().flatten().filter_map(|claim| claim.metadata.name.clone()).collect();
    let ordinal = ordinal(cluster, &name, &claims, asked).await?;
    let mut template = spec.template;
    if let Some(pod) = &mut template.spec {
        let volumes = pod.volumes.get_or_insert_default();
        // As its controller does it: a claim takes the place of a volume of that name.
        volumes.retain(|volume| !claims.contains(&volume.name));
        volumes.extend(claims.iter().map(|claim| Volume {
            name: claim.clone(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: format!("{claim}-{name}-{ordinal}"),
                read_only: None,
            }),
            ..Volume::default()
        }));
    }
    Ok(Some(from_template(Kind::StatefulSet, &set.metadata, &format!("{name}-{ordinal}"), template)))
}

/// Which of a StatefulSet's pods is meant, by the claims that are there.
async fn ordinal(cluster: &Cluster, set: &str, templates: &[String], asked: Option<u32>) -> Result<u32> {
    let Some(first) = templates.first() else { return Ok(asked.unwrap_or_default()) };
    let claims = api::<PersistentVolumeClaim>(cluster)
        .list_metadata(&ListParams::default())
        .await
        .doing(format!("list the claims of statefulset/{set} in namespace {}", cluster.namespace))?;
    let prefix = format!("{first}-{set}-");
    let names = claims.items.iter().filter_map(|claim| claim.metadata.name.as_deref());
    let mut there: Vec<u32> = names.filter_map(|name| name.strip_prefix(&prefix)?.parse().ok()).collect();
    there.sort_unstable();
    let refused = |message: String| Failure::refused(message).state("nothing was changed");
    match (asked, there.as_slice()) {
        (Some(asked), there) if there.contains(&asked) => Ok(asked),
        (Some(asked), _) => Err(refused(format!(
            "pod/{set}-{asked} is not there, since statefulset/{set} is at 0 replicas, and neither is persistentvolumeclaim/{prefix}{asked}"
        ))),
        (None, []) => Err(refused(format!("statefulset/{set} is at 0 replicas, and no claim {prefix}N of its pods is there"))),
        (None, [only]) => Ok(*only),
        (None, several) => {
            Err(refused(format!("statefulset/{set} is at 0 replicas, with the volumes of {} pods: say which", several.len()))
                .next(several.iter().map(|ordinal| format!("{set}-{ordinal}")).collect::<Vec<_>>().join(" or ")))
        }
    }
}

/// A pod of a template, owned as its controller would have it.
fn from_template(kind: Kind, owner: &ObjectMeta, name: &str, template: PodTemplateSpec) -> Pod {
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.name = Some(name.to_owned());
    metadata.namespace.clone_from(&owner.namespace);
    metadata.owner_references = Some(vec![OwnerReference {
        api_version: format!("{}/v1", kind.group()),
        kind: kind.camel().to_owned(),
        name: owner.name.clone().unwrap_or_default(),
        uid: owner.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    Pod { metadata, spec: template.spec, status: None }
}
