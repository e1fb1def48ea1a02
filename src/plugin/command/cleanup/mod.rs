//! `cleanup`: what operations have left behind and failed migrations, listed first; only what is over goes, and only as it was seen.

mod judge;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Preconditions, PropagationPolicy};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::judge::Known;
use super::Context;
use super::finish;
use super::session::{self, Session};
use crate::cli::cleanup::Args;
use crate::cluster::access::{self, Need};
use crate::cluster::error::{Context as _, is_conflict, is_forbidden, is_not_found, translate};
use crate::cluster::snapshot;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::plan::Store;
use crate::ui::human::age;
use crate::ui::{Report, Table};

/// Name of the Role that a user is given.
const ROLE: &str = "kubectl-dbmig-cleanup";

/// Lists what nobody needs any more, asks, and removes it.
///
/// # Errors
/// What is there can't be listed, or something can't be removed.
pub async fn run(ctx: &Context, args: Args) -> Result<Exit> {
    session::refuse_unasked(&ctx.ui, args.dry_run || args.yes, "what would go")?;
    let session = Session::begin(ctx).await?;
    let namespace = session.cluster.namespace.clone();
    access::require(&session.cluster, &needs(&namespace, args.dry_run), ROLE).await?;
    let items = session.stop.interruptible(find(&session, &args)).await??;
    session.ui.print(&Leftovers { items: items.clone() })?;
    if items.is_empty() {
        session.ui.say(&format!("nothing to remove in namespace {namespace}"));
        return Ok(Exit::Done);
    }
    if args.dry_run {
        return Ok(Exit::Done);
    }
    if !args.yes && !session.ui.confirm(&session.stop, &format!("Remove these {}?", items.len())).await? {
        return Err(Failure::refused("not confirmed").state("nothing was changed"));
    }
    let mut removed = 0_usize;
    for item in &items {
        session
            .stop
            .interruptible(async {})
            .await
            .map_err(|failure| failure.state(format!("{removed} of {} are removed", items.len())))?;
        removed += usize::from(remove(&session, item).await?);
    }
    session.ui.say(&format!("{removed} of {} removed", items.len()));
    Ok(Exit::Done)
}

fn needs(namespace: &str, dry_run: bool) -> Vec<Need> {
    let verbs: &[&str] = if dry_run { &["list"] } else { &["list", "delete"] };
    [("batch", "jobs"), ("", "pods"), ("", "configmaps"), ("coordination.k8s.io", "leases")]
        .iter()
        .flat_map(|(group, resource)| Need::all(namespace, group, resource, verbs))
        .collect()
}

/// Something that nobody needs any more, as it was seen.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Leftover {
    kind: &'static str,
    name: String,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<Timestamp>,
    #[serde(skip)]
    seen: Preconditions,
    /// The operation that has kept values of before in the Secret of ours.
    #[serde(skip)]
    kept_by: Option<String>,
}

impl Leftover {
    fn new(kind: &'static str, object: &impl kube::ResourceExt, why: String) -> Self {
        let created = object.creation_timestamp().map(|time| time.0);
        let seen = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
        Self { kind, name: object.name_any(), why, created, seen, kept_by: None }
    }
}

/// Everything of the namespace that may go, records last: what they tell of others is needed until then.
async fn find(session: &Session, args: &Args) -> Result<Vec<Leftover>> {
    let client = &session.cluster.client;
    let namespace = &session.cluster.namespace;
    let records = Store::new(client.clone(), namespace, "").list(None).await?;
    let by_id = records.iter().map(|record| (record.id.as_str(), record)).collect();
    let known = Known { records: by_id, now: Timestamp::now(), keep: args.keep, backups: args.backups };
    let mut items = Vec::new();
    let jobs = all::<Job>(session, "jobs").await?;
    items.extend(jobs.iter().filter_map(|job| Some(Leftover::new("job", job, known.job(job)?))));
    let pods = all::<Pod>(session, "pods").await?;
    items.extend(pods.iter().filter_map(|pod| Some(Leftover::new("pod", pod, known.pod(pod)?))));
    let leases = all::<Lease>(session, "leases").await?;
    items.extend(leases.iter().filter_map(|lease| Some(Leftover::new("lease", lease, known.lease(lease)?))));
    items.extend(copies(session, &known).await?);
    let maps = all::<ConfigMap>(session, "configmaps").await?;
    // What is attached to a record goes with it.
    let of_record = |map: &ConfigMap| {
        let record = Store::read(map).ok()?;
        let leftover = Leftover::new("configmap", map, known.record(&record)?);
        Some(Leftover { kept_by: record.memory.contains_key(finish::KEPT).then_some(record.id), ..leftover })
    };
    items.extend(maps.iter().filter_map(of_record));
    Ok(items)
}

/// Claims and snapshots that may go. Who may not list them keeps them.
async fn copies(session: &Session, known: &Known<'_>) -> Result<Vec<Leftover>> {
    let (client, namespace) = (&session.cluster.client, &session.cluster.namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let everything = ListParams::default();
    let (claims, snapshots) = tokio::join!(claims.list_metadata(&everything), async {
        snapshot::api(client, namespace).list_metadata(&everything).await
    });
    let mut items = Vec::new();
    match claims {
        Ok(list) => items.extend(list.items.iter().filter_map(|one| leftover("persistentvolumeclaim", &one.metadata, known))),
        Err(error) if is_forbidden(&error) => {
            session.ui.say("backups are not looked at: you may not list persistentvolumeclaims");
        }
        Err(error) => return Err(translate(&error, "list the persistentvolumeclaims")),
    }
    match snapshots {
        Ok(list) => items.extend(list.items.iter().filter_map(|one| leftover("volumesnapshot", &one.metadata, known))),
        Err(error) if is_forbidden(&error) || is_not_found(&error) => {}
        Err(error) => return Err(translate(&error, "list the volumesnapshots")),
    }
    Ok(items)
}

fn leftover(kind: &'static str, metadata: &ObjectMeta, known: &Known<'_>) -> Option<Leftover> {
    let (why, created) = (known.copy(metadata)?, metadata.creation_timestamp.as_ref().map(|time| time.0));
    let seen = Preconditions { uid: metadata.uid.clone(), resource_version: metadata.resource_version.clone() };
    Some(Leftover { kind, name: metadata.name.clone().unwrap_or_default(), why, created, seen, kept_by: None })
}

async fn all<K>(session: &Session, plural: &str) -> Result<Vec<K>>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(session.cluster.client.clone(), &session.cluster.namespace);
    Ok(api.list(&ListParams::default()).await.doing(format!("list the {plural}"))?.items)
}

/// Removes it, if it is still as it was seen; whether it was.
async fn remove(session: &Session, item: &Leftover) -> Result<bool> {
    // Before the record, which tells of it.
    if let Some(id) = &item.kept_by {
        finish::entry_of(&session.cluster, &session.cluster.namespace, id).forget().await?;
    }
    match item.kind {
        "job" => delete::<Job>(session, item).await,
        "pod" => delete::<Pod>(session, item).await,
        "lease" => delete::<Lease>(session, item).await,
        "persistentvolumeclaim" => delete::<PersistentVolumeClaim>(session, item).await,
        "volumesnapshot" => delete_from(session, &snapshot::api(&session.cluster.client, &session.cluster.namespace), item).await,
        _ => delete::<ConfigMap>(session, item).await,
    }
}

async fn delete<K>(session: &Session, item: &Leftover) -> Result<bool>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(session.cluster.client.clone(), &session.cluster.namespace);
    delete_from(session, &api, item).await
}

async fn delete_from<K: Clone + std::fmt::Debug + DeserializeOwned>(
    session: &Session,
    api: &Api<K>,
    item: &Leftover,
) -> Result<bool> {
    let propagation_policy = Some(PropagationPolicy::Background);
    let params = DeleteParams { preconditions: Some(item.seen.clone()), propagation_policy, ..DeleteParams::default() };
    match api.delete(&item.name, &params).await {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) if is_conflict(&error) => {
            session.ui.warn(&format!("{}/{} has changed since it was listed, and stays", item.kind, item.name));
            Ok(false)
        }
        Err(error) => Err(translate(&error, &format!("delete {}/{}", item.kind, item.name))),
    }
}

/// What may go, for people and for machines.
#[derive(Serialize)]
struct Leftovers {
    items: Vec<Leftover>,
}

impl Report for Leftovers {
    fn kind(&self) -> &'static str {
        "LeftoverList"
    }

    fn table(&self, _wide: bool) -> Table {
        let now = Timestamp::now();
        let row = |item: &Leftover| vec![format!("{}/{}", item.kind, item.name), age(item.created, now), item.why.clone()];
        Table::new(vec!["NAME", "AGE", "WHY"]).rows(self.items.iter().map(row))
    }

    fn names(&self) -> Vec<String> {
        self.items.iter().map(|item| format!("{}/{}", item.kind, item.name)).collect()
    }
}
