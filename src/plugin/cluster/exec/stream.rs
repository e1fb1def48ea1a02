//! The two tasks below a running command. They end, and with them the connection, when their set is dropped.
//!
//! The first byte of each frame is its channel (apimachinery, `remotecommand/constants.go`).

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::SplitStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::outcome::{Evidence, Outcome};
use super::{Limits, Output};
use crate::cluster::pump::{self, Sending};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const CLOSE: u8 = 255;

/// Pieces of output that may wait for their reader.
const OUTPUT_PIECES: usize = 64;

/// Stdin on its way to the remote side.
pub(super) fn stdin(bytes: &[u8]) -> Message {
    stdin_with(bytes.len(), |frame| frame.extend_from_slice(bytes))
}

/// What `fill` appends, about so many bytes.
pub(super) fn stdin_with(size: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Message {
    let mut frame = Vec::with_capacity(size + 1);
    frame.push(STDIN);
    fill(&mut frame);
    Message::Binary(frame.into())
}

pub(super) fn end_of_stdin() -> Message {
    Message::Binary(Bytes::from_static(&[CLOSE, STDIN]))
}

pub(super) fn spawn<S>(socket: WebSocketStream<S>, limits: Limits) -> (mpsc::Sender<Message>, mpsc::Receiver<Output>, JoinSet<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, stream) = socket.split();
    let (frames_tx, frames_rx) = mpsc::channel(pump::WAITING);
    let (items_tx, items_rx) = mpsc::channel(OUTPUT_PIECES);
    let sending = Sending::default();
    let mut tasks = JoinSet::new();
    let writer = tasks.spawn(pump::write(sink, frames_rx, || Message::Ping(Bytes::new()), limits, Arc::clone(&sending)));
    tasks.spawn(Reader { stream, limits, sending, evidence: Evidence::default() }.run(items_tx, writer));
    (frames_tx, items_rx, tasks)
}

struct Reader<S> {
    stream: SplitStream<WebSocketStream<S>>,
    limits: Limits,
    sending: Sending,
    evidence: Evidence,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    async fn run(mut self, items: mpsc::Sender<Output>, writer: AbortHandle) {
        let outcome = self.until_end(&items).await;
        // Whoever waits to write learns that it is over before the outcome can block.
        writer.abort();
        if let Some(outcome) = outcome {
            // Nobody listens any more: nobody needs to know.
            let _ = items.send(Output::Ended(outcome)).await;
        }
    }

    /// `None`: nobody listens any more.
    async fn until_end(&mut self, items: &mpsc::Sender<Output>) -> Option<Outcome> {
        loop {
            let frame = match self.message().await {
                Ok(Message::Binary(bytes)) => bytes,
                Ok(Message::Text(text)) => Bytes::from(text),
                Ok(Message::Close(reason)) => {
                    let reason = reason.map(|close| format!(" ({} {})", close.code, close.reason).trim_end().to_owned());
                    return Some(Outcome::Unknown(format!(
                        "the server closed the stream{} before it told the exit status",
                        reason.unwrap_or_default()
                    )));
                }
                Ok(_) => continue,
                Err(why) => return Some(Outcome::Unknown(why)),
            };
            let Some((&channel, _)) = frame.split_first() else { continue };
            let data = frame.slice(1..);
            let output = match channel {
                STATUS => return self.after_status(items, &data).await,
                STDOUT => Output::Stdout(data),
                STDERR => Output::Stderr(data),
                _ => continue,
            };
            self.pass_on(items, output).await?;
        }
    }

    /// The exit status is there. What the server still sends belongs to the outputs; that it closes is a courtesy.
    async fn after_status(&mut self, items: &mpsc::Sender<Output>, status: &[u8]) -> Option<Outcome> {
        while let Ok(Some(Ok(message))) = timeout(self.limits.linger, self.stream.next()).await {
            let Message::Binary(frame) = message else { continue };
            match frame.first() {
                Some(&STDOUT) => self.pass_on(items, Output::Stdout(frame.slice(1..))).await?,
                Some(&STDERR) => self.pass_on(items, Output::Stderr(frame.slice(1..))).await?,
                _ => {}
            }
        }
        Some(self.evidence.outcome(status))
    }

    async fn pass_on(&mut self, items: &mpsc::Sender<Output>, output: Output) -> Option<()> {
        let (Output::Stdout(bytes) | Output::Stderr(bytes)) = &output else { return Some(()) };
        if bytes.is_empty() {
            return Some(());
        }
        self.evidence.see(bytes);
        items.send(output).await.ok()
    }

    async fn message(&mut self) -> Result<Message, String> {
        match pump::read(&mut self.stream, &self.limits, &self.sending).await {
            Ok(Some(Ok(message))) => Ok(message),
            Ok(Some(Err(error))) => Err(broken(&error)),
            Ok(None) => Err("the connection ended before the server told the exit status".to_owned()),
            Err(quiet) => Err(pump::dead(quiet)),
        }
    }
}

fn broken(error: &Error) -> String {
    let cause = match error {
        Error::Io(error) => error.to_string(),
        Error::Protocol(error) => error.to_string(),
        Error::ConnectionClosed | Error::AlreadyClosed => "closed".to_owned(),
        other => other.to_string(),
    };
    format!("the connection broke before the server told the exit status: {}", cause.to_lowercase())
}
