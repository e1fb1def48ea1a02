//! Records as ConfigMaps. Only this file reads or writes them.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use dbmig_wire::Progress;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, PostParams};

use super::record::Record;
use crate::cluster::error::{is_not_found, translate};
use crate::cluster::{Cluster, MANAGED_BY};
use crate::exit::Exit;
use crate::failure::{Failure, Result};

/// Label with the command of an operation.
pub const LABEL_COMMAND: &str = "dbmig.dev/command";
/// Label with the name of the Lease that guards an operation's target.
pub const LABEL_LOCK: &str = "dbmig.dev/lock";
const LABEL_PHASE: &str = "dbmig.dev/phase";
const WRITER: &str = "dbmig.dev/writer";
/// How far the present step is, for those who watch. Each write of the record takes it away.
const PROGRESS: &str = "dbmig.dev/progress";
const KEY: &str = "record.json";
/// A record must survive an API server that restarts; a minute and a half is what a control plane needs at worst.
const PATIENCE: Duration = Duration::from_secs(90);

/// The records of one namespace.
#[derive(Clone)]
pub struct Store {
    pub(super) api: Api<ConfigMap>,
    /// Tells the writes of this process from those of another.
    writer: String,
}

impl Store {
    /// The records of a namespace, written in the name of this process.
    #[must_use]
    pub fn new(client: kube::Client, namespace: &str, writer: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), writer: writer.to_owned() }
    }

    /// The records of a namespace, for who begins none: nobody has to be told from this process.
    #[must_use]
    pub fn in_namespace(cluster: &Cluster, namespace: &str) -> Self {
        Self::new(cluster.client.clone(), namespace, "")
    }

    /// Writes a new record.
    ///
    /// # Errors
    /// When the API server refuses; nothing was changed then.
    pub async fn create(&self, record: &Record) -> Result<()> {
        let map = self.config_map(record)?;
        let Err(error) = self.api.create(&PostParams::default(), &map).await else { return Ok(()) };
        // An answer that was lost on its way says nothing about the record.
        match self.api.get_opt(&name_of(&record.id)).await {
            Ok(Some(found)) if writer_of(&found) == self.writer => Ok(()),
            _ => Err(cannot("write", &record.id, &error)),
        }
    }

    /// Writes a record again. Waits for an API server that is away.
    ///
    /// # Errors
    /// `Held` when another process has written it since this one did; otherwise when the API server refuses or stays away.
    pub async fn save(&self, record: &mut Record) -> Result<()> {
        record.updated = Timestamp::now();
        let map = self.config_map(record)?;
        let backoff = ExponentialBuilder::default()
            .with_max_delay(Duration::from_secs(5))
            .with_max_times(usize::MAX)
            .with_total_delay(Some(PATIENCE));
        (|| self.replace(&map)).retry(backoff).when(is_passing).await.map_err(|error| match error {
            Saving::Foreign(writer) => {
                Failure::new(Exit::Held, format!("operation {} is being worked on by another process", record.id))
                    .fact(format!("its record was last written by {writer}"))
                    .state("this process has stopped; the other one goes on")
            }
            Saving::Api(error) => cannot("write", &record.id, &error),
        })
    }

    async fn replace(&self, map: &ConfigMap) -> std::result::Result<(), Saving> {
        let name = map.metadata.name.clone().unwrap_or_default();
        let found = self.api.get(&name).await.map_err(Saving::Api)?;
        let writer = writer_of(&found);
        if writer != self.writer {
            return Err(Saving::Foreign(writer));
        }
        let mut map = map.clone();
        map.metadata.resource_version = found.metadata.resource_version;
        self.api.replace(&name, &PostParams::default(), &map).await.map_err(Saving::Api)?;
        Ok(())
    }

    /// Makes this process the writer of a record, for `resume` and `undo`. The Lease must be held.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn adopt(&self, id: &str) -> Result<Record> {
        let name = name_of(id);
        let mut map = self.api.get(&name).await.map_err(|error| missing(id, &error))?;
        let record = parse(&map)?;
        map.metadata.annotations.get_or_insert_default().insert(WRITER.to_owned(), self.writer.clone());
        self.api.replace(&name, &PostParams::default(), &map).await.map_err(|error| cannot("take over", id, &error))?;
        Ok(record)
    }

    /// Reads one record.
    ///
    /// # Errors
    /// `Usage` when there is no such operation, with those that are there.
    pub async fn load(&self, id: &str) -> Result<Record> {
        match self.api.get(&name_of(id)).await {
            Ok(map) => parse(&map),
            Err(error) if is_not_found(&error) => {
                let known = self.list(None).await?;
                let failure = Failure::usage(format!("there is no operation {id} in this namespace"));
                Err(match known.last() {
                    None => failure.fact("no operation is recorded here").next("kubectl dbmig history -n NAMESPACE"),
                    Some(_) => {
                        failure.fact(format!("known: {}", known.iter().map(|r| r.id.as_str()).collect::<Vec<_>>().join(", ")))
                    }
                })
            }
            Err(error) => Err(cannot("read", id, &error)),
        }
    }

    /// All records, oldest first; only those under one lock when it is given.
    ///
    /// # Errors
    /// When the API server refuses, or a record comes from a version that this one can't read.
    pub async fn list(&self, lock: Option<&str>) -> Result<Vec<Record>> {
        let mut labels = format!("app.kubernetes.io/managed-by={MANAGED_BY},{LABEL_COMMAND}");
        if let Some(lock) = lock {
            labels += &format!(",{LABEL_LOCK}={lock}");
        }
        let maps = self
            .api
            .list(&ListParams::default().labels(&labels))
            .await
            .map_err(|error| Failure::failed("cannot list the operations of this namespace").fact(error.to_string()))?;
        let mut records = maps.iter().map(parse).collect::<Result<Vec<_>>>()?;
        records.sort_by_key(|record| record.created);
        Ok(records)
    }

    /// The newest operation under a lock that is neither done nor undone.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub async fn unfinished(&self, lock: Option<&str>) -> Result<Vec<Record>> {
        Ok(self.list(lock).await?.into_iter().filter(|record| !record.phase.is_over()).collect())
    }

    /// Tells those who watch how far the present step is. Whatever prevents it: the work itself does not depend on it.
    pub async fn tell(&self, id: &str, progress: &Progress) {
        let Ok(mut map) = self.api.get(&name_of(id)).await else { return };
        let Ok(text) = serde_json::to_string(progress) else { return };
        if writer_of(&map) != self.writer {
            return;
        }
        map.metadata.annotations.get_or_insert_default().insert(PROGRESS.to_owned(), text);
        // A record that was written in between stands: the resource version keeps this one out.
        let _ = self.api.replace(&name_of(id), &PostParams::default(), &map).await;
    }

    /// How far the present step is, as far as its process has told.
    #[must_use]
    pub fn progress(map: &ConfigMap) -> Option<Progress> {
        serde_json::from_str(map.metadata.annotations.as_ref()?.get(PROGRESS)?).ok()
    }

    /// The record in a ConfigMap that a watch has brought.
    ///
    /// # Errors
    /// It was changed by hand, or written by another version.
    pub fn read(map: &ConfigMap) -> Result<Record> {
        parse(map)
    }

    /// Removes a record of an operation that changed nothing after all.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn remove(&self, id: &str) -> Result<()> {
        match self.api.delete(&name_of(id), &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(cannot("remove", id, &error)),
        }
    }

    fn config_map(&self, record: &Record) -> Result<ConfigMap> {
        let text = serde_json::to_string_pretty(record)
            .map_err(|error| Failure::failed(format!("cannot write the record of {}: {error}", record.id)))?;
        let labels = [
            ("app.kubernetes.io/managed-by", MANAGED_BY),
            (LABEL_COMMAND, &record.command),
            (LABEL_LOCK, &record.lock),
            (LABEL_PHASE, record.phase.as_str()),
        ];
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name_of(&record.id));
        map.metadata.labels = Some(labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect());
        map.metadata.annotations = Some([(WRITER.to_owned(), self.writer.clone())].into());
        map.data = Some([(KEY.to_owned(), text)].into());
        Ok(map)
    }
}

enum Saving {
    Foreign(String),
    Api(kube::Error),
}

/// Worth another try: somebody wrote in between, or the server was not there.
fn is_passing(error: &Saving) -> bool {
    match error {
        Saving::Foreign(_) => false,
        Saving::Api(kube::Error::Api(status)) => matches!(status.code, 409 | 429 | 500..),
        Saving::Api(_) => true,
    }
}

pub(super) fn name_of(id: &str) -> String {
    format!("dbmig-{id}")
}

fn writer_of(map: &ConfigMap) -> String {
    map.metadata.annotations.as_ref().and_then(|a| a.get(WRITER)).cloned().unwrap_or_default()
}

fn parse(map: &ConfigMap) -> Result<Record> {
    let name = map.metadata.name.as_deref().unwrap_or_default();
    let text = map.data.as_ref().and_then(|data| data.get(KEY)).map(String::as_str).unwrap_or_default();
    serde_json::from_str(text).map_err(|error| {
        Failure::failed(format!("cannot read the operation's record in configmap/{name}"))
            .fact(format!("{error}"))
            .fact("it was changed by hand, or written by another version of kubectl-dbmig")
            .next(format!("kubectl get configmap {name} -o yaml"))
    })
}

fn missing(id: &str, error: &kube::Error) -> Failure {
    if is_not_found(error) {
        Failure::usage(format!("there is no operation {id} in this namespace"))
    } else {
        cannot("read", id, error)
    }
}

pub(super) fn cannot(verb: &str, id: &str, error: &kube::Error) -> Failure {
    translate(error, &format!("{verb} the record of operation {id}"))
}
