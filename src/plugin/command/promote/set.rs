//! The StatefulSet of the replicas: which of them goes first, and which claim is its own. Reads only.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

use crate::cluster::Cluster;
use crate::cluster::error::{Context as _, found};
use crate::cluster::kind::{Kind, TargetRef};
use crate::cluster::pods::{is_ready, why_not_ready};
use crate::cluster::volume::{Mount, Source, mounts};
use crate::cluster::workload::Workload;
use crate::failure::{Failure, Result};

/// What was found.
pub(super) struct Set {
    pub(super) workload: Workload,
    pub(super) replicas: i32,
    /// The replica with the highest number: the one that goes when it is scaled down.
    pub(super) pod: Pod,
    /// Its claim, and where it is mounted.
    pub(super) mount: Mount,
    /// Name of that claim.
    pub(super) claim: String,
    /// The release that it says it belongs to.
    pub(super) release: Option<String>,
}

impl Set {
    /// Looks at a StatefulSet.
    ///
    /// # Errors
    /// It is none, has no replica to give, or its last one is not well.
    pub(super) async fn of(cluster: &Cluster, typed: &str, takes_volume: bool, allow_last: bool) -> Result<Self> {
        let asked = TargetRef::parse(&[typed])?;
        if asked.kind != Kind::StatefulSet {
            return Err(Failure::usage(format!("{asked} is no StatefulSet")).next("name that of the replicas: --from sts/NAME"));
        }
        let workload = Workload::find(cluster, &asked).await?;
        let api: Api<StatefulSet> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let object = api.get(&asked.name).await.doing(format!("read {asked}"))?;
        let labels = object.metadata.labels.clone().unwrap_or_default();
        let annotations = object.metadata.annotations.clone().unwrap_or_default();
        let release =
            annotations.get("meta.helm.sh/release-name").or_else(|| labels.get(crate::cluster::helm::INSTANCE)).cloned();
        let spec = object.spec.unwrap_or_default();
        let replicas = spec.replicas.unwrap_or(1);
        let refused = |what: String| Failure::refused(what).state("nothing was changed");
        if replicas < 1 {
            return Err(refused(format!("{asked} has no replica")));
        }
        if takes_volume && replicas < 2 && !allow_last {
            return Err(refused(format!("{asked} has one replica only"))
                .fact("whoever reads from it would have none until it has cloned the primary again")
                .next("let it go all the same: --allow-last"));
        }
        let policy = spec.persistent_volume_claim_retention_policy.and_then(|policy| policy.when_scaled);
        if takes_volume && policy.as_deref() == Some("Delete") {
            return Err(refused(format!("{asked} deletes the claim of a replica that it is scaled down by"))
                .fact("persistentVolumeClaimRetentionPolicy.whenScaled is Delete")
                .next(format!(
                    "kubectl patch {asked} -n {} --type=merge -p '{{\"spec\":{{\"persistentVolumeClaimRetentionPolicy\":{{\"whenScaled\":\"Retain\"}}}}}}'",
                    cluster.namespace
                )));
        }
        let number = spec.ordinals.and_then(|ordinals| ordinals.start).unwrap_or(0) + replicas - 1;
        let name = format!("{}-{number}", asked.name);
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
        let pod = found(pods.get(&name).await).doing(format!("read pod/{name}"))?;
        let pod = pod.ok_or_else(|| refused(format!("pod/{name}, the last replica of {asked}, is not there")))?;
        if !is_ready(&pod) {
            return Err(refused(format!("pod/{name}, the last replica of {asked}, is not Ready"))
                .fact(why_not_ready(&pod))
                .next(format!("kubectl dbmig status pod/{name} -n {}", cluster.namespace)));
        }
        let templates: Vec<String> =
            spec.volume_claim_templates.into_iter().flatten().filter_map(|template| template.metadata.name).collect();
        let own = |mount: &Mount| match &mount.source {
            Source::Claim(claim) => templates.iter().any(|template| *claim == format!("{template}-{name}")),
            _ => false,
        };
        let mounted: Vec<Mount> = mounts(&pod, None).into_iter().filter(own).collect();
        let [mount] = mounted.as_slice() else {
            let facts = mounted.iter().map(|mount| format!("volume {} at {}", mount.volume, mount.path));
            return Err(refused(format!("pod/{name} has {} claims of its own, not one", mounted.len())).facts(facts));
        };
        let Source::Claim(claim) = &mount.source else { return Err(refused(format!("pod/{name} has no claim of its own"))) };
        Ok(Self { workload, replicas, claim: claim.clone(), mount: mount.clone(), pod, release })
    }
}
