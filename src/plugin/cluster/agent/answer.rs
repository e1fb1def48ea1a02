//! What the agent answers, and what it means that it does not.

use std::time::Duration;

use dbmig_wire::{AgentError, Call, ErrorKind, Message, Request};
use tokio::time::timeout;

use crate::cluster::exec::{Line, Outcome, Process};
use crate::event::{Event, Events};
use crate::exit::Exit;
use crate::failure::{Failure, Result};

/// Without a beat for this long the connection is gone, whatever TCP says.
pub(super) const SILENCE: Duration = Duration::from_secs(45);
/// The end of what a program says on stderr that is worth telling, in bytes.
pub(super) const STDERR_BYTES: usize = 4096;
/// How far a job has been followed.
#[derive(Debug, Default)]
pub(super) struct SoFar {
    /// Messages that were told.
    pub(super) seen: u64,
    /// The connection was lost since the last one.
    pub(super) lost: bool,
}

/// Why a question got no good answer.
#[derive(Debug, Clone)]
pub enum AskError {
    /// The agent said no; what it says is certain.
    Agent(AgentError),
    /// The stream ended without an answer: nobody knows what came of it.
    Lost(String),
    /// It could not be asked at all.
    Failure(Failure),
    /// The pod is gone, and the agent with it.
    Gone(Failure),
}

impl From<Failure> for AskError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl AskError {
    /// The failure to report; `doing` names what did not happen: `rebuild /db/a.sqlite`.
    #[must_use]
    pub fn into_failure(self, doing: &str) -> Failure {
        match self {
            Self::Failure(failure) | Self::Gone(failure) => failure,
            Self::Lost(how) => Failure::failed(format!("cannot {doing}: the connection to the pod was lost"))
                .passing()
                .fact(how)
                .state("what came of it is not known yet; resume looks before it acts"),
            Self::Agent(error) => from_agent(error, doing),
        }
    }
}

fn from_agent(error: AgentError, doing: &str) -> Failure {
    let failure = Failure::failed(format!("cannot {doing}: {}", error.message)).facts(error.details);
    match error.kind {
        ErrorKind::Unproven => failure.exit(Exit::Unproven).take_back(),
        ErrorKind::BadRequest
        | ErrorKind::NotFound
        | ErrorKind::NotSqlite
        | ErrorKind::Encrypted
        | ErrorKind::Corrupt
        | ErrorKind::Unsupported => failure.exit(Exit::Refused).take_back(),
        ErrorKind::NoSpace | ErrorKind::Permission | ErrorKind::Changed | ErrorKind::Unsettled => failure.take_back(),
        ErrorKind::Stopped => failure.exit(Exit::Incomplete),
        ErrorKind::Busy
        | ErrorKind::Died
        | ErrorKind::UnknownHost
        | ErrorKind::Refused
        | ErrorKind::Unreachable
        | ErrorKind::TimedOut
        | ErrorKind::Other => failure,
    }
}

pub(super) fn line(request: &Request) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(request).map_err(|error| Failure::failed(format!("cannot write a request: {error}")))?;
    line.push(b'\n');
    Ok(line)
}

pub(super) fn decode<C: Call>(value: serde_json::Value) -> std::result::Result<C::Reply, AskError> {
    serde_json::from_value(value).map_err(|error| AskError::Lost(format!("unreadable answer: {error}")))
}

pub(super) async fn converse(process: Process, events: Option<&Events>) -> std::result::Result<serde_json::Value, AskError> {
    converse_counting(process, events, &mut SoFar::default()).await
}

/// Reads messages to the last one. Only a `Done` or `Failed` counts; whatever else ends the stream leaves the outcome unknown.
pub(super) async fn converse_counting(
    process: Process,
    events: Option<&Events>,
    so_far: &mut SoFar,
) -> std::result::Result<serde_json::Value, AskError> {
    let mut lines = process.lines(STDERR_BYTES);
    loop {
        let line = match timeout(SILENCE, lines.next()).await {
            Ok(Line::Text(line)) => line,
            Ok(Line::Ended(outcome)) => return Err(ended(outcome, lines.stderr())),
            Err(_) => return Err(AskError::Lost(format!("nothing heard for {} s", SILENCE.as_secs()))),
        };
        let unreadable =
            || AskError::Lost(format!("unreadable message: {}", String::from_utf8_lossy(&line[..line.len().min(200)])));
        let message = serde_json::from_slice(&line).map_err(|_| unreadable())?;
        if std::mem::take(&mut so_far.lost) {
            tell(events, Event::Note("connected again; the work went on meanwhile".to_owned()));
        }
        match message {
            Message::Beat => continue,
            Message::Progress(progress) => tell(events, Event::Progress(progress)),
            Message::Note(text) => tell(events, Event::Note(text)),
            Message::Done(value) => return Ok(value),
            Message::Failed(error) => return Err(AskError::Agent(error)),
        }
        so_far.seen += 1;
    }
}

fn tell(events: Option<&Events>, event: Event) {
    if let Some(events) = events {
        events.tell(event);
    }
}

pub(super) fn ended(outcome: Outcome, complaint: &[u8]) -> AskError {
    let complaint = String::from_utf8_lossy(complaint);
    let complaint = complaint.trim();
    match outcome {
        Outcome::Exited(code) => {
            AskError::Lost(format!("the helper ended with exit code {code} and no answer {complaint}").trim().to_owned())
        }
        Outcome::Unknown(how) => AskError::Lost(how),
        Outcome::NotStarted(why) => AskError::Failure(
            Failure::failed("the helper binary cannot run in the container")
                .fact(why)
                .facts((!complaint.is_empty()).then(|| complaint.to_owned())),
        ),
    }
}
