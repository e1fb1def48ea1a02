//! pgcopydb in a running container: which one it is, where its work stands, and how it is told where to end.
//!
//! Facts: its documentation and sources, 0.10 to 0.18. Its `--json` writes startpos where endpos belongs, its labels have
//! other widths in each version, and its exit code tells nothing: so its plain text is read, word by word.

use super::Lsn;
use crate::cluster::Cluster;
use crate::cluster::exec::{Command, Finished};
use crate::cluster::seat::Seat;
use crate::database::Limits;
use crate::database::find::Found;
use crate::database::postgres::Postgres;
use crate::database::url::{Engine, Location};
use crate::failure::{Failure, Result};

/// The variable with the source's URI, as pgcopydb knows it.
pub const SOURCE: &str = "PGCOPYDB_SOURCE_PGURI";
/// The variable with the target's URI.
pub const TARGET: &str = "PGCOPYDB_TARGET_PGURI";
/// Name of its slot on the source and of its origin on the target, unless it is told others.
pub const SLOT: &str = "pgcopydb";
/// Ends the process that receives changes, which calls itself `pgcopydb: follow prefetch`, by what every shell has built in.
const RECEIVER_ENDS: &str = "for one in /proc/[0-9]*; do title=; IFS= read -r title 2>/dev/null <$one/cmdline; \
     case $title in 'pgcopydb: follow pref'*) kill -TERM ${one#/proc/};; esac; done";
/// Bytes of its output that are read.
const MOST: usize = 64 * 1024;

/// A pgcopydb that runs in a container.
#[derive(Debug, Clone)]
pub struct Copier {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
    /// Its working directory, where it was given one.
    pub dir: Option<String>,
}

/// Where following begins, ends, and stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sentinel {
    /// Where it began.
    pub start: Option<Lsn>,
    /// Where it is to end.
    pub end: Option<Lsn>,
    /// Everything is copied: changes are being applied.
    pub applies: bool,
    /// Received up to here.
    pub written: Option<Lsn>,
    /// Applied up to here, by its own account.
    pub replayed: Option<Lsn>,
}

impl Sentinel {
    /// Reads what `stream sentinel get` prints: a name and a value in each line.
    ///
    /// # Errors
    /// It is something else.
    fn read(text: &str) -> Result<Self> {
        let value = |name: &str| {
            let mut values = text.lines().filter_map(|line| {
                let mut words = line.split_whitespace();
                (words.next() == Some(name)).then(|| words.next().unwrap_or_default().to_owned())
            });
            values.next().ok_or_else(|| Failure::failed(format!("pgcopydb does not tell its {name}")))
        };
        let position = |name: &str| value(name)?.parse::<Lsn>().map(Lsn::known);
        Ok(Self {
            start: position("startpos")?,
            end: position("endpos")?,
            applies: value("apply")? == "enabled",
            written: position("write_lsn")?,
            replayed: position("replay_lsn")?,
        })
    }
}

/// A version of pgcopydb: 0.17.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Version {
    /// The one that all of this was tried with.
    const TRIED: Self = Self(0, 17);

    /// From what `pgcopydb --version` prints: `pgcopydb version 0.17` or `0.17-1.pgdg120+1`.
    fn read(text: &str) -> Option<Self> {
        let word = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        let mut numbers = word.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
        Some(Self(numbers.next()??, numbers.next()??))
    }

    /// What is known to go wrong with following by this version; for those that work what there is to know, if anything.
    ///
    /// # Errors
    /// `Refused`, with the reason.
    pub fn check(self) -> Result<Option<String>> {
        let why = match (self.0, self.1) {
            (0, ..=14) => "it keeps its position in the source database and not in its working directory",
            (0, 15) => "once resumed, it may follow for ever and not see where it is to end (issue 662 of pgcopydb)",
            (0, 16) => {
                let caveat = "pgcopydb 0.16 was not tried with this, only 0.17: compare every row (--verify full), and whatever goes wrong \
                              before the switch is taken back";
                return Ok(Some(caveat.to_owned()));
            }
            (0, 17) => return Ok(None),
            _ => "its following is reported to lose changes without a word (issues 1033, 1044, 1048, 1049 and 1050 of pgcopydb)",
        };
        Err(Failure::refused(format!("pgcopydb {self} can't be finished safely"))
            .fact(why)
            .fact("0.17 can, and 0.16")
            .state("nothing was changed"))
    }
}

impl Copier {
    /// Which version it is.
    ///
    /// # Errors
    /// It is not there, or can't be run.
    pub async fn version(&self, cluster: &Cluster) -> Result<Version> {
        let said = self.run(cluster, &["--version"]).await?;
        let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        Version::read(&text).ok_or_else(|| Failure::failed("pgcopydb does not tell its version").fact(text.trim().to_owned()))
    }

    /// Where it stands.
    ///
    /// # Errors
    /// Its working directory is not there, or busy: that passes.
    pub async fn sentinel(&self, cluster: &Cluster) -> Result<Sentinel> {
        let said = self.run(cluster, &["stream", "sentinel", "get"]).await?;
        Sentinel::read(&String::from_utf8_lossy(&said.stdout))
    }

    /// Tells it where to end; `None`: to go on for ever. Reads it back: a busy working directory loses such a word.
    ///
    /// # Errors
    /// As [`Copier::sentinel`].
    pub async fn set_end(&self, cluster: &Cluster, end: Option<Lsn>) -> Result<()> {
        let text = end.unwrap_or_default().to_string();
        self.run(cluster, &["stream", "sentinel", "set", "endpos", &text]).await?;
        let now = self.sentinel(cluster).await?.end;
        if now == end {
            return Ok(());
        }
        let now = now.map_or("none".to_owned(), |now| now.to_string());
        Err(Failure::failed(format!("pgcopydb was told to end at {text}, but its end is {now}")).passing())
    }

    /// Has it see now that it is at its end, which it looks for every ten seconds only. Whoever calls this has seen everything arrive:
    /// the process that receives ends at the signal, and what it has received is applied (0.17, in many runs; a signal to all of its
    /// processes makes it fail).
    ///
    /// # Errors
    /// Other than the version that this was tried with is left alone; the container may have ended, or have no shell.
    pub async fn hurry(&self, cluster: &Cluster) -> Result<()> {
        if self.version(cluster).await? != Version::TRIED {
            return Ok(());
        }
        self.exec(cluster, ["sh", "-c", RECEIVER_ENDS].map(str::to_owned).to_vec()).await.map(drop)
    }

    async fn exec(&self, cluster: &Cluster, argv: Vec<String>) -> Result<Finished> {
        let Self { namespace, pod, container, .. } = self.clone();
        cluster.run(&Command { namespace, pod, container, argv, stdin: false }, MOST).await
    }

    async fn run(&self, cluster: &Cluster, words: &[&str]) -> Result<Finished> {
        let dir = self.dir.iter().filter(|_| words[0] == "stream").flat_map(|dir| ["--dir", dir.as_str()]);
        let argv = std::iter::once("pgcopydb").chain(words.iter().copied()).chain(dir).map(str::to_owned).collect();
        let said = self.exec(cluster, argv).await?;
        if said.outcome.success() {
            return Ok(said);
        }
        let failure = Failure::failed(format!("pgcopydb {} failed in pod/{}", words.join(" "), self.pod)).facts(said.facts());
        // Its own process and this one share a SQLite file, and neither waits for the other.
        let busy = String::from_utf8_lossy(&said.stderr).contains("database is locked");
        Err(if busy { failure.passing() } else { failure })
    }
}

/// Logs in to one of its servers from where the agent is.
///
/// # Errors
/// What was found is no PostgreSQL server, or can't be reached.
pub async fn connect(seat: &Seat, found: &Found, limits: Limits) -> Result<Postgres> {
    match &found.location {
        Location::Server(server) if server.engine == Engine::Postgres => {
            Postgres::connect(&seat.agent, server, limits).await.map_err(Failure::from)
        }
        other => Err(Failure::refused(format!("{} is no PostgreSQL server: {other}", found.from)).state("nothing was changed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentinel_is_read_word_by_word() {
        let text = "startpos   1/8D173AF8\nendpos     0/0\napply      enabled\nwrite_lsn  1/E00C6A0\nflush_lsn  1/E00C6A0\nreplay_lsn 0/0\n";
        let sentinel = Sentinel::read(text).unwrap();
        assert_eq!(sentinel.start.unwrap().to_string(), "1/8D173AF8");
        assert_eq!((sentinel.end, sentinel.applies, sentinel.replayed), (None, true, None));
        let wide = text.replace("endpos     0/0", "endpos          1/E00C6A0").replace("enabled", "disabled");
        let sentinel = Sentinel::read(&wide).unwrap();
        assert_eq!((sentinel.end, sentinel.applies), (sentinel.written, false));
        assert!(Sentinel::read("startpos 0/0\n").is_err());
    }

    #[test]
    fn a_version_is_known_and_judged() {
        for (text, version, fine) in [
            ("pgcopydb version 0.10-1\n", Version(0, 10), false),
            ("pgcopydb version 0.15", Version(0, 15), false),
            ("pgcopydb version 0.16.1", Version(0, 16), true),
            ("10:02:03.123 4 INFO   Running pgcopydb version 0.17-1.pgdg120+1 from \"/usr/bin/pgcopydb\"", Version(0, 17), true),
            ("pgcopydb version 0.18", Version(0, 18), false),
        ] {
            let read = Version::read(&text[text.find("version").unwrap()..]).unwrap();
            assert_eq!((read, read.check().is_ok()), (version, fine), "{text}");
        }
        assert_eq!(Version::read("no number here"), None);
    }
}
