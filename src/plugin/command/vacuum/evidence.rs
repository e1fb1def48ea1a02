//! The migration files of the application's image, as evidence for a repair that the schema alone does not prove.

use dbmig_wire::{Facts, Read, Replay};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::examine::Examined;
use super::spec::Spec;
use crate::cluster::Cluster;
use crate::cluster::agent::Agent;
use crate::cluster::image::ImagePod;
use crate::command::migrations::migrator;
use crate::failure::Result;
use crate::framework::Framework;
use crate::framework::golang_migrate::files::{Evidence, SUFFIX, migrations};
use crate::framework::golang_migrate::verdict::{Recognised, Verdict, judge};
use crate::shutdown::Stop;

/// A container whose image has the migration files, and where they may be.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Migrator {
    image: String,
    folders: Vec<String>,
}

impl Migrator {
    /// The container of a pod that says where its migrations are; else the one that mounts the database.
    pub(crate) fn of(pod: &Pod, container: &str) -> Option<Self> {
        let (chosen, mut folders) = migrator(pod, container)?;
        folders.extend(Framework::GolangMigrate.places().into_iter().flat_map(|places| places.folders()));
        Some(Self { image: chosen.image.clone()?, folders })
    }
}

/// Judges a dirty version again by the files of the image, where the first judgement was that nothing proves it.
///
/// # Errors
/// Only when the helper can't be asked; an image that can't be read leaves the judgement as it was.
pub(crate) async fn reconsider(
    cluster: &Cluster,
    stop: &Stop,
    agent: &Agent,
    spec: &Spec,
    facts: &Facts,
    examined: &mut Examined,
) -> Result<()> {
    let (Some(migrator), Some(content)) = (&spec.migrator, &facts.content) else { return Ok(()) };
    let Recognised::Known { state, repair: repair @ Verdict::Refused { .. } } = &mut examined.framework else { return Ok(()) };
    let (true, Some(version)) = (state.dirty, state.version) else { return Ok(()) };
    let judged = match read(cluster, stop, agent, spec, migrator, &state.table, version).await? {
        Ok(evidence) => judge(state, &content.schema, &evidence),
        Err(because) => Verdict::Refused { because: format!("{}; {because}", reason(repair)) },
    };
    *repair = judged;
    Ok(())
}

fn reason(repair: &Verdict) -> &str {
    if let Verdict::Refused { because } = repair { because } else { "" }
}

/// Reads the files in a pod of the image and replays them beside the database.
async fn read(
    cluster: &Cluster,
    stop: &Stop,
    agent: &Agent,
    spec: &Spec,
    migrator: &Migrator,
    table: &str,
    version: i64,
) -> Result<std::result::Result<Evidence, String>> {
    let container = Container { image: Some(migrator.image.clone()), ..Container::default() };
    let pod = match ImagePod::start(cluster, stop, &spec.helper, &[], &container, &spec.arch).await {
        Ok(pod) => pod,
        Err(failure) => {
            return Ok(Err(format!("the migration files in {} can't be read: {}", migrator.image, failure.in_a_line())));
        }
    };
    let files =
        pod.agent.ask(Read { folders: migrator.folders.clone(), suffix: SUFFIX.to_owned(), depth: 0, parent: None }, None).await;
    pod.remove(cluster).await;
    let files = match files {
        Ok(files) => files,
        Err(error) => return Ok(Err(error.into_failure("read the migration files").in_a_line())),
    };
    if files.is_empty() {
        return Ok(Err(format!("the image {} has no *{SUFFIX} in {}", migrator.image, migrator.folders.join(", "))));
    }
    let migrations = match migrations(&files) {
        Ok(migrations) => migrations,
        Err(because) => return Ok(Err(because)),
    };
    let scripts = migrations.iter().map(|migration| migration.sql.clone()).collect();
    let replayed = agent.ask(Replay { scripts }, None).await.map_err(|error| error.into_failure("replay the migrations"))?;
    Ok(Evidence::new(table, version, &migrations, &replayed))
}
