//! Commands in containers: one exec, on WebSocket, for every way a stream can end. Knows nothing of what it runs.
//!
//! Speaks v5.channel.k8s.io (servers since 1.30), where stdin can be closed, and v4.channel.k8s.io (all others), where
//! it cannot: there a remote program must know by itself when its input is complete. kube's own `AttachedProcess` is
//! not used: it loses the outcome, blocks for ever on undrained output, and takes a cut stream for a normal end.

mod duplex;
mod lines;
mod outcome;
mod stream;

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use kube::api::AttachParams;
use kube::core::Request;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

pub use self::duplex::Duplex;
pub use self::lines::{Line, Lines};
pub use self::outcome::Outcome;
pub(super) use self::outcome::is_container_state;
use super::Cluster;
use super::error::translate;
use crate::failure::{Failure, Result};

/// Longest piece of stdin in one frame, in bytes.
pub const FRAME_BYTES: usize = 32 * 1024;

/// What to run, where. Never with a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Name of the container, init and ephemeral ones included.
    pub container: String,
    /// Program and arguments; no shell in between.
    pub argv: Vec<String>,
    /// Give it a stdin. Without, it reads an empty one.
    pub stdin: bool,
}

/// How long to be patient with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The server must answer the request to open the stream within this.
    pub open: Duration,
    /// Time between two pings: the shortest idle cut seen in the field is 20 s.
    pub ping: Duration,
    /// A server that has sent nothing at all for so long, not even the answer to a ping, is gone.
    pub silence: Duration,
    /// The same while the server takes no more stdin from us, so that pings cannot get through either.
    pub stall: Duration,
    /// Wait for the server to close the stream after it has told the exit status.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open: Duration::from_secs(60),
            ping: Duration::from_secs(10),
            silence: Duration::from_secs(45),
            stall: Duration::from_secs(300),
            linger: Duration::from_secs(3),
        }
    }
}

/// What comes out of a running command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Some bytes of its stdout.
    Stdout(Bytes),
    /// Some bytes of its stderr.
    Stderr(Bytes),
    /// Nothing follows.
    Ended(Outcome),
}

/// Everything that a command said, within bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its stdout, cut at the bound.
    pub stdout: Vec<u8>,
    /// Its stderr, cut at the bound.
    pub stderr: Vec<u8>,
    /// It said more than that.
    pub truncated: bool,
    /// How it ended.
    pub outcome: Outcome,
}

impl Finished {
    /// What it said about its trouble, for a [`Failure`]: lines of stderr, or of stdout if there are none, then how it ended.
    #[must_use]
    pub fn facts(&self) -> Vec<String> {
        let said = if self.stderr.is_empty() { &self.stdout } else { &self.stderr };
        let text = String::from_utf8_lossy(said);
        let mut facts: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).take(20).map(str::to_owned).collect();
        facts.push(self.outcome.to_string());
        facts
    }
}

impl Cluster {
    /// Starts a command. That the container is missing or not running comes as [`Outcome::NotStarted`], not as an error.
    ///
    /// # Errors
    /// The stream could not be opened: no such pod, not allowed, server busy, a proxy in the way. Nothing is ever tried
    /// twice; unless the failure's `state` says otherwise, nothing ran.
    pub async fn start(&self, command: &Command) -> Result<Process> {
        self.start_within(command, Limits::default()).await
    }

    /// [`Cluster::start`] with other limits.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn start_within(&self, command: &Command, limits: Limits) -> Result<Process> {
        let what =
            format!("run {} in container {} of pod {}/{}", command.program(), command.container, command.namespace, command.pod);
        let attach = AttachParams::default().stdin(command.stdin).stdout(true).stderr(true).container(command.container.clone());
        let request =
            Request::new(format!("/api/v1/namespaces/{}/pods", command.namespace)).exec(&command.pod, &command.argv, &attach);
        let request = request.map_err(|error| Failure::failed(format!("cannot {what}")).fact(error.to_string()))?;
        let opened = tokio::time::timeout(limits.open, self.client.connect(request)).await;
        match opened {
            Err(_) => Err(Failure::failed(format!("cannot {what}"))
                .passing()
                .fact(format!("the API server did not open the stream within {} s", limits.open.as_secs_f64()))
                .state("whether the command was started is not known")),
            Ok(Ok(connection)) => Ok(Process::running(connection, limits)),
            Ok(Err(error)) => match outcome::refused_start(&error) {
                Some(outcome) => Ok(Process::ended(outcome)),
                None => Err(translate(&error, &what)),
            },
        }
    }

    /// Runs a command without stdin and collects up to `max` bytes of each of its outputs.
    ///
    /// # Errors
    /// As [`Cluster::start`]; that the command itself fails is no error.
    pub async fn run(&self, command: &Command, max: usize) -> Result<Finished> {
        Ok(self.start(command).await?.output(max).await)
    }
}

impl Command {
    fn program(&self) -> &str {
        self.argv.first().map_or("nothing", String::as_str)
    }
}

/// A command that was started. Dropping it ends only our side: the remote program goes on.
pub struct Process {
    input: Input,
    outputs: Outputs,
}

/// The stdin of a command.
pub struct Input {
    frames: mpsc::Sender<Message>,
    half_close: bool,
}

/// The outputs of a command. Dropping them ends our side of the stream.
pub struct Outputs {
    items: mpsc::Receiver<Output>,
    ended: Option<Outcome>,
    _tasks: JoinSet<()>,
}

impl Process {
    fn running(connection: kube::client::Connection, limits: Limits) -> Self {
        let half_close = connection.supports_stream_close();
        let (frames, items, tasks) = stream::spawn(connection.into_stream(), limits);
        Self { input: Input { frames, half_close }, outputs: Outputs { items, ended: None, _tasks: tasks } }
    }

    fn ended(outcome: Outcome) -> Self {
        let (frames, _) = mpsc::channel(1);
        let (_, items) = mpsc::channel(1);
        let outputs = Outputs { items, ended: Some(outcome), _tasks: JoinSet::new() };
        Self { input: Input { frames, half_close: true }, outputs }
    }

    /// Writes to its stdin; waits while the remote side takes nothing.
    ///
    /// A program that answers while it still reads blocks when nobody drains its answer: use [`Process::split`] or
    /// [`Process::finish`] for these.
    ///
    /// # Errors
    /// The command takes no more input; [`Process::next`] tells why.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.input.write(bytes).await
    }

    /// See [`Input::close`].
    pub async fn close_stdin(&mut self) {
        self.input.close().await;
    }

    /// Stdin can be closed (v5). When it cannot, the remote program must count its input.
    #[must_use]
    pub fn half_close(&self) -> bool {
        self.input.half_close
    }

    /// The next output; [`Output::Ended`] again and again after the end.
    pub async fn next(&mut self) -> Output {
        self.outputs.next().await
    }

    /// Stdin and outputs apart, to be used at the same time.
    #[must_use]
    pub fn split(self) -> (Input, Outputs) {
        (self.input, self.outputs)
    }

    /// Waits for the end and collects up to `max` bytes of each output. The rest is drained, so nothing blocks.
    pub async fn output(self, max: usize) -> Finished {
        self.outputs.collect(max).await
    }

    /// Writes all of `input`, closes stdin where that is possible, and collects as [`Process::output`], all at once.
    pub async fn finish(self, input: &[u8], max: usize) -> Finished {
        let (mut stdin, outputs) = self.split();
        let feed = async move {
            // A program may end without reading all; its outcome says whether that was right.
            if stdin.write(input).await.is_ok() {
                stdin.close().await;
            }
        };
        let (finished, ()) = tokio::join!(outputs.collect(max), feed);
        finished
    }

    /// Its stdout line by line, together with the last `stderr_max` bytes of stderr.
    #[must_use]
    pub fn lines(self, stderr_max: usize) -> Lines {
        Lines::new(self, stderr_max)
    }

    /// Its stdin and stdout as one stream.
    #[must_use]
    pub fn duplex(self) -> Duplex {
        Duplex::new(self)
    }
}

impl Input {
    /// As [`Process::write`].
    ///
    /// # Errors
    /// As [`Process::write`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(FRAME_BYTES) {
            let sent = self.frames.send(stream::stdin(piece)).await;
            sent.map_err(|_| Failure::failed("the remote command takes no more input"))?;
        }
        Ok(())
    }

    /// Tells the remote program that nothing follows. With v4 there is no way to say so and nothing happens.
    pub async fn close(&mut self) {
        if self.half_close {
            // Ended already: there is nobody left to tell.
            let _ = self.frames.send(stream::end_of_stdin()).await;
        }
    }
}

impl Outputs {
    /// As [`Process::next`].
    pub async fn next(&mut self) -> Output {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Output> {
        if let Some(outcome) = &self.ended {
            return Poll::Ready(Output::Ended(outcome.clone()));
        }
        let lost = || Output::Ended(Outcome::Unknown("the stream broke without a word".to_owned()));
        let output = ready!(self.items.poll_recv(cx)).unwrap_or_else(lost);
        if let Output::Ended(outcome) = &output {
            self.ended = Some(outcome.clone());
        }
        Poll::Ready(output)
    }

    /// As [`Process::output`].
    pub async fn collect(mut self, max: usize) -> Finished {
        let (mut stdout, mut stderr, mut truncated) = (Vec::new(), Vec::new(), false);
        loop {
            match self.next().await {
                Output::Stdout(bytes) => truncated |= keep(&mut stdout, &bytes, max),
                Output::Stderr(bytes) => truncated |= keep(&mut stderr, &bytes, max),
                Output::Ended(outcome) => return Finished { stdout, stderr, truncated, outcome },
            }
        }
    }
}

/// Appends what still fits; true when something did not.
fn keep(kept: &mut Vec<u8>, bytes: &[u8], max: usize) -> bool {
    let room = max.saturating_sub(kept.len()).min(bytes.len());
    kept.extend_from_slice(&bytes[..room]);
    room < bytes.len()
}
