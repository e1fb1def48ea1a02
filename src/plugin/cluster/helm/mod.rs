//! What Helm keeps of its releases in the cluster: a Secret for each revision, read without helm; and helm itself, run on this computer.

mod manifest;
mod program;

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::{Resource as _, ResourceExt as _};
use serde::Deserialize;
use serde_json::Value;

use super::error::Context as _;
use super::job::COMPONENT;
use super::{Cluster, kind};
use crate::failure::{Failure, Result};

pub use self::manifest::Manifest;
pub use self::program::{Chart, Program};

/// Label with the release that an object belongs to.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// Longest text of a release that is read, in bytes: what fits into a Secret may be packed tightly.
const MOST: u64 = 64 << 20;
/// Values that a line shows.
const SHOWN: usize = 12;
/// Parts of names of values that are nobody's business.
const PRIVATE: [&str; 8] = ["password", "passwd", "secret", "token", "key", "credential", "url", "dsn"];

/// The newest revision of a release.
#[derive(Debug, Clone, Deserialize)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Its revision.
    #[serde(rename = "version")]
    pub revision: u64,
    info: Info,
    #[serde(default)]
    chart: Shipped,
    /// What the user has set.
    #[serde(default)]
    config: Value,
    #[serde(default)]
    manifest: String,
    #[serde(default)]
    hooks: Vec<Hook>,
}

#[derive(Debug, Clone, Deserialize)]
struct Info {
    status: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
struct Shipped {
    /// Its defaults.
    #[serde(default)]
    values: Value,
}

/// What helm creates around an upgrade.
#[derive(Debug, Clone, Deserialize)]
struct Hook {
    name: String,
    kind: String,
    manifest: String,
    #[serde(default)]
    events: Vec<String>,
}

/// The newest revision of a release of the cluster's namespace.
///
/// # Errors
/// `Usage` where there is no such release; its Secret can't be read, or has another form.
pub async fn newest(cluster: &Cluster, name: &str) -> Result<Release> {
    newest_of(cluster, name).await?.ok_or_else(|| {
        Failure::usage(format!("there is no Helm release {name} in namespace {}", cluster.namespace))
            .fact("looked for its Secrets, where helm keeps releases unless HELM_DRIVER says otherwise")
            .next(format!("helm list -n {}", cluster.namespace))
    })
}

/// The same; `None` where there is no such release.
///
/// # Errors
/// Its Secret can't be read, or has another form.
pub async fn newest_of(cluster: &Cluster, name: &str) -> Result<Option<Release>> {
    match revisions(cluster, Some(name)).await?.into_values().next() {
        Some(newest) => read(cluster, &newest).await.map(Some),
        None => Ok(None),
    }
}

/// The newest revision of every release of the cluster's namespace.
///
/// # Errors
/// As [`newest`].
pub async fn all(cluster: &Cluster) -> Result<Vec<Release>> {
    let mut releases = Vec::new();
    for newest in revisions(cluster, None).await?.values() {
        releases.push(read(cluster, newest).await?);
    }
    Ok(releases)
}

/// The Secret of the newest revision of each release, by the release's name.
async fn revisions(cluster: &Cluster, name: Option<&str>) -> Result<BTreeMap<String, PartialObjectMeta<Secret>>> {
    let selector = name.map_or("owner=helm".to_owned(), |name| format!("owner=helm,name={name}"));
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let list = api.list_metadata(&ListParams::default().labels(&selector)).await.doing("list the Secrets of Helm's releases")?;
    let revision = |secret: &PartialObjectMeta<Secret>| secret.labels().get("version").and_then(|text| text.parse::<u64>().ok());
    let mut newest: BTreeMap<String, PartialObjectMeta<Secret>> = BTreeMap::new();
    for secret in list.items {
        let Some(name) = secret.labels().get("name").cloned() else { continue };
        if newest.get(&name).is_none_or(|known| revision(known) < revision(&secret)) {
            newest.insert(name, secret);
        }
    }
    Ok(newest)
}

async fn read(cluster: &Cluster, secret: &PartialObjectMeta<Secret>) -> Result<Release> {
    let name = secret.meta().name.clone().unwrap_or_default();
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let secret = api.get(&name).await.doing(format!("read secret/{name}"))?;
    let data = secret.data.unwrap_or_default();
    let packed = data.get("release").map(|bytes| bytes.0.as_slice()).unwrap_or_default();
    decoded(packed).map_err(|why| Failure::failed(format!("cannot understand secret/{name}, a Helm release")).fact(why))
}

/// A release as helm packs it: JSON, gzip, base64.
fn decoded(packed: &[u8]) -> std::result::Result<Release, String> {
    let zipped = STANDARD.decode(packed).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    // Releases of helm's first days were not packed.
    match zipped.starts_with(&[0x1f, 0x8b]) {
        true => GzDecoder::new(zipped.as_slice()).take(MOST).read_to_end(&mut text).map_err(|error| error.to_string())?,
        false => zipped.as_slice().take(MOST).read_to_end(&mut text).map_err(|error| error.to_string())?,
    };
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

impl Release {
    /// As helm says it: `deployed`, `failed`, `pending-install`.
    #[must_use]
    pub fn status(&self) -> &str {
        &self.info.status
    }

    /// The objects that it consists of.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        Manifest::of(&self.manifest)
    }

    /// A value that the user has set, else the chart's: `global.managedRelease`.
    #[must_use]
    pub fn value(&self, path: &str) -> Option<Value> {
        let mut merged = self.chart.values.clone();
        merge(&mut merged, &self.config);
        path.split('.').try_fold(&merged, |value, key| value.get(key)).cloned()
    }

    /// `deployed (revision 3)`.
    #[must_use]
    pub fn standing(&self) -> String {
        format!("{} (revision {})", self.info.status, self.revision)
    }

    /// The hook Job of this name; else the only one, or the only one that looks as if it migrates.
    ///
    /// # Errors
    /// `Usage` where there is none, or more than one.
    pub fn hook(&self, job: Option<&str>) -> Result<Job> {
        let all: Vec<&Hook> = self.hooks.iter().filter(|hook| hook.kind == "Job" && hook.changes()).collect();
        let fitting: Vec<&Hook> = match job {
            Some(job) => all.iter().copied().filter(|hook| hook.name == job).collect(),
            None if all.len() == 1 => all.clone(),
            None => all.iter().copied().filter(|hook| hook.migrates()).collect(),
        };
        let names = all.iter().map(|hook| format!("hook Job {} ({})", hook.name, hook.events.join(", ")));
        let of = format!("Helm release {}, {},", self.name, self.standing());
        match fitting.as_slice() {
            [hook] => hook.job().map_err(|why| Failure::failed(format!("cannot understand hook Job {}", hook.name)).fact(why)),
            [] if all.is_empty() => {
                Err(Failure::usage(format!("{of} has no hook that is a Job")).facts(self.about_migrations()).next(
                    "run the CronJob, the file of a Job, or a command in a pod like the application's: kubectl dbmig run --help",
                ))
            }
            [] => Err(Failure::usage(format!("{of} has no hook Job {}", job.unwrap_or("that says it migrates")))
                .facts(names)
                .next(format!("name it: helm-hook/{}:JOB", self.name))),
            _ => Err(Failure::usage(format!("{of} has more than one hook Job that migrates"))
                .facts(names)
                .next(format!("name it: helm-hook/{}:JOB", self.name))),
        }
    }

    /// What serves in it, `deployment/shop`: the first of its manifest.
    #[must_use]
    pub fn workload(&self) -> Option<String> {
        let objects: Vec<Value> = serde_saphyr::from_multiple(&self.manifest).ok()?;
        objects.iter().find_map(|object| {
            let kind = kind::Kind::of_camel(object["kind"].as_str()?)?;
            let serves = matches!(kind, kind::Kind::Deployment | kind::Kind::StatefulSet);
            let name = object.pointer("/metadata/name")?.as_str()?;
            serves.then(|| format!("{}/{name}", kind.singular()))
        })
    }

    /// The values that decide about migrations, `migrations.enabled=true`: the user's, else the chart's.
    #[must_use]
    pub fn about_migrations(&self) -> Vec<String> {
        let mut merged = self.chart.values.clone();
        merge(&mut merged, &self.config);
        let mut found = Vec::new();
        leaves(&merged, "", &mut found);
        let about = found.into_iter().filter(|(path, value)| {
            let path = path.to_lowercase();
            path.contains("migrat") && !PRIVATE.iter().any(|word| path.contains(word)) && !value.contains("://")
        });
        about.take(SHOWN).map(|(path, value)| format!("{path}={value}")).collect()
    }
}

impl Hook {
    /// It belongs to an upgrade and the like, not to a test or an end.
    fn changes(&self) -> bool {
        self.events.iter().any(|event| ["install", "upgrade", "rollback"].iter().any(|word| event.ends_with(word)))
    }

    fn migrates(&self) -> bool {
        let labelled = || self.job().is_ok_and(|job| job.labels().get(COMPONENT.0).is_some_and(|value| value == COMPONENT.1));
        self.name.contains("migrat") || labelled()
    }

    fn job(&self) -> std::result::Result<Job, String> {
        let value: Value = serde_saphyr::from_str(&self.manifest).map_err(|error| error.to_string())?;
        serde_json::from_value(value).map_err(|error| error.to_string())
    }
}

/// What is said there counts more than what is said here.
fn merge(here: &mut Value, there: &Value) {
    match (here, there) {
        (Value::Object(here), Value::Object(there)) => {
            for (key, value) in there {
                merge(here.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (here, there) => here.clone_from(there),
    }
}

/// Every value that is no object and no list, with its path.
fn leaves(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| leaves(value, &below(key), found)),
        Value::Array(_) | Value::Null => {}
        Value::String(text) => found.push((path.to_owned(), text.clone())),
        Value::Bool(_) | Value::Number(_) => found.push((path.to_owned(), value.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;

    use super::*;

    fn job(name: &str, labels: &str) -> String {
        format!(
            "# Source: x\napiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}, labels: {{{labels}}}}}\nspec: {{template: {{spec: {{containers: [{{name: a}}]}}}}}}\n"
        )
    }

    fn release(hooks: &[(&str, &str, &str)]) -> Release {
        let hooks: Vec<Value> = hooks
            .iter()
            .map(|(name, event, labels)| json!({"name": name, "kind": "Job", "events": [event], "manifest": job(name, labels)}))
            .collect();
        let json = json!({"name": "shop", "version": 3, "info": {"status": "failed"}, "hooks": hooks,
            "manifest": "---\nkind: Secret\nmetadata: {name: s}\n---\nkind: Deployment\nmetadata: {name: web}\n",
            "chart": {"values": {"image": "x", "migrations": {"enabled": true, "backoffLimit": 3, "dbPassword": "p", "env": {"a": "b://c"}}}},
            "config": {"migrations": {"backoffLimit": 1}}});
        let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
        zipped.write_all(json.to_string().as_bytes()).unwrap();
        decoded(STANDARD.encode(zipped.finish().unwrap()).as_bytes()).unwrap()
    }

    #[test]
    fn a_release_says_its_standing_its_workload_and_its_values_without_secrets() {
        let release = release(&[]);
        assert_eq!((release.name.as_str(), release.standing().as_str()), ("shop", "failed (revision 3)"));
        assert_eq!(release.workload().as_deref(), Some("deployment/web"));
        assert_eq!(release.about_migrations(), ["migrations.backoffLimit=1", "migrations.enabled=true"]);
        assert!(decoded(b"!").is_err() && decoded(b"e30=").is_err());
    }

    #[test]
    fn the_hook_that_migrates_is_found_or_has_to_be_named() {
        let named = |release: &Release, job| release.hook(job).map(|job| job.name_any()).map_err(|failure| failure.exit);
        let usage = Err(crate::exit::Exit::Usage);
        let label = "app.kubernetes.io/component: migration";
        assert_eq!(named(&release(&[("up", "pre-upgrade", ""), ("t", "test", "")]), None), Ok("up".to_owned()));
        let two = release(&[("seed", "post-install", ""), ("up", "pre-upgrade", label)]);
        assert_eq!(named(&two, None), Ok("up".to_owned()));
        assert_eq!(named(&two, Some("seed")), Ok("seed".to_owned()));
        assert_eq!(named(&two, Some("none")), usage);
        assert_eq!(named(&release(&[("a-migrate", "pre-upgrade", ""), ("up", "pre-install", label)]), None), usage);
        assert_eq!(named(&release(&[("a", "pre-upgrade", ""), ("b", "pre-upgrade", "")]), None), usage);
        assert_eq!(release(&[]).hook(None).unwrap_err().facts, ["migrations.backoffLimit=1", "migrations.enabled=true"]);
    }
}
