//! Helm itself, run on this computer against the cluster and the namespace of the plugin's own connection.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::cluster::{Cluster, ConnectionFlags};
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::shutdown::Stop;

/// For what helm does without asking the cluster for long.
const SHORT: Duration = Duration::from_secs(60);
/// Longer than helm's own limit, so that its words come first.
const GRACE: Duration = Duration::from_secs(30);
/// Lines of what helm said that are told when it fails.
const LINES: usize = 12;

/// A chart, as helm takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chart {
    /// A folder, a packed chart, or a chart in a repository.
    pub place: String,
    /// Version of a chart in a repository.
    pub version: Option<String>,
}

impl Chart {
    /// It lies on this computer.
    #[must_use]
    pub fn is_local(&self) -> bool {
        Path::new(&self.place).exists()
    }

    fn words(&self) -> Vec<&str> {
        let version = self.version.as_deref().into_iter().flat_map(|version| ["--version", version]);
        [self.place.as_str()].into_iter().chain(version).collect()
    }
}

/// Helm, and how it reaches the cluster.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    /// Its version: `v3.14.0`.
    pub version: String,
    variables: Vec<(&'static str, String)>,
    namespace: String,
}

impl Program {
    /// Finds helm and asks for its version.
    ///
    /// # Errors
    /// `Refused`: it is not there, is no Helm 3 or later, or can't be told how to connect.
    pub async fn find(path: &Path, cluster: &Cluster, namespace: &str) -> Result<Self> {
        let variables = variables(&cluster.flags, cluster.context.as_deref())?;
        let mut found = Self { path: path.to_owned(), version: String::new(), variables, namespace: namespace.to_owned() };
        let said = found.say(&["version", "--template", "{{.Version}}"], SHORT, &Stop::default()).await;
        found.version = said.map_err(|failure| failure.exit(Exit::Refused).unchanged())?.trim().to_owned();
        let major = found.version.trim_start_matches('v').split('.').next().and_then(|text| text.parse::<u32>().ok());
        if major.is_none_or(|major| major < 3) {
            return Err(Failure::refused(format!("{} is no Helm 3 or later", path.display()))
                .fact(format!("it says that it is version {:?}", found.version))
                .state("nothing was changed")
                .next("name another one: --helm PATH"));
        }
        Ok(found)
    }

    /// The objects that a chart would consist of, without asking the cluster.
    ///
    /// # Errors
    /// Helm can't make anything of the chart or the values.
    pub async fn template(&self, release: &str, chart: &Chart, values: &[PathBuf]) -> Result<String> {
        let words = with_values([&["template", release][..], &chart.words()].concat(), values);
        self.say(&words, SHORT, &Stop::default()).await
    }

    /// Packs a folder with a chart, and gives what is packed.
    ///
    /// # Errors
    /// It is no chart, or lacks charts that it depends on.
    pub async fn package(&self, chart: &Path) -> Result<Vec<u8>> {
        let unpackable = |why: String| Failure::failed(format!("cannot pack the chart {}", chart.display())).fact(why);
        if chart.is_file() {
            return std::fs::read(chart).map_err(|error| unpackable(error.to_string()));
        }
        let folder = tempfile::tempdir().map_err(|error| unpackable(error.to_string()))?;
        let words = [OsStr::new("package"), chart.as_os_str(), OsStr::new("--destination"), folder.path().as_os_str()];
        self.say(&words, SHORT, &Stop::default()).await?;
        let packed = std::fs::read_dir(folder.path()).ok().and_then(|mut files| files.next()?.ok());
        let packed = packed.ok_or_else(|| unpackable("helm has packed nothing".to_owned()))?;
        std::fs::read(packed.path()).map_err(|error| unpackable(error.to_string()))
    }

    /// Installs a release and waits until it is ready.
    ///
    /// # Errors
    /// Helm's words; `Interrupted` when the user asked to stop, with helm ended too.
    pub async fn install(&self, release: &str, chart: &Chart, values: &[PathBuf], limit: Duration, stop: &Stop) -> Result<()> {
        let seconds = format!("{}s", limit.as_secs());
        let words = [&["install", release][..], &chart.words(), &["--wait", "--timeout", &seconds]].concat();
        self.say(&with_values(words, values), limit + GRACE, stop).await.map(drop)
    }

    /// Upgrades a release, with the values that it has unless these say otherwise, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Program::install`].
    pub async fn upgrade(&self, release: &str, chart: &Chart, values: &[PathBuf], limit: Duration, stop: &Stop) -> Result<()> {
        let seconds = format!("{}s", limit.as_secs());
        let words = [&["upgrade", release][..], &chart.words(), &["--reuse-values", "--wait", "--timeout", &seconds]].concat();
        self.say(&with_values(words, values), limit + GRACE, stop).await.map(drop)
    }

    /// Brings back an earlier revision of a release, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Program::install`].
    pub async fn roll_back(&self, release: &str, revision: u64, limit: Duration) -> Result<()> {
        let (revision, seconds) = (revision.to_string(), format!("{}s", limit.as_secs()));
        let words = ["rollback", release, &revision, "--wait", "--timeout", &seconds];
        self.say(&words, limit + GRACE, &Stop::default()).await.map(drop)
    }

    /// Removes a release.
    ///
    /// # Errors
    /// As [`Program::install`].
    pub async fn uninstall(&self, release: &str, limit: Duration) -> Result<()> {
        let seconds = format!("{}s", limit.as_secs());
        self.say(&["uninstall", release, "--timeout", &seconds], limit + GRACE, &Stop::default()).await.map(drop)
    }

    /// Runs it to its end; what it wrote to stdout. A stop ends helm as well: what it had begun, the release's status tells.
    async fn say(&self, words: &[impl AsRef<OsStr>], limit: Duration, stop: &Stop) -> Result<String> {
        let name = words.first().map(|word| word.as_ref().to_string_lossy().into_owned()).unwrap_or_default();
        let doing = format!("helm {name}");
        let mut command = Command::new(&self.path);
        command
            .args(words)
            .arg("--namespace")
            .arg(&self.namespace)
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0); // Ctrl-C is ours to pass on.
        let child = command.spawn().map_err(|error| {
            Failure::refused(format!("cannot run {}: {error}", self.path.display()))
                .fact("helm installs and upgrades releases")
                .next("install Helm 3 or later, or name it: --helm PATH")
        })?;
        let group = Group::of(&child);
        let ended = tokio::select! {
            ended = timeout(limit, child.wait_with_output()) => ended,
            () = stop.wait() => return Err(Failure::new(Exit::Interrupted, format!("stopped while {doing} was at work"))),
        };
        let ended = ended.map_err(|_| {
            Failure::new(Exit::TimedOut, format!("{doing} has not ended within {} s, and was ended", limit.as_secs()))
        })?;
        let ended = ended.map_err(|error| Failure::failed(format!("{doing} can't be followed: {error}")))?;
        group.has_ended();
        if ended.status.success() {
            return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&ended.stderr);
        let lines: Vec<String> = said.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
        let code = ended.status.code().map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
        Err(Failure::failed(format!("{doing} ended with {code}")).facts(lines.into_iter().rev().take(LINES).rev()))
    }
}

/// What helm has started goes with it when it is not waited for any more: what is called helm may be a script around it.
struct Group(Option<u32>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id())
    }

    /// There is nothing left to end.
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(group) = self.0.and_then(|id| rustix::process::Pid::from_raw(id.try_into().ok()?)) {
            // Gone already is as good.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

fn with_values<'a>(words: Vec<&'a str>, values: &'a [PathBuf]) -> Vec<&'a OsStr> {
    let files = values.iter().flat_map(|file| [OsStr::new("--values"), file.as_os_str()]);
    words.into_iter().map(OsStr::new).chain(files).collect()
}

/// The connection as helm takes it from its environment: a token in its arguments could be seen by everybody.
fn variables(flags: &ConnectionFlags, context: Option<&str>) -> Result<Vec<(&'static str, String)>> {
    let unknown: Vec<&str> = [
        ("--cluster", flags.cluster.is_some()),
        ("--user", flags.user.is_some()),
        ("--client-certificate", flags.client_certificate.is_some()),
        ("--client-key", flags.client_key.is_some()),
        ("--as-uid", flags.impersonate_uid.is_some()),
        ("--as-user-extra", !flags.impersonate_extra.is_empty()),
    ]
    .into_iter()
    .filter_map(|(flag, is_set)| is_set.then_some(flag))
    .collect();
    if !unknown.is_empty() {
        return Err(Failure::refused(format!("helm can't be told {}", unknown.join(", ")))
            .state("nothing was changed")
            .next("make a context of it in a kubeconfig, and name that: --context NAME"));
    }
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let known = [
        ("KUBECONFIG", path(&flags.kubeconfig)),
        ("HELM_KUBECONTEXT", context.map(str::to_owned)),
        ("HELM_KUBEAPISERVER", flags.server.clone()),
        ("HELM_KUBETOKEN", flags.token.clone()),
        ("HELM_KUBECAFILE", path(&flags.certificate_authority)),
        ("HELM_KUBETLS_SERVER_NAME", flags.tls_server_name.clone()),
        ("HELM_KUBEINSECURE_SKIP_TLS_VERIFY", flags.insecure_skip_tls_verify.map(|skip| skip.to_string())),
        ("HELM_KUBEASUSER", flags.impersonate.clone()),
        ("HELM_KUBEASGROUPS", (!flags.impersonate_groups.is_empty()).then(|| flags.impersonate_groups.join(","))),
    ];
    Ok(known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helm_is_told_the_connection_by_its_environment_or_not_at_all() {
        let flags = ConnectionFlags {
            token: Some("t".to_owned()),
            impersonate_groups: vec!["a".to_owned(), "b".to_owned()],
            ..ConnectionFlags::default()
        };
        let told = variables(&flags, Some("prod")).unwrap();
        let of = |name: &str| told.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        assert_eq!(
            (of("HELM_KUBECONTEXT"), of("HELM_KUBETOKEN"), of("HELM_KUBEASGROUPS")),
            (Some("prod"), Some("t"), Some("a,b"))
        );
        assert_eq!(of("KUBECONFIG"), None);
        let failure = variables(&ConnectionFlags { user: Some("u".to_owned()), ..flags }, None).unwrap_err();
        assert_eq!(failure.message, "helm can't be told --user");
    }
}
