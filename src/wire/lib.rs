//! What the plugin and `dbmig-agent` say to each other. Types, and the frames of [`relay`]; no I/O.
//!
//! The plugin starts the agent by exec and writes **one line**, a [`Request`] as JSON. The agent answers
//! with JSON lines, each a [`Message`]; the last one is [`Message::Done`] or [`Message::Failed`]. A stream
//! that ends without one of these two means "outcome unknown", never success.
//!
//! Both ends come from the same build: the plugin proves the agent it runs by SHA-256, so there is no
//! version negotiation and the shape of a message may change in any release.
//!
//! How the agent is called:
//!
//! | argv | does |
//! |---|---|
//! | `dbmig-agent hash` | prints a [`Hello`] line about its own file |
//! | `dbmig-agent ask` | reads a [`Request`] line, answers it, ends |
//! | `dbmig-agent start DIR JOB` | reads a [`Request`] line, goes on detached with a journal `DIR/JOB.journal`, answers `Done(null)` at once |
//! | `dbmig-agent follow DIR JOB LINE` | prints the journal from line `LINE` (counted from 0) until the job has ended |
//! | `dbmig-agent stop DIR JOB` | asks the job to end at its next safe point and waits until it has |
//! | `dbmig-agent send PATH OFFSET` | writes the file's bytes from `OFFSET` on, raw; they are proven by their digest, never by how the stream ends |
//! | `dbmig-agent receive PATH OFFSET BYTES` | appends up to `BYTES` raw bytes from stdin to `PATH`, which is `OFFSET` long and whose name must contain `.dbmig-`, fsyncs, and answers `Done` with its length |
//! | `dbmig-agent relay HOST:PORT` or `relay /SOCKET` | connects, answers `Done` with a [`Connected`] or `Failed` in one line; reads one byte, [`relay::BY_EXEC`] or [`relay::BY_PORT`]; then its stdin and stdout, or the connection that its [`Listener`] has admitted, are the connection in [`relay`]'s frames, and a line on stderr now and then is a heartbeat |
//! | `dbmig-agent hold SECONDS` | sleeps; the command of a helper container whose image has no shell |

mod backup;
mod data_directory;
mod file;
mod hex;
mod pod;
pub mod relay;
mod sqlite;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use backup::*;
pub use data_directory::*;
pub use file::*;
pub use hex::hex;
pub use pod::*;
pub use sqlite::*;

/// Seconds between two [`Message::Beat`]s: the shortest idle cut seen in the field is 20 s (HAProxy's default
/// in the kubeadm high-availability guide).
pub const BEAT_SECONDS: u64 = 10;

/// Seconds after which a job that nobody follows any more ends itself, leaving the old data in place.
pub const ABANDONED_SECONDS: u64 = 1800;

/// One thing asked of the agent; a single JSON line on its stdin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", content = "with", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "each variant is documented at its type")]
pub enum Request {
    Find(Find),
    Stat(Stat),
    Read(Read),
    Environment(Environment),
    Alone(Alone),
    Remove(Remove),
    Copy(Copy),
    Inspect(Inspect),
    Query(Query),
    Alter(Alter),
    Measure(Measure),
    Replay(Replay),
    Settle(Settle),
    Punch(Punch),
    Rebuild(Rebuild),
    Verify(Verify),
    Swap(Swap),
    Replace(Replace),
    Since(Since),
    Restore(Restore),
    ReadDataDirectory(ReadDataDirectory),
    MakePrimary(MakePrimary),
    MakeStandby(MakeStandby),
    ForgetStandby(ForgetStandby),
    Backup(Backup),
    Dump(Dump),
}

/// A request together with the type of its answer.
pub trait Call: Into<Request> {
    /// What [`Message::Done`] carries when this call succeeds.
    type Reply: DeserializeOwned + Serialize;
}

macro_rules! calls {
    ($($name:ident => $reply:ty),* $(,)?) => {$(
        impl From<$name> for Request {
            fn from(call: $name) -> Self { Self::$name(call) }
        }
        impl Call for $name { type Reply = $reply; }
    )*};
}

calls! {
    Find => Vec<Found>,
    Stat => StatReply,
    Read => Vec<TextFile>,
    Environment => Variables,
    Alone => (),
    Remove => Removed,
    Copy => Proof,
    Inspect => Facts,
    Query => Vec<Vec<serde_json::Value>>,
    Alter => (),
    Measure => Measured,
    Replay => Vec<ReplayedSchema>,
    Settle => Settled,
    Punch => Punched,
    Rebuild => Rebuilt,
    Verify => Proof,
    Swap => Swapped,
    Replace => Swapped,
    Since => Vec<TableRows>,
    Restore => Restored,
    ReadDataDirectory => DataDirectory,
    MakePrimary => DataDirectory,
    MakeStandby => DataDirectory,
    ForgetStandby => DataDirectory,
    Backup => Proof,
    Dump => Proof,
}

/// What the agent says of itself, so that the plugin knows it runs the bytes it sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// SHA-256 of the running executable, lower-case hex.
    pub sha256: String,
    /// Length of the running executable in bytes.
    pub bytes: u64,
    /// Effective user and group it runs as.
    pub uid: u32,
    /// Effective group it runs as.
    pub gid: u32,
}

/// One line from the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// Nothing new; keeps proxies from cutting the connection.
    Beat,
    /// Where the work stands.
    Progress(Progress),
    /// Something a person should read, as one line.
    Note(String),
    /// The call succeeded; its [`Call::Reply`].
    Done(serde_json::Value),
    /// The call failed; nothing follows.
    Failed(AgentError),
}

/// Where a call stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, as a person would say it: `copying table episodes_30s`.
    pub phase: String,
    /// Units done.
    pub done: u64,
    /// Units in all; 0 when it is not known.
    pub total: u64,
    /// What is counted.
    pub unit: Unit,
}

/// What a [`Progress`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Unit {
    Bytes,
    Rows,
    Pages,
    Tables,
}

/// Why a call failed, and in what state it left things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentError {
    /// The kind decides what the plugin does next and its exit code.
    pub kind: ErrorKind,
    /// One sentence, lower case, no full stop: what was seen.
    pub message: String,
    /// Further lines of evidence, e.g. each line of an integrity check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

/// The kinds of failure that the plugin tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request itself is wrong: a rule naming a missing table or column, bad SQL.
    BadRequest,
    /// The path is not there.
    NotFound,
    /// The file is no SQLite database.
    NotSqlite,
    /// The file is encrypted, or at least carries no SQLite header where one should be.
    Encrypted,
    /// Reading shows damage; `details` lists it.
    Corrupt,
    /// Another process holds a lock on the database.
    Busy,
    /// A hot journal or an unmerged WAL stands in the way of a read-only look.
    Unsettled,
    /// The file system has no room left.
    NoSpace,
    /// The file system or database cannot do this at all.
    Unsupported,
    /// The operating system refused access.
    Permission,
    /// What was seen is not what the plan expects; nothing was done.
    Changed,
    /// The new file does not prove equal to what it must hold.
    Unproven,
    /// No such name in the pod's name service.
    UnknownHost,
    /// The other side, or a firewall before it, refuses the connection: nothing listens there.
    Refused,
    /// No way there from the pod: no route, network down.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The job was asked to stop, or nobody followed it for too long.
    Stopped,
    /// The job's process is gone and its journal has no end.
    Died,
    /// Anything else, an I/O error for instance.
    Other,
}
