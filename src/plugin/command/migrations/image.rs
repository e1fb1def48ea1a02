//! The files in the application's image: read in its running container, else in a pod of the same image in which nothing of the
//! application runs. Only files that fit what the database says are taken: a folder may be another tool's.

use std::collections::HashSet;

use dbmig_wire::{Read, Stat, TextFile};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::FromImage;
use crate::cluster::Cluster;
use crate::cluster::agent::Agent;
use crate::cluster::image::ImagePod;
use crate::cluster::node;
use crate::cluster::pods::{command_line, statuses};
use crate::command::reach::Reach;
use crate::failure::Failure;
use crate::framework::{Evidence, Places, Script, State};
use crate::shutdown::Stop;

/// The container of a pod that says where its migrations are, and where; else the one that is named.
pub(in crate::command) fn migrator<'a>(pod: &'a Pod, container: &str) -> Option<(&'a Container, Vec<String>)> {
    let spec = pod.spec.as_ref()?;
    let all = || spec.init_containers.iter().flatten().chain(&spec.containers);
    let told = all().find_map(|one| Some((one, told_folders(one)?)));
    told.or_else(|| Some((all().find(|one| one.name == container)?, Vec::new())))
}

/// `-path DIR`, `-source file://DIR`, `DIR/manage.py`, `--changelog-file=DIR/FILE`, or a variable such as `UPMETER_DB_MIGRATIONS_PATH`.
fn told_folders(container: &Container) -> Option<Vec<String>> {
    let words: Vec<&str> = command_line(container).map(String::as_str).collect();
    let after = |flag: &str| {
        let equals =
            words.iter().find_map(|word| word.trim_start_matches('-').strip_prefix(flag)?.strip_prefix('=').map(str::to_owned));
        let next = words.iter().position(|word| word.trim_start_matches('-') == flag && word.starts_with('-'));
        equals.or_else(|| words.get(next? + 1).map(|word| (*word).to_owned()))
    };
    let variables = container.env.iter().flatten().filter(|variable| variable.name.to_uppercase().contains("MIGRATION"));
    let from_variables = variables.filter_map(|variable| variable.value.clone()).filter(|value| value.starts_with('/'));
    let source = after("source").and_then(|source| source.strip_prefix("file://").map(str::to_owned));
    let above = |path: &str| path.rsplit_once('/').map(|(folder, _)| folder.to_owned()).filter(|folder| !folder.is_empty());
    let project = words.iter().find(|word| word.ends_with("/manage.py")).and_then(|word| above(word));
    let changelog =
        ["changelog-file", "changelogFile", "changeLogFile"].into_iter().find_map(after).and_then(|file| above(&file));
    let told = [after("path"), source, project, changelog].into_iter().flatten();
    let folders: Vec<String> = told.chain(from_variables).collect();
    (!folders.is_empty()).then_some(folders)
}

/// What the image has for these states: that of the pod, or another one in its place.
pub(super) async fn read(cluster: &Cluster, stop: &Stop, reach: &Reach, states: &[State], other: Option<&str>) -> FromImage {
    let mut found = FromImage::default();
    let compiled = states.iter().map(|state| state.framework).filter(|framework| framework.places().is_none());
    found.notes.extend(compiled.map(|name| {
        format!("{name}: its migrations are compiled into the application: which are pending, only their sources tell (--migrations PATH)")
    }));
    let wanted: Vec<(&State, Places)> = states.iter().filter_map(|state| Some((state, state.framework.places()?))).collect();
    let Some((container, told)) = migrator(&reach.target.pod, &reach.target.container).filter(|_| !wanted.is_empty()) else {
        return found;
    };
    let other = other.filter(|image| container.image.as_deref() != Some(image));
    let container = &Container { image: other.map(str::to_owned).or(container.image.clone()), ..container.clone() };
    let read = match reach.inside(&container.name).filter(|_| other.is_none()) {
        Some(agent) => in_agent(agent, &told, &wanted, &container.name, &mut found).await,
        None => in_pod(cluster, stop, reach, container, &told, &wanted, &mut found).await,
    };
    if let Err(failure) = read {
        let why = failure.in_a_line();
        found.notes.push(format!("the migrations in the image of container {} can't be read: {why}", container.name));
    }
    found
}

async fn in_pod(
    cluster: &Cluster,
    stop: &Stop,
    reach: &Reach,
    container: &Container,
    told: &[String],
    wanted: &[(&State, Places)],
    found: &mut FromImage,
) -> Result<(), Failure> {
    let of_pod = migrator(&reach.target.pod, &container.name).is_some_and(|(own, _)| own.image == container.image);
    let status = statuses(&reach.target.pod).find(|status| of_pod && status.name == container.name);
    let waiting = status.and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.as_deref());
    if let Some(reason) = waiting.filter(|reason| reason.contains("Image")) {
        return Err(Failure::failed(format!("the node has no such image ({reason})")));
    }
    let helper = reach.for_image();
    let arch = node::arch(cluster, helper.node.as_deref()).await;
    let volumes = reach.target.pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let pod = ImagePod::start(cluster, stop, helper, volumes, container, &arch).await?;
    let read = in_agent(&pod.agent, told, wanted, &container.name, found).await;
    pod.remove(cluster).await;
    read
}

/// For each state, the files of the first folder that fits it.
async fn in_agent(
    agent: &Agent,
    told: &[String],
    wanted: &[(&State, Places)],
    container: &str,
    found: &mut FromImage,
) -> Result<(), Failure> {
    let candidates = |places: &Places| told.iter().cloned().chain(places.folders());
    let signs = wanted.iter().flat_map(|(_, places)| candidates(places).map(|folder| places.sign(&folder))).collect();
    let present = present(agent, signs).await?;
    for (state, places) in wanted {
        for folder in &candidates(places).filter(|folder| present.contains(&places.sign(folder))).collect::<Vec<_>>() {
            let scripts = scripts(agent, folder, places).await?;
            if state.is_known_by(&Evidence::of(state.framework, &scripts)) {
                let (count, name) = (scripts.len(), state.framework);
                found.notes.push(format!("{name}: {count} files of migrations in {folder} of container {container}"));
                found.scripts.insert(state.framework, scripts);
                break;
            }
        }
    }
    Ok(())
}

/// Those paths that are there.
async fn present(agent: &Agent, paths: Vec<String>) -> Result<HashSet<String>, Failure> {
    // The first path tells of its volume, so it must be there.
    let asked = std::iter::once("/".to_owned()).chain(paths.iter().cloned()).collect();
    let said =
        agent.ask(Stat { paths: asked, hash: false }, None).await.map_err(|error| error.into_failure("look for the files"))?;
    let there = paths.into_iter().zip(said.files.into_iter().skip(1)).filter(|(_, facts)| facts.is_some());
    Ok(there.map(|(path, _)| path).collect())
}

async fn scripts(agent: &Agent, folder: &str, places: &Places) -> Result<Vec<Script>, Failure> {
    let mut scripts = Vec::new();
    for suffix in places.suffixes {
        let parent = places.parent.map(str::to_owned);
        let call = Read { folders: vec![folder.to_owned()], suffix: (*suffix).to_owned(), depth: places.depth, parent };
        let files = agent.ask(call, None).await.map_err(|error| error.into_failure(&format!("read {folder}")))?;
        scripts.extend(files.into_iter().map(|file| script(folder, file)));
    }
    scripts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(scripts)
}

/// The folder's own last name goes in front: some migrations are told by their folders.
fn script(folder: &str, file: TextFile) -> Script {
    let last = folder.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    Script { path: format!("{last}/{}", file.name), text: file.text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(containers: &serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})).unwrap()
    }

    fn found(pod: &Pod) -> (String, Vec<String>) {
        let (container, folders) = migrator(pod, "app").expect("there is one");
        (container.name.clone(), folders)
    }

    #[test]
    fn the_container_that_says_where_its_migrations_are_is_the_one() {
        let plain = json!({"name": "app", "image": "app"});
        for (other, folder) in [
            (json!({"name": "m", "command": ["migrate", "-path", "/sql", "up"]}), "/sql"),
            (json!({"name": "m", "args": ["--path=/sql"]}), "/sql"),
            (json!({"name": "m", "args": ["-source", "file:///sql", "up"]}), "/sql"),
            (json!({"name": "m", "env": [{"name": "DB_MIGRATIONS_PATH", "value": "/sql"}]}), "/sql"),
            (json!({"name": "m", "command": ["python", "/srv/shop/manage.py", "migrate"]}), "/srv/shop"),
            (json!({"name": "m", "args": ["update", "--changelog-file=db/changelog/master.xml"]}), "db/changelog"),
        ] {
            assert_eq!(found(&pod(&json!([plain, other]))), ("m".to_owned(), vec![folder.to_owned()]));
        }
        assert_eq!(found(&pod(&json!([{"name": "side"}, plain]))), ("app".to_owned(), Vec::new()));
    }
}
