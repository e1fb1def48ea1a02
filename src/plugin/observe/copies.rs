//! Asks each pgcopydb of a scope, in its own container, how far it is. Only who may run commands there learns that; Jobs that run
//! something else are not looked into.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dbmig_wire::Environment;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod};
use kube::{Api, ResourceExt as _};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::copy::{CopyRow, Pace, SlotRow};
use crate::cluster::Cluster;
use crate::cluster::pods::{command_line, is_running, statuses};
use crate::cluster::seat::Seat;
use crate::database::Limits;
use crate::database::find;
use crate::database::postgres::Postgres;
use crate::database::sqlite::SqliteFile;
use crate::failure::Result;
use crate::replication::{self, CATALOG, Phase, SLOT, SOURCE, TARGET, Work, connect};

/// Time between two looks at one of them.
const PACE: Duration = Duration::from_secs(5);
/// Time until one that could not be asked is asked again.
const AGAIN: Duration = Duration::from_secs(30);
/// Looks that may wait to be taken.
const WAITING: usize = 16;
/// How the variables begin that pgcopydb reads.
const VARIABLES: &str = "PGCOPYDB_";
/// Its working directory, below the folder for temporary files.
const FOLDER: &str = "pgcopydb";

/// What came of a look.
#[derive(Debug)]
pub(super) enum Asked {
    /// How far it is.
    Row(Box<CopyRow>),
    /// That one could not be asked, and why.
    Unknown(Box<CopyRow>, String),
}

/// A look at what runs in a pod.
#[derive(Debug)]
struct Looked {
    uid: String,
    /// `None`: no pgcopydb.
    asked: Option<Asked>,
}

/// Asks again and again, those that run. Dropping it ends that.
pub(super) struct Copies {
    cluster: Cluster,
    looked_tx: mpsc::Sender<Looked>,
    looked: mpsc::Receiver<Looked>,
    /// By the pods' uids, with whether the pod has ended.
    tasks: BTreeMap<String, (bool, AbortHandle)>,
    /// Of these nothing has been heard yet.
    pending: BTreeSet<String>,
}

impl Drop for Copies {
    fn drop(&mut self) {
        self.tasks.values().for_each(|(_, task)| task.abort());
    }
}

impl Copies {
    /// Asks nobody yet.
    pub(super) fn new(cluster: &Cluster) -> Self {
        let (looked_tx, looked) = mpsc::channel(WAITING);
        Self { cluster: cluster.clone(), looked_tx, looked, tasks: BTreeMap::new(), pending: BTreeSet::new() }
    }

    /// A pod is there, or not as it was.
    pub(super) fn pod(&mut self, pod: &Pod) {
        let of_job = pod.owner_references().iter().any(|owner| owner.kind == "Job");
        let (Some(uid), true) = (pod.uid(), of_job) else { return };
        let ended = has_ended(pod);
        let begun = statuses(pod).any(is_running);
        let known = self.tasks.get(&uid).is_some_and(|(then, _)| *then == ended);
        if known || !(begun || ended) {
            return;
        }
        self.gone(&uid);
        self.pending.insert(uid.clone());
        let task = tokio::spawn(look(self.cluster.clone(), pod.clone(), self.looked_tx.clone()));
        self.tasks.insert(uid, (ended, task.abort_handle()));
    }

    /// A pod is gone.
    pub(super) fn gone(&mut self, uid: &str) {
        if let Some((_, task)) = self.tasks.remove(uid) {
            task.abort();
        }
        self.pending.remove(uid);
    }

    /// Something is not known yet that will be at the first look.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The next thing that was learned; `None`: what was looked at is no pgcopydb.
    pub(super) async fn next(&mut self) -> Option<Asked> {
        let Looked { uid, asked } = self.looked.recv().await?;
        self.pending.remove(&uid);
        asked
    }
}

fn has_ended(pod: &Pod) -> bool {
    let main = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    !main.is_empty() && main.iter().all(|status| status.state.as_ref().is_some_and(|state| state.terminated.is_some()))
}

async fn look(cluster: Cluster, pod: Pod, looked_tx: mpsc::Sender<Looked>) {
    let uid = pod.uid().unwrap_or_default();
    let Some(container) = copier(&cluster, &pod).await else {
        let _ = looked_tx.send(Looked { uid, asked: None }).await;
        return;
    };
    let mut row = CopyRow::new(&pod.namespace().unwrap_or_default(), &pod.name_any(), &container.name);
    if has_ended(&pod) {
        let status = statuses(&pod).find(|status| status.name == container.name);
        row.exit_code = status.and_then(|status| Some(status.state.as_ref()?.terminated.as_ref()?.exit_code));
        row.phase = Phase::Ended;
        let _ = looked_tx.send(Looked { uid, asked: Some(Asked::Row(Box::new(row))) }).await;
        return;
    }
    let (mut pace, mut told) = (Pace::default(), String::new());
    // Whoever is not listened to any more ends.
    while let Err(failure) = ask(&cluster, &pod, container, &row, &mut pace, &looked_tx).await {
        let why = failure.in_a_line();
        let asked = Some(Asked::Unknown(Box::new(row.clone()), why.clone()));
        // Once is enough.
        if why != told && looked_tx.send(Looked { uid: uid.clone(), asked }).await.is_err() {
            return;
        }
        told = why;
        sleep(AGAIN).await;
    }
}

/// Asks one of them until nobody listens any more.
async fn ask(
    cluster: &Cluster,
    pod: &Pod,
    container: &Container,
    row: &CopyRow,
    pace: &mut Pace,
    looked_tx: &mpsc::Sender<Looked>,
) -> Result<()> {
    let uid = pod.uid().unwrap_or_default();
    let mut place = Place::reach(cluster, pod, container).await?;
    loop {
        let row = place.look(row.clone(), pace).await?;
        if looked_tx.send(Looked { uid: uid.clone(), asked: Some(Asked::Row(Box::new(row))) }).await.is_err() {
            return Ok(());
        }
        sleep(PACE).await;
    }
}

/// Where one is asked.
struct Place {
    seat: Seat,
    catalog: SqliteFile,
    origin: String,
    source: Option<Postgres>,
    target: Option<Postgres>,
}

impl Place {
    async fn reach(cluster: &Cluster, pod: &Pod, container: &Container) -> Result<Self> {
        let seat = Seat::inside(cluster, pod, &container.name).await?;
        let dir = match option(container, "--dir") {
            Some(dir) => dir,
            None => format!("{}/{FOLDER}", temporary(&seat).await?),
        };
        let catalog = SqliteFile { agent: seat.agent.clone(), path: format!("{dir}/{CATALOG}") };
        let origin = option(container, "--origin").unwrap_or_else(|| SLOT.to_owned());
        Ok(Self { seat, catalog, origin, source: None, target: None })
    }

    /// How far it is, and what of that can't be known.
    async fn look(&mut self, mut row: CopyRow, pace: &mut Pace) -> Result<CopyRow> {
        let work = match Work::read(&self.catalog).await {
            Ok(work) => work,
            Err(failure) if failure.passing => return Err(failure),
            Err(failure) => {
                row.unknown.push(failure.message);
                return Ok(row);
            }
        };
        let name = work.slot.clone().unwrap_or_else(|| SLOT.to_owned());
        let mut unknown = Vec::new();
        let slot = match self.slot(&name).await {
            Ok(slot) => Some(slot),
            Err(failure) => {
                self.source = None;
                unknown.push(failure.message);
                None
            }
        };
        let (applied, connected) = match self.applied().await {
            Ok(known) => known,
            Err(failure) => {
                self.target = None;
                unknown.push(failure.message);
                (None, false)
            }
        };
        // By its own account it may be further: what it read was not for this database.
        let applied = applied.max(work.sentinel.replayed);
        if let (Some(Some(slot)), Some(applied)) = (&slot, applied) {
            pace.saw(Instant::now(), slot.at, applied);
        }
        let slot = slot.map(|slot| SlotRow::of(&name, slot.as_ref()));
        Ok(CopyRow { slot, connected, unknown, ..row.with(&work, pace) })
    }

    async fn slot(&mut self, name: &str) -> Result<Option<replication::Slot>> {
        let source = open(&self.seat, &mut self.source, SOURCE).await?;
        replication::settled_slot(source, name).await
    }

    /// How far the target has applied what it got, and whether somebody is connected to apply more.
    async fn applied(&mut self) -> Result<(Option<replication::Lsn>, bool)> {
        let target = open(&self.seat, &mut self.target, TARGET).await?;
        let applied = replication::applied(target, &self.origin).await?;
        Ok((applied, replication::is_connected(target).await?))
    }
}

/// A connection to what a variable names, opened once.
async fn open<'a>(seat: &Seat, place: &'a mut Option<Postgres>, variable: &str) -> Result<&'a Postgres> {
    if let Some(open) = place {
        return Ok(open);
    }
    let found = find::variable(seat, variable).await?;
    Ok(place.insert(connect(seat, &found, Limits::default()).await?))
}

/// The folder for temporary files, as the container's programs are told.
async fn temporary(seat: &Seat) -> Result<String> {
    const NAME: &str = "TMPDIR";
    let said = seat.agent.ask(Environment { about: vec![NAME.to_owned()] }, None).await;
    let said = said.map_err(|error| error.into_failure("read the environment"))?;
    Ok(said.container.get(NAME).cloned().unwrap_or_else(|| "/tmp".to_owned()))
}

/// The container of a pod that runs pgcopydb.
async fn copier<'a>(cluster: &Cluster, pod: &'a Pod) -> Option<&'a Container> {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    if let Some(container) = containers.iter().find(|container| is_copier(container)) {
        return Some(container);
    }
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &pod.namespace().unwrap_or_default());
    for container in containers {
        for map in container.env_from.iter().flatten().filter_map(|from| from.config_map_ref.as_ref()) {
            // Who may not read it sees no progress, and is not bothered with that: it may be anything.
            let told = maps.get_opt(&map.name).await.ok().flatten().and_then(|map| map.data).unwrap_or_default();
            if told.keys().any(|name| name.starts_with(VARIABLES)) {
                return Some(container);
            }
        }
    }
    None
}

/// By what its spec says alone.
fn is_copier(container: &Container) -> bool {
    let image = container.image.iter().any(|image| image.rsplit('/').next().is_some_and(|name| name.starts_with(FOLDER)));
    let variables = container.env.iter().flatten().any(|variable| variable.name.starts_with(VARIABLES));
    image || variables || command_line(container).any(|word| word == FOLDER || word.ends_with("/pgcopydb"))
}

/// The value of an option on the container's command line.
fn option(container: &Container, name: &str) -> Option<String> {
    let mut words = command_line(container).skip_while(|word| *word != name && !word.starts_with(&format!("{name}=")));
    match words.next()?.split_once('=') {
        Some((_, value)) => Some(value.to_owned()),
        None => words.next().cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(fields: &serde_json::Value) -> Container {
        let mut all = serde_json::json!({"name": "main"});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn a_pgcopydb_is_known_by_its_spec_and_nothing_else_is() {
        for (fields, is) in [
            (serde_json::json!({"image": "ghcr.io/dimitri/pgcopydb:v0.17"}), true),
            (serde_json::json!({"image": "tools:1", "command": ["pgcopydb", "clone", "--follow"]}), true),
            (serde_json::json!({"image": "tools:1", "env": [{"name": "PGCOPYDB_SOURCE_PGURI"}]}), true),
            (serde_json::json!({"image": "pgcopydb/tools:1", "command": ["sleep", "1"], "env": [{"name": "PGHOST"}]}), false),
            (serde_json::json!({"image": "app:1", "args": ["db", "upgrade"]}), false),
        ] {
            assert_eq!(is_copier(&container(&fields)), is, "{fields}");
        }
    }

    #[test]
    fn options_are_found_in_both_forms() {
        let one = container(&serde_json::json!({"command": ["pgcopydb", "clone", "--dir", "/work"], "args": ["--origin=move"]}));
        assert_eq!(option(&one, "--dir").as_deref(), Some("/work"));
        assert_eq!(option(&one, "--origin").as_deref(), Some("move"));
        assert_eq!(option(&one, "--slot-name"), None);
    }
}
