//! Which backup is made, and whether it can be: looked at before anything is changed.

use std::collections::BTreeSet;

use dbmig_wire::Stat;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};

use super::{Backup, How};
use crate::cli::backup::{BackupArgs, Method};
use crate::cluster::claim::size_for;
use crate::cluster::error::{Context as _, found};
use crate::cluster::helper::Helper;
use crate::cluster::relay::Endpoint;
use crate::cluster::volume::{Source, mounts};
use crate::cluster::{Cluster, snapshot};
use crate::command::run::desk::{Around, Desk};
use crate::command::run::open::Open;
use crate::database::Dialect;
use crate::database::url::{Location, Server};
use crate::exit::Exit;
use crate::failure::{Failure, Result};

/// The backup that was asked for; `None` where none was. The database must have been looked at.
///
/// # Errors
/// `Refused` with why it can't be made, and what to do; nothing was changed.
pub(in crate::command::run) async fn decide(args: &BackupArgs, desk: &Desk, around: Around<'_>) -> Result<Option<Backup>> {
    if args.backup == Method::None {
        return Ok(None);
    }
    let image = match &args.backup_image {
        Some(image) => image.clone(),
        None => desk.built(around).await?.image,
    };
    let open = desk.open.lock().await;
    let Some(open) = open.as_ref() else {
        return Err(refused("the database was not found, so there is nothing that could be backed up"));
    };
    let of = open.reach.shown(&open.found);
    let name = name_for(around.id);
    let mut class = args.backup_class.clone();
    let how = match (args.backup, &open.found.location) {
        (Method::Pvc, Location::Server(_)) => {
            return Err(refused(&format!("{of} is a server, whose files can't be copied while it runs"))
                .next("have its own tool do it: --backup dump")
                .next("or the driver of its volume: --backup volumesnapshot"));
        }
        (Method::VolumeSnapshot, location) => {
            let claim = claim_of(around.cluster, open, location).await?;
            let namespace = &around.cluster.namespace;
            class = Some(snapshot::class_for(around.cluster, namespace, &claim, args.backup_class.as_deref()).await?);
            How::Snapshot { claim }
        }
        (_, Location::Server(_)) => How::Dump { image, size: size(args, || estimated(open)).await? },
        (_, Location::File(path)) => copy(args, open, path, around.id, &desk.spec.helper_image).await?,
    };
    Ok(Some(Backup { name, class, of, how }))
}

/// Of all that is made for the backup of an operation.
fn name_for(id: &str) -> String {
    format!("dbmig-{id}-backup")
}

fn refused(why: &str) -> Failure {
    Failure::refused(format!("no backup can be made: {why}")).state("nothing was changed")
}

async fn size(args: &BackupArgs, estimate: impl AsyncFnOnce() -> Result<u64>) -> Result<String> {
    match &args.backup_size {
        Some(size) => Ok(size.clone()),
        None => Ok(size_for(estimate().await?)),
    }
}

/// How large what the tool writes may become: pg_dump compresses, the others write values as text, binary ones in hexadecimal.
async fn estimated(open: &Open) -> Result<u64> {
    let sql = match open.database.dialect() {
        Dialect::Postgres | Dialect::Sqlite => "SELECT pg_database_size(current_database())",
        Dialect::Mysql | Dialect::MariaDb => {
            "SELECT CAST(COALESCE(SUM(data_length), 0) * 2 AS SIGNED) FROM information_schema.tables WHERE table_schema = DATABASE()"
        }
    };
    let bytes = open.database.number(sql).await?;
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(|| {
        refused("the server does not say how large the database is").next("say how large a claim it needs: --backup-size SIZE")
    })
}

async fn copy(args: &BackupArgs, open: &Open, path: &str, id: &str, image: &str) -> Result<How> {
    let known = open.reach.as_seen_by_application(&open.found).location;
    let Some((mount, inside)) = open.reach.locate(path) else {
        return Err(refused(&format!("{known} is on no volume of its own, and goes with its pod")));
    };
    if let Source::WithPod(kind) = &mount.source {
        return Err(refused(&format!("{known} is on a volume that goes with its pod ({kind})")));
    }
    let bytes = async || {
        let paths = vec![path.to_owned(), format!("{path}-wal")];
        let asked = open.reach.agent().ask(Stat { paths, hash: false }, None).await;
        let said = asked.map_err(|error| error.into_failure(&format!("look at {known}")))?;
        Ok(said.files.into_iter().flatten().map(|file| file.bytes).sum())
    };
    let size = size(args, bytes).await?;
    let target = &open.reach.target;
    let helper = Helper::beside(&target.pod, &target.container, id, image, std::slice::from_ref(mount));
    let helper = Box::new(Helper { name: name_for(id), ..helper });
    Ok(How::Copy { helper, mount: mount.clone(), inside, size })
}

/// The claim that holds the file, or the files of the server.
async fn claim_of(cluster: &Cluster, open: &Open, location: &Location) -> Result<String> {
    match location {
        Location::Server(server) => claim_of_server(cluster, server).await,
        Location::File(_) => match open.reach.volume(&open.found) {
            Some(Source::Claim(name)) => Ok(name.clone()),
            _ => Err(refused("the database's file is on no PersistentVolumeClaim")),
        },
    }
}

/// The only claim of the pod behind the host's name, where that is a Service or a pod of this namespace.
async fn claim_of_server(cluster: &Cluster, server: &Server) -> Result<String> {
    let Some(Endpoint::Tcp(host, _)) = server.endpoints.first() else {
        return Err(refused("the server is reached by a socket, which does not tell where its files are"));
    };
    let labels: Vec<&str> = host.split('.').collect();
    let unknown = || {
        refused(&format!("it is not known which claim has the files of the server at {host}"))
            .fact(format!(
                "looked for a Service of that name in namespace {}, and for the only claim of its pod",
                cluster.namespace
            ))
            .next("have the server's own tool do it: --backup dump")
    };
    let Some(pods) = of_service(cluster, &labels).await? else { return Err(unknown()) };
    let sources = pods.iter().flat_map(|pod| mounts(pod, None)).filter_map(|mount| match mount.source {
        Source::Claim(name) => Some(name),
        Source::HostPath(_) | Source::WithPod(_) => None,
    });
    let claims: BTreeSet<String> = sources.collect();
    match claims.iter().collect::<Vec<_>>().as_slice() {
        [only] if pods.len() == 1 => Ok((*only).clone()),
        [] => Err(unknown()),
        several => Err(unknown().fact(format!("{} pods with {} claims: {}", pods.len(), several.len(), listed(&claims)))),
    }
}

fn listed(claims: &BTreeSet<String>) -> String {
    claims.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// The pods behind `service`, `service.namespace…` or `pod.service…`.
async fn of_service(cluster: &Cluster, labels: &[&str]) -> Result<Option<Vec<Pod>>> {
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let (first, second) = (labels.first().copied().unwrap_or_default(), labels.get(1).copied());
    if second.is_none_or(|second| second == cluster.namespace) {
        let service = found(services.get(first).await).doing(format!("read service/{first}"))?;
        let Some(selector) = service.and_then(|service| service.spec).and_then(|spec| spec.selector) else { return Ok(None) };
        let selector = selector.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
        let list =
            pods.list(&ListParams::default().labels(&selector)).await.doing(format!("list the pods of service/{first}"))?;
        return Ok(Some(list.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()));
    }
    let pod = found(pods.get(first).await).doing(format!("read pod/{first}"))?;
    Ok(pod
        .filter(|pod| pod.spec.as_ref().and_then(|spec| spec.subdomain.as_deref()) == second && pod.name_any() == first)
        .map(|pod| vec![pod]))
}

/// What keeps a backup from being made is the user's to settle, and leaves nothing behind.
pub(super) fn taken_back(failure: Failure) -> Failure {
    let failure = if failure.exit == Exit::Failed { failure.exit(Exit::Refused) } else { failure };
    failure.take_back()
}
