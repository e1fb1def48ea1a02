//! Puts an executable file into a running container, with whatever the container has, and proves it by running it.
//!
//! Nothing that a transfer says is believed: an exit code of 0 is no proof, a stream that breaks is no disproof. Only
//! the file's own answer counts. Ways that end by counting come first on servers that cannot close stdin (v4).

use std::fmt;
use std::time::Duration;

use tokio_tar::{Builder, EntryType, Header};

use super::Cluster;
use super::exec::{self, Command, Finished, Limits, Outcome, Output, Process};
use crate::failure::{Failure, Result};

/// What to put where.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// A container of it that runs.
    pub container: &'a str,
    /// Absolute folders that are there, best first. A read-only, full or noexec one is passed over.
    pub dirs: &'a [String],
    /// Folder of its own that is made below, mode 0700, and the file's name in it.
    pub name: (&'a str, &'a str),
    /// The file.
    pub bytes: &'a [u8],
    /// Its mode.
    pub mode: u32,
    /// Arguments with which the file, run where it lies, proves that it is whole.
    pub proof: &'a [&'a str],
    /// Ways that are worth trying, best first; see [`ways`].
    pub ways: &'a [Way],
}

/// A file that is there and has proven it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded<T> {
    /// Absolute path in the container.
    pub path: String,
    /// How it got there.
    pub way: Way,
    /// What it said as its proof.
    pub proof: T,
}

/// A way to get a file into a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `tar` alone, with stdin closed at the end.
    Tar,
    /// `head -c` counts, `tar` unpacks, a shell joins them.
    CountedTar,
    /// `tar` alone where stdin cannot be closed: GNU tar ends by itself; others are left waiting once the file is there.
    OpenTar,
    /// A shell with `head -c` and `chmod`.
    Shell,
    /// A shell and `chmod`: the file travels as text that `printf` turns into bytes.
    Printf,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tar | Self::OpenTar => "tar",
            Self::CountedTar => "sh, head and tar",
            Self::Shell => "sh and head",
            Self::Printf => "sh and printf",
        })
    }
}

/// Ways that do on every server, best first, for an image that is known to have what they need.
pub const ANY_SERVER: &[Way] = &[Way::CountedTar, Way::OpenTar, Way::Shell, Way::Printf];

/// How long a program that cannot be told that its input is complete may take to finish.
const SETTLE: Duration = Duration::from_secs(2);
/// Less patience than for work: a transfer takes seconds, and whether it succeeded is seen elsewhere.
const LIMITS: Limits = Limits {
    open: Duration::from_secs(60),
    ping: Duration::from_secs(5),
    silence: Duration::from_secs(15),
    stall: Duration::from_secs(30),
    linger: Duration::from_secs(3),
};
/// More than this of a complaint is not shown, in bytes.
const COMPLAINT: usize = 4096;

/// What the file's own proof must not be taken for.
const OTHER: &str = "what arrived is not what was sent";
/// The line between what a script says and what the file says that it then became.
const SENT: &[u8] = b"sent\n";

/// What came of a transfer.
enum Sent {
    /// Nothing.
    Not(No),
    /// The file is there and was run at once; what it said.
    Answered(Vec<u8>),
    /// The bytes were taken, as far as anybody can tell.
    Silent,
}

/// Why a way or a folder does not do.
enum No {
    /// Another way may do, in the same folder.
    Way(String),
    /// Only another folder may do.
    Folder(String),
}

/// Puts the file into the first folder, by the first way, where it then runs and `proof` takes its stdout for one.
///
/// # Errors
/// No folder and way did; each is named with what stood in its way. Or the container is not there at all.
pub async fn upload<T>(cluster: &Cluster, what: &Upload<'_>, proof: impl Fn(&[u8]) -> Option<T>) -> Result<Uploaded<T>> {
    let mut tried = Vec::new();
    for dir in what.dirs {
        let dir = dir.trim_end_matches('/');
        for &way in what.ways {
            let proven = match transfer(cluster, what, dir, way).await? {
                Sent::Not(no) => Err(no),
                Sent::Answered(said) => proof(&said).ok_or(No::Way(OTHER.to_owned())),
                Sent::Silent => prove(cluster, what, dir, &proof).await?,
            };
            let no = match proven {
                Ok(proof) => return Ok(Uploaded { path: what.path(dir), way, proof }),
                Err(no) => no,
            };
            // Nothing stays where it is of no use; where that cannot be done there is no `rm`, and the folder's name tells whose it is.
            remove(cluster, what, &what.path(dir)).await?;
            match no {
                No::Way(why) => tried.push(format!("{dir} by {way}: {why}")),
                No::Folder(why) => {
                    tried.push(format!("{dir}: {why}"));
                    break;
                }
            }
        }
    }
    Err(what.failure(tried))
}

/// Removes an uploaded file and its folder with the container's own `rm` and `rmdir`; false where it has none.
///
/// # Errors
/// The stream cannot be opened.
pub async fn remove(cluster: &Cluster, what: &Upload<'_>, path: &str) -> Result<bool> {
    let folder = path.rsplit_once('/').map_or(path, |(folder, _)| folder);
    let rm = cluster.run(&what.command(words(&["rm", "-f", path]), false), COMPLAINT).await?;
    let rmdir = cluster.run(&what.command(words(&["rmdir", folder]), false), COMPLAINT).await?;
    Ok(rm.outcome.success() && rmdir.outcome.success())
}

impl Upload<'_> {
    fn path(&self, dir: &str) -> String {
        format!("{dir}/{}/{}", self.name.0, self.name.1)
    }

    fn command(&self, argv: Vec<String>, stdin: bool) -> Command {
        let own = str::to_owned;
        Command { namespace: own(self.namespace), pod: own(self.pod), container: own(self.container), argv, stdin }
    }

    fn failure(&self, tried: Vec<String>) -> Failure {
        let place = format!("container {} of pod {}/{}", self.container, self.namespace, self.pod);
        let failure = Failure::failed(format!("cannot bring the helper into {place}"));
        if tried.is_empty() { failure.fact("no folder to put it into is known") } else { failure.facts(tried) }
    }
}

/// The ways worth trying. Asks once whether stdin can be closed, with a command that need not even exist.
///
/// # Errors
/// The container is not there or does not run.
pub async fn ways(cluster: &Cluster, namespace: &str, pod: &str, container: &str) -> Result<&'static [Way]> {
    let own = str::to_owned;
    let command =
        Command { namespace: own(namespace), pod: own(pod), container: own(container), argv: words(&["true"]), stdin: true };
    let process = cluster.start(&command).await?;
    let half_close = process.half_close();
    match process.finish(&[], 0).await.outcome {
        Outcome::NotStarted(why) if exec::is_container_state(&why) => {
            Err(Failure::failed(format!("container {container} of pod {namespace}/{pod} cannot be entered")).fact(why))
        }
        _ if half_close => Ok(&[Way::Tar, Way::Shell, Way::Printf]),
        _ => Ok(ANY_SERVER),
    }
}

/// The bulk is sent only to a program that has shown that it can take it: where a program ends while its stdin is
/// still full, containerd tells neither that nor the exit code (seen on Kubernetes 1.20).
async fn transfer(cluster: &Cluster, what: &Upload<'_>, dir: &str, way: Way) -> Result<Sent> {
    let input = match way {
        Way::Tar | Way::OpenTar | Way::CountedTar => archive(what, true).await?,
        Way::Shell => what.bytes.to_vec(),
        Way::Printf => printf_text(what.bytes),
    };
    let taken = |finished: Option<&Finished>| finished.and_then(judge).map_or(Sent::Silent, Sent::Not);
    let Some(script) = way.script() else {
        let tar = what.command(words(&["tar", "xf", "-", "-C", dir]), true);
        let folder = archive(what, false).await?;
        let refused = feed(cluster.start_within(&tar, LIMITS).await?, &folder, way).await;
        if let Some(no) = refused.as_ref().and_then(judge) {
            return Ok(Sent::Not(no));
        }
        let finished = feed(cluster.start_within(&tar, LIMITS).await?, &input, way).await;
        return Ok(taken(finished.as_ref()));
    };
    let (count, mode) = (input.len().to_string(), format!("{:o}", what.mode));
    let arguments = [&[dir, what.name.0, what.name.1, &count, &mode, way.tools()], what.proof].concat();
    let argv = shell(&format!("{PREPARE}{script}{ANSWER}"), &arguments);
    let mut process = cluster.start_within(&what.command(argv, true), LIMITS).await?;
    let finished = match not_ready(&mut process).await {
        Some(finished) => finished,
        None => process.finish(&input, COMPLAINT).await,
    };
    Ok(match (finished.stdout.strip_prefix(SENT), &finished.outcome) {
        (Some(said), Outcome::Exited(0)) => Sent::Answered(said.to_vec()),
        // It is there; what keeps it from running is seen best where nothing else is said.
        (Some(_), _) => Sent::Silent,
        (None, _) => taken(Some(&finished)),
    })
}

/// $1 folder, $2 folder to make in it, $3 file, $4 bytes of input, $5 mode, $6 tools that are needed, then the file's own arguments.
const PREPARE: &str = r#"umask 077
for tool in $6; do command -v "$tool" >/dev/null || { echo "sh: $tool: not found" >&2; exit 127; }; done
[ -d "$1" ] || { echo "can't change directory to $1" >&2; exit 1; }
f="$1/$2/$3"
"#;

/// The file proves itself in the same stream: to open another one costs a round-trip through the runtime.
const ANSWER: &str = r#" && echo sent && shift 6 && exec "$f" "$@""#;

impl Way {
    /// `None`: it needs no shell.
    fn script(self) -> Option<&'static str> {
        match self {
            Self::Tar | Self::OpenTar => None,
            Self::CountedTar => Some(r#"mkdir -p "$1/$2" && echo ready && head -c "$4" | tar xf - -C "$1""#),
            Self::Shell => Some(r#"mkdir -p "$1/$2" && : >"$f" && echo ready && head -c "$4" >"$f" && chmod "$5" "$f""#),
            Self::Printf => Some(
                r#"mkdir -p "$1/$2" && : >"$f" && echo ready && while read -r l && [ "$l" != . ]; do printf "$l"; done >"$f" && chmod "$5" "$f""#,
            ),
        }
    }

    fn tools(self) -> &'static str {
        match self {
            Self::Tar | Self::OpenTar => "tar",
            Self::CountedTar => "mkdir head tar",
            Self::Shell => "mkdir head chmod",
            Self::Printf => "mkdir chmod printf",
        }
    }
}

/// `None`: it said "ready" and waits for input.
async fn not_ready(process: &mut Process) -> Option<Finished> {
    let mut finished = Finished { stdout: Vec::new(), stderr: Vec::new(), truncated: false, outcome: Outcome::Exited(0) };
    loop {
        match process.next().await {
            Output::Stdout(bytes) => finished.stdout.extend_from_slice(&bytes),
            Output::Stderr(bytes) => finished.stderr.extend_from_slice(&bytes),
            Output::Ended(outcome) => return Some(Finished { outcome, ..finished }),
        }
        if finished.stdout.starts_with(b"ready\n") {
            return None;
        }
    }
}

/// `None`: everything was sent, and the program still waits for more.
async fn feed(process: Process, input: &[u8], way: Way) -> Option<Finished> {
    if way != Way::OpenTar {
        return Some(process.finish(input, COMPLAINT).await);
    }
    let (mut stdin, outputs) = process.split();
    let mut end = Box::pin(outputs.collect(COMPLAINT));
    let sent = async {
        // A program that ends early says why by its outcome.
        let _ = stdin.write(input).await;
        tokio::time::sleep(SETTLE).await;
    };
    tokio::select! {
        finished = &mut end => Some(finished),
        () = sent => None,
    }
}

fn judge(finished: &Finished) -> Option<No> {
    let said = finished.facts().join("; ");
    match &finished.outcome {
        Outcome::Exited(0) | Outcome::Unknown(_) => None,
        Outcome::NotStarted(why) => Some(No::Way(missing(why))),
        Outcome::Exited(_) => Some(folder_trouble(&said).unwrap_or_else(|| No::Way(missing(&said)))),
    }
}

/// What is wrong with the folder rather than with the way.
fn folder_trouble(said: &str) -> Option<No> {
    let lower = said.to_lowercase();
    let why = [
        ("read-only file system", "read-only"),
        ("no space left", "no space left"),
        ("disk quota exceeded", "quota exceeded"),
        ("permission denied", "not writable for the container's user"),
        ("operation not permitted", "not writable for the container's user"),
        ("can't change directory", "not there"),
        ("cannot open: no such file", "not there"),
        ("can't create directory", "no folder can be made there"),
        ("cannot create directory", "no folder can be made there"),
        ("cannot mkdir", "no folder can be made there"),
    ];
    why.iter().find(|(sign, _)| lower.contains(sign)).map(|(_, why)| No::Folder((*why).to_owned()))
}

/// Names the tool that is missing, where one is.
fn missing(said: &str) -> String {
    let lower = said.to_lowercase();
    let absent = |tool: &str| {
        ["executable file not found", "not found", "no such file"].iter().any(|sign| lower.contains(sign))
            && (lower.contains(&format!("\"{tool}\"")) || lower.contains(&format!(" {tool}:")))
    };
    ["sh", "tar", "head", "chmod", "mkdir"]
        .iter()
        .find(|tool| absent(tool))
        .map_or_else(|| said.to_owned(), |tool| format!("no {tool}"))
}

/// Runs the file and takes its word for that it is whole.
async fn prove<T>(
    cluster: &Cluster,
    what: &Upload<'_>,
    dir: &str,
    proof: impl Fn(&[u8]) -> Option<T>,
) -> Result<std::result::Result<T, No>> {
    let mut argv = vec![what.path(dir)];
    argv.extend(words(what.proof));
    let finished = cluster.run(&what.command(argv, false), 64 * 1024).await?;
    let text = finished.facts().join("; ");
    let no = match &finished.outcome {
        Outcome::Exited(0) => match proof(&finished.stdout) {
            Some(proof) => return Ok(Ok(proof)),
            None => No::Way(OTHER.to_owned()),
        },
        _ if text.to_lowercase().contains("permission denied") => {
            No::Folder("files there cannot be executed (noexec)".to_owned())
        }
        _ if text.contains("exec format error") => No::Folder("built for another architecture".to_owned()),
        Outcome::NotStarted(_) => No::Way("the file did not arrive".to_owned()),
        Outcome::Exited(_) | Outcome::Unknown(_) => No::Way(format!("the file does not prove itself: {text}")),
    };
    Ok(Err(no))
}

/// A plain ustar archive of the folder, and of the file in it.
async fn archive(what: &Upload<'_>, with_file: bool) -> Result<Vec<u8>> {
    let cannot = |error: std::io::Error| Failure::failed("cannot pack the helper").fact(error.to_string());
    let header = |kind: EntryType, bytes: u64, mode: u32| {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(bytes);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        // 1980: some tars warn about a time in the future or before it.
        header.set_mtime(315_532_800);
        header
    };
    let mut builder = Builder::new(Vec::with_capacity(what.bytes.len() + 4096));
    let (folder, file) = what.name;
    let mut entry = header(EntryType::Directory, 0, 0o700);
    builder.append_data(&mut entry, format!("{folder}/"), tokio::io::empty()).await.map_err(cannot)?;
    if with_file {
        let mut entry = header(EntryType::Regular, what.bytes.len() as u64, what.mode);
        builder.append_data(&mut entry, format!("{folder}/{file}"), what.bytes).await.map_err(cannot)?;
    }
    builder.into_inner().await.map_err(cannot)
}

/// Lines for `printf`, each byte that is no letter or digit in octal; a lone dot ends it.
fn printf_text(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len() * 4);
    for line in bytes.chunks(512) {
        for byte in line {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' => text.push(*byte),
                _ => text.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            }
        }
        text.push(b'\n');
    }
    text.extend_from_slice(b".\n");
    text
}

/// A script with its arguments as `$1`, `$2`, …: nothing is ever pasted into a script.
fn shell(script: &str, arguments: &[&str]) -> Vec<String> {
    [words(&["sh", "-c", script, "dbmig"]), words(arguments)].concat()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
