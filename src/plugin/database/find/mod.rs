//! Which database a target uses, from what its containers are told. Says where it was found, never with what password.

mod environment;
mod habits;

use std::fmt;
use std::str::FromStr;

use dbmig_wire::{Environment, Find, Found as File};
use k8s_openapi::api::core::v1::{Container, Pod};

use self::environment::{Sources, Variable, Variables};
use self::habits::{ABOUT, Habit, completed, habits};
use super::tls::text_of;
use super::url::{Engine, Location, Parts, Password, ini, parts};
use crate::cluster::Cluster;
use crate::cluster::seat::Seat;
use crate::failure::{Failure, Result};

/// A database, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is; a file's path is the one that the agent sees.
    pub location: Location,
    /// In words: `DATABASE_URL of secret/app`.
    pub from: String,
}

/// A Secret or ConfigMap, or one of its keys, that says which database: `secret/app:url`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    source: String,
    key: Option<String>,
}

impl FromStr for Reference {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        let (source, key) = text.split_once(':').map_or((text, None), |(source, key)| (source, Some(key)));
        let (kind, name) = source.split_once('/').unwrap_or((source, ""));
        let kind = match kind.to_lowercase().as_str() {
            "secret" | "secrets" => "secret",
            "configmap" | "configmaps" | "cm" => "configmap",
            _ => "",
        };
        if kind.is_empty() || name.is_empty() || name.contains('/') || key == Some("") {
            return Err(Failure::usage("it must be secret/NAME, secret/NAME:KEY, or the same with configmap"));
        }
        Ok(Self { source: format!("{kind}/{name}"), key: key.map(str::to_owned) })
    }
}

impl Reference {
    /// As the `valueFrom` of a container's variable.
    ///
    /// # Errors
    /// `Usage` when it names no key.
    pub fn value_from(&self) -> Result<serde_json::Value> {
        let key = self.key.as_ref().ok_or_else(|| Failure::usage(format!("{self} names no key: write {self}:KEY")))?;
        let (kind, name) = self.source.split_once('/').unwrap_or_default();
        let kind = if kind == "secret" { "secretKeyRef" } else { "configMapKeyRef" };
        Ok(serde_json::json!({kind: {"name": name, "key": key}}))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, ":{key}"))
    }
}

/// What the user named instead of having it found.
#[derive(Clone, PartialEq, Eq)]
pub enum Named {
    /// A URL, or whatever else [`Location::parse`] understands; a libpq service, too.
    Url(String),
    /// An object that has it.
    Reference(Reference),
}

/// The pod whose database is looked for.
pub struct Subject<'a> {
    /// Namespace of all of it.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a Pod,
    /// The container that counts most.
    pub container: &'a str,
}

/// The database that the user named.
///
/// # Errors
/// It is no database, or what it names is not there or may not be read.
pub async fn named(cluster: &Cluster, subject: &Subject<'_>, seat: &Seat, named: &Named) -> Result<Found> {
    let reference = match named {
        Named::Url(text) => {
            let location = looked_up(seat, parts(text)?, &Variables::default()).await?;
            return Ok(Found { location, from: "--database".to_owned() });
        }
        Named::Reference(reference) => reference,
    };
    let mut sources = Sources::new(cluster, subject.namespace);
    let missing = |what: &str| {
        Failure::failed(format!("cannot read {reference} in namespace {}: {what}", subject.namespace))
            .state("nothing was changed")
    };
    let data = sources.data(&reference.source).await?.ok_or_else(|| missing("it is not there, or you may not read it"))?;
    if let Some(key) = &reference.key {
        let value =
            data.get(key).ok_or_else(|| missing("it has no such key").facts(data.keys().map(|key| format!("it has {key}"))))?;
        let location = looked_up(seat, parts(value)?, &Variables::default()).await?;
        return Ok(Found { location, from: reference.to_string() });
    }
    let variable = |value: &String| Variable { value: value.clone(), from: reference.to_string() };
    let known = data.iter().map(|(key, value)| (key.clone(), variable(value))).collect();
    let mut found = located(seat, &Variables { known, hidden: Vec::new() }).await?;
    if found.is_empty() {
        return Err(missing("no key of it names a database"));
    }
    Ok(found.remove(0))
}

/// All databases that a pod is told of, the surest first: what the spec says, read in the Secrets and ConfigMaps that it
/// names; then, for what this user may not read and what the spec does not know, the environment of the running container;
/// and SQLite files on its volumes.
///
/// # Errors
/// The API server or the agent can't be asked. That nothing is found is none.
pub async fn all(cluster: &Cluster, subject: &Subject<'_>, seat: &Seat) -> Result<Vec<Found>> {
    let mut sources = Sources::new(cluster, subject.namespace);
    let (mut found, mut hidden) = (Vec::new(), Vec::new());
    for container in containers(subject) {
        let variables = sources.of(subject.pod, container).await?;
        found.extend(located(seat, &variables).await?);
        hidden.extend(variables.hidden);
    }
    if (found.is_empty() || !hidden.is_empty()) && seat.helper.is_none() {
        found.extend(located(seat, &in_the_pod(seat, subject).await?).await?);
    }
    found.extend(files(seat).await?);
    Ok(each_once(found))
}

/// The database that one variable of the pod's first process names, in a pod that the agent is in.
///
/// # Errors
/// There is no such variable, or what it says is no server.
pub async fn variable(seat: &Seat, name: &str) -> Result<Found> {
    let about = vec!["PG".to_owned(), "HOME".to_owned()];
    let said = seat.agent.ask(Environment { about }, None).await.map_err(|error| error.into_failure("read the environment"))?;
    let known = said.container.into_iter().map(|(name, value)| (name, Variable { value, from: String::new() })).collect();
    let variables = Variables { known, hidden: Vec::new() };
    let value = variables
        .get(name)
        .ok_or_else(|| Failure::refused(format!("the container has no variable {name}")).state("nothing was changed"))?;
    let location = looked_up(seat, parts(&value.value)?, &variables).await?;
    Ok(Found { location, from: name.to_owned() })
}

/// The PostgreSQL server that runs in the container where the agent is, with the login that its image was given.
///
/// # Errors
/// The environment can't be read.
pub async fn own_server(seat: &Seat) -> Result<Found> {
    let about = vec!["POSTGRES".to_owned(), "PG".to_owned()];
    let said = seat.agent.ask(Environment { about }, None).await.map_err(|error| error.into_failure("read the environment"))?;
    let value =
        |names: &[&str]| names.iter().find_map(|name| said.container.get(*name).filter(|value| !value.is_empty()).cloned());
    let mut password = value(&["POSTGRES_PASSWORD", "POSTGRESQL_PASSWORD", "PGPASSWORD"]);
    if password.is_none()
        && let Some(file) = value(&["POSTGRES_PASSWORD_FILE", "POSTGRESQL_PASSWORD_FILE"])
    {
        password = text_of(&seat.agent, &file).await?.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
    }
    let user = value(&["POSTGRES_USER", "POSTGRESQL_USERNAME", "PGUSER"]).unwrap_or_else(|| "postgres".to_owned());
    let parts = Parts {
        engine: Some(Engine::Postgres),
        hosts: vec!["127.0.0.1".to_owned()],
        ports: value(&["PGPORT", "POSTGRESQL_PORT_NUMBER"]).and_then(|port| port.parse().ok()).into_iter().collect(),
        database: value(&["POSTGRES_DB", "POSTGRESQL_DATABASE", "PGDATABASE"]).or_else(|| Some(user.clone())),
        user: Some(user),
        password: password.map(Password::new),
        ..Parts::default()
    };
    Ok(Found { location: parts.finish()?, from: "the server's own container".to_owned() })
}

/// The one database that a target uses.
///
/// # Errors
/// `Refused` when none was found or several were; they are listed.
pub fn the_one(found: Vec<Found>, pod: &str) -> Result<Found> {
    const NAME_IT: &str = "name it: --database URL, or --database-from secret/NAME:KEY";
    let listed: Vec<String> = found.iter().map(|one| format!("{} ({})", one.location, one.from)).collect();
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Failure::refused(format!("no database of pod/{pod} was found"))
            .fact("looked at the variables of its containers, their Secrets and ConfigMaps, and its volumes")
            .state("nothing was changed")
            .next(NAME_IT)),
        (Some(_), Some(_)) => Err(Failure::refused(format!("pod/{pod} has {} databases: say which one", listed.len()))
            .facts(listed)
            .state("nothing was changed")
            .next(NAME_IT)),
    }
}

/// Whether a variable of this name may say something of a database.
#[must_use]
pub fn is_about_a_database(variable: &str) -> bool {
    let name = variable.to_uppercase();
    ABOUT.iter().any(|word| name.contains(word))
}

/// The container that counts first, then the others; a migration often runs in an init container.
fn containers<'a>(subject: &'a Subject<'_>) -> impl Iterator<Item = &'a Container> {
    let spec = subject.pod.spec.as_ref();
    let all = spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let (mut first, others): (Vec<_>, Vec<_>) = all.partition(|container| container.name == subject.container);
    first.extend(others);
    first.into_iter()
}

/// The environment of the running container, in which an entrypoint may have set more than the spec says.
async fn in_the_pod(seat: &Seat, subject: &Subject<'_>) -> Result<Variables> {
    let about = ABOUT.map(str::to_owned).to_vec();
    let said = seat.agent.ask(Environment { about }, None).await.map_err(|error| error.into_failure("read the environment"))?;
    let mut variables = Variables::default();
    let pod = subject.pod.metadata.name.as_deref().unwrap_or_default();
    let own = if seat.in_container { said.container } else { Default::default() };
    for (all, process) in [(own, "the environment"), (said.first_process.unwrap_or_default(), "the first process")] {
        let from = format!("{process} in pod/{pod}");
        variables.known.extend(all.into_iter().map(|(name, value)| (name, Variable { value, from: from.clone() })));
    }
    Ok(variables)
}

/// What the variables say, as far as it is enough to connect.
async fn located(seat: &Seat, variables: &Variables) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for Habit { parts, from } in habits(variables) {
        // What is not enough for a driver is none of the application's databases.
        if let Ok(location) = looked_up(seat, parts, variables).await {
            found.push(Found { location, from });
        }
    }
    Ok(found)
}

/// The whole, with what libpq's service file in the pod says, and a file's path as the agent sees it.
async fn looked_up(seat: &Seat, mut parts: Parts, variables: &Variables) -> Result<Location> {
    if let Some(service) = parts.service.take() {
        let section = section(seat, &service, variables).await?;
        let section = section.ok_or_else(|| {
            Failure::failed(format!("service {service} is not in the pod's service file"))
                .next("name the database by a URL instead: --database URL")
        })?;
        parts = parts.or(section);
    }
    match completed(parts, variables)? {
        Location::File(path) => Ok(Location::File(seat.path_of(&path).unwrap_or(path))),
        server @ Location::Server(_) => Ok(server),
    }
}

async fn section(seat: &Seat, service: &str, variables: &Variables) -> Result<Option<Parts>> {
    let mut places: Vec<String> = variables.get("PGSERVICEFILE").map(|file| file.value.trim().to_owned()).into_iter().collect();
    if places.is_empty() {
        let about = vec!["PGSERVICEFILE".to_owned(), "PGSYSCONFDIR".to_owned(), "HOME".to_owned()];
        let said =
            seat.agent.ask(Environment { about }, None).await.map_err(|error| error.into_failure("read the environment"))?;
        let all = || [said.first_process.as_ref(), Some(&said.container)].into_iter().flatten();
        let value = |name: &str| all().find_map(|variables| variables.get(name).cloned());
        places.extend(value("PGSERVICEFILE"));
        places.extend(value("HOME").map(|home| format!("{home}/.pg_service.conf")));
        places.push(format!("{}/pg_service.conf", value("PGSYSCONFDIR").unwrap_or_else(|| "/etc/postgresql-common".to_owned())));
    }
    for place in places {
        if let Some(text) = text_of(&seat.agent, &place).await?
            && let Some(parts) = ini(&text, service)?
        {
            return Ok(Some(parts));
        }
    }
    Ok(None)
}

async fn files(seat: &Seat) -> Result<Vec<Found>> {
    let roots = seat.folders();
    if roots.is_empty() {
        return Ok(Vec::new());
    }
    let mut files: Vec<File> =
        seat.agent.ask(Find { roots }, None).await.map_err(|error| error.into_failure("look for databases"))?;
    files.sort_by_key(|file| std::cmp::Reverse(file.bytes));
    let from = |path: &str| seat.locate(path).map_or_else(String::new, |(mount, _)| format!("volume {}", mount.volume));
    Ok(files.into_iter().map(|file| Found { from: from(&file.path), location: Location::File(file.path) }).collect())
}

/// The same database by the same login is one, wherever else it is named; a relative path is the file that ends with it.
fn each_once(found: Vec<Found>) -> Vec<Found> {
    let mut once: Vec<Found> = Vec::new();
    let is_same = |one: &Location, other: &Location| match (one, other) {
        (Location::File(one), Location::File(other)) => {
            let tail = |path: &str| path.trim_start_matches("./").to_owned();
            let (one, other) = (tail(one), tail(other));
            one == other || (!one.starts_with('/') && other.ends_with(&format!("/{one}")))
        }
        (one, other) => one.to_string() == other.to_string(),
    };
    for one in found {
        match once.iter_mut().find(|earlier| is_same(&earlier.location, &one.location)) {
            // The file itself tells where it is; the variable tells better why it is the one.
            Some(earlier) if matches!(&earlier.location, Location::File(path) if !path.starts_with('/')) => {
                earlier.location = one.location;
            }
            // Who may not read a Secret does not see the password that it has.
            Some(earlier) if !earlier.location.has_password() && one.location.has_password() => *earlier = one,
            Some(_) => {}
            None => once.push(one),
        }
    }
    once
}

#[cfg(test)]
mod tests;
