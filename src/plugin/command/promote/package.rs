//! The chart and the values of a release to come, kept in a Secret of the operation: `resume` installs just these, on any machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::error::{Context as _, found, is_conflict};
use crate::cluster::helm::{Chart, Program};
use crate::cluster::job::own_labels;
use crate::failure::{Failure, Result};
use crate::plan::{MOST_BYTES, Run};

/// Key of the packed chart.
const CHART: &str = "chart.tgz";
/// Beginning of the keys of the values, which are numbered in the order in which they count.
const VALUES: &str = "values-";

/// What helm needs.
#[derive(Clone)]
pub(in crate::command) struct Package {
    /// The packed chart; `None` for one in a repository.
    pub(in crate::command) chart: Option<Vec<u8>>,
    /// Files with values, the later ones count more.
    pub(in crate::command) values: Vec<Vec<u8>>,
}

/// The same in files, which go when this goes.
pub(in crate::command) struct Files {
    pub(in crate::command) chart: Chart,
    pub(in crate::command) values: Vec<PathBuf>,
    _folder: TempDir,
}

impl Package {
    /// What was named: a chart on this computer is packed, and files are read.
    ///
    /// # Errors
    /// It is no chart, or a file can't be read.
    pub(in crate::command) async fn of(helm: &Program, chart: &Chart, files: &[PathBuf]) -> Result<Self> {
        let packed = match chart.is_local() {
            true => Some(helm.package(Path::new(&chart.place)).await.map_err(Failure::unchanged)?),
            false => None,
        };
        let read = |file: &PathBuf| {
            std::fs::read(file).map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))
        };
        Ok(Self { chart: packed, values: files.iter().map(read).collect::<Result<_>>()? })
    }

    /// With last values, which count most.
    pub(in crate::command) fn with(&self, values: &Value) -> Self {
        let mut all = self.clone();
        all.values.push(values.to_string().into_bytes());
        all
    }

    /// Refuses what no Secret can hold.
    ///
    /// # Errors
    /// `Refused`, with what to do.
    pub(in crate::command) fn check(&self) -> Result<()> {
        let bytes = self.chart.iter().chain(&self.values).map(Vec::len).sum::<usize>();
        if bytes <= MOST_BYTES {
            return Ok(());
        }
        Err(Failure::refused(format!("the chart and its values are {bytes} bytes, more than a Secret holds"))
            .fact("they are kept in one, so that the operation can go on from another machine")
            .state("nothing was changed")
            .next("put the chart into a repository, and name it there: --chart REPOSITORY/NAME --chart-version VERSION"))
    }

    /// Writes it into files that only this user can read.
    ///
    /// # Errors
    /// They can't be written.
    pub(in crate::command) fn files(&self, named: Chart) -> Result<Files> {
        let unwritten = |error: std::io::Error| Failure::failed(format!("cannot write the values for helm: {error}")).unchanged();
        // Its mode is 0700.
        let folder = tempfile::tempdir().map_err(unwritten)?;
        let put = |name: String, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).map(|()| path).map_err(unwritten)
        };
        let chart = match &self.chart {
            Some(bytes) => Chart { place: put(CHART.to_owned(), bytes)?.display().to_string(), version: None },
            None => named,
        };
        let values = self.values.iter().enumerate().map(|(index, bytes)| put(format!("{VALUES}{index}.yaml"), bytes));
        Ok(Files { chart, values: values.collect::<Result<_>>()?, _folder: folder })
    }

    /// Keeps it in the operation's Secret. Fine if it is there.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(in crate::command) async fn keep(&self, run: &Run) -> Result<()> {
        let mut data: BTreeMap<String, ByteString> = BTreeMap::new();
        data.extend(self.chart.iter().map(|bytes| (CHART.to_owned(), ByteString(bytes.clone()))));
        // Three digits, so that the order of names is that of numbers.
        let values = self.values.iter().enumerate();
        data.extend(values.map(|(index, bytes)| (format!("{VALUES}{index:03}"), ByteString(bytes.clone()))));
        let mut secret = Secret { data: Some(data), ..Secret::default() };
        secret.metadata.name = Some(name(run));
        secret.metadata.labels = Some(own_labels(&run.id));
        match api(run).create(&PostParams::default(), &secret).await {
            Err(error) if is_conflict(&error) => Ok(()),
            made => made.map(drop).doing(format!("create secret/{}", name(run))),
        }
    }

    /// What was kept; `None` if nothing was.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(in crate::command) async fn kept(run: &Run) -> Result<Option<Self>> {
        let secret = found(api(run).get(&name(run)).await).doing(format!("read secret/{}", name(run)))?;
        let Some(data) = secret.map(|secret| secret.data.unwrap_or_default()) else { return Ok(None) };
        let values = data.iter().filter(|(key, _)| key.starts_with(VALUES)).map(|(_, bytes)| bytes.0.clone());
        Ok(Some(Self { chart: data.get(CHART).map(|bytes| bytes.0.clone()), values: values.collect() }))
    }

    /// Removes what was kept. Fine if nothing was.
    ///
    /// # Errors
    /// When the API server refuses.
    pub(in crate::command) async fn forget(run: &Run) -> Result<()> {
        found(api(run).delete(&name(run), &DeleteParams::default()).await).doing(format!("delete secret/{}", name(run))).map(drop)
    }
}

fn name(run: &Run) -> String {
    format!("dbmig-{}-release", run.id)
}

fn api(run: &Run) -> Api<Secret> {
    Api::namespaced(run.cluster.client.clone(), &run.namespace)
}
