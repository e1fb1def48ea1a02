//! What is known before a promotion: that replication is well, whose volume is taken, and that the chart mounts it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use kube::api::{Api, ListParams};
use serde_json::json;

use super::desk::{Desk, data_directory, reach, within};
use super::package::Package;
use super::set::Set;
use super::spec::{Copy, Server, Spec};
use super::{Args, room, storage, values};
use crate::cli::promote::CopyWish;
use crate::cluster::error::{Context as _, found};
use crate::cluster::helm::{Chart, Manifest, Program, newest_of};
use crate::cluster::helper::{Helper, Identity};
use crate::cluster::kind::{Kind, TargetRef};
use crate::cluster::owner::owner_of;
use crate::cluster::pods::is_ready;
use crate::cluster::rebind::Bound;
use crate::cluster::volume::{Source, container_with};
use crate::command::session::Session;
use crate::database::postgres::{End, Postgres};
use crate::failure::{Failure, Result};
use crate::replication::{Freeze, Receiver, Standing, differences, receiver, revokes, standing, still_allowed, writers};

/// What was found out; nothing of it was changed.
pub(super) struct Facts {
    /// Bytes that the replica is behind.
    pub(super) lag: u64,
    pub(super) primary: Standing,
    pub(super) freeze: Option<Freeze>,
    /// Roles that could write all the same, with a table each.
    pub(super) still: Vec<(String, String)>,
    /// Helm's version.
    pub(super) helm: String,
    /// What the release would consist of.
    pub(super) objects: Vec<String>,
    /// What may stand in the way, a line each.
    pub(super) notes: Vec<String>,
}

/// Looks at everything.
///
/// # Errors
/// What stands in the way.
pub(super) async fn look(session: &Session, args: &Args, id: &str) -> Result<(Arc<Desk>, Facts)> {
    let cluster = &session.cluster;
    let (from, release) = (args.from.as_deref().unwrap_or_default(), args.release.clone().unwrap_or_default());
    let set = Set::of(cluster, from, matches!(args.copy, CopyWish::None | CopyWish::Auto), args.allow_last).await?;
    let bound = Bound::of(cluster, &cluster.namespace, &set.claim).await?;
    let helm = Program::find(&args.helm, cluster, &cluster.namespace).await?;
    if let Some(there) = newest_of(cluster, &release).await? {
        return Err(Failure::refused(format!("there is a release {release} already: {}", there.standing()))
            .state("nothing was changed")
            .next("name another one: --release NAME")
            .next(format!("or remove it: helm uninstall {release} -n {}", cluster.namespace)));
    }
    let copy = storage::copy(cluster, &bound, args.copy, args.snapshot_class.as_deref()).await?;
    let claim = format!("{}-{release}", set.mount.volume);
    let (package, chosen) = chart(&helm, args, &release, &claim).await?;
    refuse_odd(cluster, &chosen.manifest, &claim).await?;
    let mut notes = room::lacking(cluster, &chosen.manifest).await;
    let container = match &args.container {
        Some(name) => name.clone(),
        None => container_with(&set.pod, std::slice::from_ref(&set.mount), "").to_owned(),
    };
    let replica = within(cluster, &set.pod, &container).await.map_err(Failure::unchanged)?;
    let state = standing(&replica).await?;
    if !state.in_recovery {
        return Err(Failure::refused(format!("the server in pod/{} is a primary, not a replica", pod_name(&set.pod)))
            .state("nothing was changed")
            .next("name the StatefulSet of the replicas: --from sts/NAME"));
    }
    let own = set.pod.spec.iter().flat_map(|spec| &spec.containers).find(|one| one.name == container);
    let (old_image, new_image) =
        (own.and_then(|one| one.image.as_deref()), chosen.manifest.image(&chosen.server.target, &container));
    if let (Some(old), Some(new)) = (old_image, new_image)
        && old != new
    {
        let major = state.major();
        notes.push(format!(
            "the release has image {new}, the replica {old}: it must be PostgreSQL {major} too, and sort texts alike"
        ));
    }
    let receives = receives(&replica, &set.pod).await?;
    let primary = primary(session, args, &receives, &container).await?;
    let server = Arc::new(reach(cluster, &primary).await.map_err(Failure::unchanged)?);
    let old = standing(&*server).await?;
    let lag = well(&state, &old, &primary, args.max_lag << 20)?;
    let (script, script_from) = script(args, &server).await?;
    let (freeze, still) = stopped(&server, &script).await?;
    let data = data_directory(&replica).await?;
    let inside = set.mount.to_volume(&data).ok_or_else(|| {
        Failure::refused(format!("the data directory {data} is not on persistentvolumeclaim/{}", set.claim))
            .fact(format!("that is mounted at {}", set.mount.path))
            .state("nothing was changed")
    })?;
    let helper = helper(&set, &container, &claim, id, &copy);
    let spec = Spec {
        pod: pod_name(&set.pod),
        container,
        primary,
        current: args.current_release.clone().or(set.release),
        set: set.workload,
        replicas: set.replicas,
        bound,
        copy,
        claim,
        helper,
        data: inside,
        release,
        chart: Chart { place: args.chart.clone().unwrap_or_default(), version: args.chart_version.clone() },
        helm: args.helm.display().to_string(),
        claim_value: chosen.value,
        server: chosen.server,
        workloads: chosen.manifest.workloads(),
        replica: state,
        slot: receives.slot.filter(|slot| !slot.is_empty()),
        timeout: args.timeout.as_secs(),
        script,
        script_from,
    };
    let facts = Facts { lag, primary: old, freeze, still, helm: helm.version, objects: chosen.manifest.objects(), notes };
    Ok((Arc::new(Desk::new(spec, false, Some(package), Some(server))), facts))
}

fn pod_name(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap_or_default()
}

/// A pod with the new claim alone, as the user that the data belongs to.
fn helper(set: &Set, container: &str, claim: &str, id: &str, copy: &Copy) -> Helper {
    let helper = Helper::beside(&set.pod, container, id, crate::cluster::helper::IMAGE, &[]);
    let volumes = BTreeMap::from([(set.mount.volume.clone(), Source::Claim(claim.to_owned()))]);
    // A copy may come up wherever the storage wants it.
    let node = helper.node.clone().filter(|_| !copy.leaves_replica());
    Helper { volumes, node, identity: Identity::of(&set.pod, container), ..helper }
}

/// What the chart makes of a value that names the claim.
struct Chosen {
    value: String,
    manifest: Manifest,
    server: Server,
}

/// The chart and its values, with the claim in that value by which the chart mounts it. Rendering proves it: a value that no template
/// reads would have the release begin with an empty volume.
async fn chart(helm: &Program, args: &Args, release: &str, claim: &str) -> Result<(Package, Chosen)> {
    let named = Chart { place: args.chart.clone().unwrap_or_default(), version: args.chart_version.clone() };
    let package = Package::of(helm, &named, &args.values).await?;
    let typed = values::typed(&args.set)?;
    let mut tried = Vec::new();
    let candidates: Vec<&str> = match &args.claim_value {
        Some(path) => vec![path.as_str()],
        None => values::CLAIM_VALUES.to_vec(),
    };
    for path in candidates {
        let mut last = typed.clone();
        values::set(&mut last, path, json!(claim));
        let whole = package.with(&last);
        let files = whole.files(named.clone())?;
        let manifest = Manifest::of(&helm.template(release, &files.chart, &files.values).await.map_err(Failure::unchanged)?);
        match manifest.users(claim).as_slice() {
            [] => tried.push(format!("--claim-value {path}: no workload mounts it")),
            [one] => {
                whole.check()?;
                let server = Server { target: one.clone(), container: args.container.clone() };
                return Ok((whole, Chosen { value: path.to_owned(), server, manifest }));
            }
            many => {
                let names = many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                tried.push(format!("--claim-value {path}: more than one workload would mount it: {names}"));
            }
        }
    }
    Err(Failure::refused(format!("the chart {} does not mount persistentvolumeclaim/{claim}", named.place))
        .facts(tried)
        .fact("its release would begin with an empty database")
        .state("nothing was changed")
        .next("name the value by which its primary is told an existing claim: --claim-value PATH"))
}

/// What of the release would be elsewhere or in the way.
async fn refuse_odd(cluster: &crate::cluster::Cluster, manifest: &Manifest, claim: &str) -> Result<()> {
    let namespace = &cluster.namespace;
    let elsewhere = manifest.elsewhere(namespace);
    if !elsewhere.is_empty() {
        return Err(Failure::refused(format!(
            "the chart puts {} objects into other namespaces than {namespace}",
            elsewhere.len()
        ))
        .facts(elsewhere)
        .fact("a claim can only be mounted in its own namespace, and what lies elsewhere would not be looked after")
        .state("nothing was changed")
        .next("set the chart's namespace value, or name the namespace: --namespace NAME"));
    }
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client.clone(), namespace);
    let there = claims.list_metadata(&ListParams::default()).await.doing("list persistentvolumeclaims")?;
    let there: Vec<String> = there.items.into_iter().filter_map(|claim| claim.metadata.name).collect();
    if there.iter().any(|name| name == claim) {
        return Err(Failure::refused(format!("there is a persistentvolumeclaim/{claim} already"))
            .fact("the new release is to have one of this name; it may hold what an earlier one has written")
            .state("nothing was changed")
            .next("name another release, or delete that claim if nobody needs what is on it"));
    }
    let beginnings = manifest.claims();
    let is_taken = |name: &&String| {
        let number = |beginning: &String| name.strip_prefix(beginning.as_str()).is_some_and(|rest| rest.parse::<u32>().is_ok());
        beginnings.iter().any(number)
    };
    let left: Vec<String> = there.iter().filter(is_taken).cloned().collect();
    if !left.is_empty() {
        return Err(Failure::refused("claims of an earlier release of this name are left, and the new one would take them")
            .facts(left.iter().map(|name| format!("persistentvolumeclaim/{name}")))
            .fact("what is on them belongs to another database by now")
            .state("nothing was changed")
            .next(format!("if nobody needs them: kubectl delete pvc {} -n {namespace}", left.join(" ")))
            .next("name another release: --release NAME"));
    }
    Ok(())
}

/// Whom the replica receives from.
async fn receives(replica: &Postgres, pod: &Pod) -> Result<Receiver> {
    let refused = |what: String| {
        let name = pod_name(pod);
        Failure::refused(what).state("nothing was changed").next(format!("kubectl dbmig logs pod/{name}"))
    };
    let seen = receiver(replica).await?;
    let seen = seen.ok_or_else(|| refused(format!("the replica in pod/{} receives nothing from its primary", pod_name(pod))))?;
    match seen.status.as_deref() {
        Some("streaming") | None => Ok(seen),
        Some(other) => Err(refused(format!("the receiver of the replica in pod/{} is {other}, not streaming", pod_name(pod)))),
    }
}

/// The primary: named, or what stands behind the host that the replica connects to.
async fn primary(session: &Session, args: &Args, receives: &Receiver, container: &str) -> Result<Server> {
    let cluster = &session.cluster;
    let of = |target: TargetRef, pod: Option<&Pod>| {
        let has = |pod: &Pod| pod.spec.iter().flat_map(|spec| &spec.containers).any(|one| one.name == container);
        Server { target, container: pod.is_none_or(has).then(|| container.to_owned()) }
    };
    if let Some(typed) = &args.primary {
        return Ok(of(TargetRef::parse(&[typed])?, None));
    }
    let name_it = |why: String| {
        Failure::refused("the primary that the replica follows was not found")
            .fact(why)
            .state("nothing was changed")
            .next("name it: --primary sts/NAME")
    };
    let host =
        receives.host.clone().ok_or_else(|| name_it("the replica does not tell this role where it connects to".to_owned()))?;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let short = host.split('.').next().unwrap_or_default();
    let service = found(services.get(short).await).doing(format!("read service/{short}"))?;
    let selector = service.and_then(|service| service.spec?.selector).filter(|selector| !selector.is_empty());
    let listed = match &selector {
        Some(selector) => {
            let labels: Vec<String> = selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
            pods.list(&ListParams::default().labels(&labels.join(","))).await
        }
        None => pods.list(&ListParams::default()).await,
    };
    let is_it = |pod: &Pod| {
        let status = pod.status.as_ref();
        // A pod's own name in a headless Service comes first in its host.
        selector.is_some() || pod_name(pod) == short || status.is_some_and(|status| status.pod_ip.as_deref() == Some(&host))
    };
    let all: Vec<Pod> = listed.doing("list pods")?.items.into_iter().filter(|pod| is_it(pod) && is_ready(pod)).collect();
    let [pod] = all.as_slice() else {
        return Err(name_it(format!("it connects to {host}, behind which {} ready pods were found", all.len())));
    };
    let owner = owner_of(cluster, &cluster.namespace, &pod.metadata).await?;
    let target = owner.object().and_then(|(kind, object)| {
        let kind = Kind::of_camel(kind).filter(|kind| matches!(kind, Kind::StatefulSet | Kind::Deployment))?;
        Some(TargetRef { kind, name: object.name.clone() })
    });
    Ok(of(target.unwrap_or_else(|| TargetRef { kind: Kind::Pod, name: pod_name(pod) }), Some(pod)))
}

/// Bytes that the replica is behind, if all is well between the two.
fn well(replica: &Standing, primary: &Standing, server: &Server, most: u64) -> Result<u64> {
    let refused = |what: String| Failure::refused(what).state("nothing was changed");
    if primary.in_recovery {
        return Err(refused(format!("{} is a replica itself", server.target)).next("name the primary: --primary sts/NAME"));
    }
    if primary.system_identifier != replica.system_identifier {
        return Err(refused(format!("the replica does not come from {}: their system identifiers differ", server.target))
            .next("name its primary: --primary sts/NAME"));
    }
    let lag = primary.lsn.since(replica.lsn);
    if lag > most {
        return Err(refused(format!("the replica is {} behind, more than --max-lag allows", crate::ui::human::bytes(lag)))
            .fact(format!("it has replayed up to {}, and the primary is at {}", replica.lsn, primary.lsn)));
    }
    Ok(lag)
}

/// The SQL that keeps writers out, and where it comes from.
async fn script(args: &Args, primary: &Postgres) -> Result<(String, String)> {
    if !args.revoke.is_empty() {
        return Ok((revokes(primary, &args.revoke).await?, format!("--revoke {}", args.revoke.join(","))));
    }
    let Some(file) = &args.readonly else { return Ok(Default::default()) };
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
    Ok((text, file.display().to_string()))
}

/// What the SQL would take, and who could write all the same.
async fn stopped(primary: &Postgres, script: &str) -> Result<(Option<Freeze>, Vec<(String, String)>)> {
    if script.is_empty() {
        return Ok((None, Vec::new()));
    }
    let freeze = differences(primary, script, End::Rollback).await?;
    if freeze.is_empty() {
        return Err(Failure::refused("the SQL that is to keep writers out changes no right").state("nothing was changed"));
    }
    if let Some(prepared) = writers(primary).await?.iter().find(|writer| writer.prepared.is_some()) {
        return Err(Failure::refused("a prepared transaction would never end by itself")
            .fact(prepared.in_words())
            .state("nothing was changed"));
    }
    Ok((Some(freeze), still_allowed(primary, script).await?))
}
