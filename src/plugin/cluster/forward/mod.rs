//! A port of a pod's own, by the API server's `portforward`: the one way to it that is no program's stdin and stdout. Does not know
//! what is said there.
//!
//! Speaks SPDY, as kubectl has done from its first day. WebSocket, which servers can too, is what kube's own `portforward` speaks:
//! the runtimes unpack each of its frames byte by byte, at half the speed.

mod spdy;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::{Request, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use tokio::io::ReadHalf;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::codec::{BytesCodec, FramedRead, FramedWrite};
use tokio_util::sync::PollSender;

use self::spdy::{DATA, Frame, Frames, TROUBLE};
use super::Cluster;
use super::error::Context as _;
use super::exec::Limits;
use super::pump::{self, Sending};
use crate::failure::{Failure, Result};

/// What the connection is to be switched to.
const PROTOCOL: &str = "SPDY/3.1";
/// What is spoken on that.
const STREAMS: (&str, &str) = ("x-stream-protocol-version", "portforward.k8s.io");
/// Pieces that may wait for their reader.
const PIECES: usize = 64;
/// Room for what comes at once, in bytes: more than a frame of the runtimes' has.
const READ_BYTES: usize = 128 << 10;

/// A way to the ports of a pod, for one connection.
pub struct Forward {
    upgraded: TokioIo<Upgraded>,
    limits: Limits,
}

impl Cluster {
    /// Opens a way to the ports of a pod. Whether anybody listens there only shows in a [`Port`].
    ///
    /// # Errors
    /// The API server doesn't open it: no such pod, not allowed, a proxy in the way.
    pub async fn forward(&self, namespace: &str, pod: &str, limits: Limits) -> Result<Forward> {
        let what = format!("forward a port of pod {namespace}/{pod}");
        let request = Request::post(format!("/api/v1/namespaces/{namespace}/pods/{pod}/portforward"))
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, PROTOCOL)
            .header(STREAMS.0, STREAMS.1)
            .body(Body::empty());
        let failed = |why: String| Failure::failed(format!("cannot {what}")).fact(why);
        let request = request.map_err(|error| failed(error.to_string()))?;
        let opened = timeout(limits.open, self.client.send(request)).await;
        let response = opened
            .map_err(|_| failed(format!("the API server did not open the stream within {} s", limits.open.as_secs_f64())))?
            .doing(&what)?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {
                let upgraded = hyper::upgrade::on(response).await.map_err(|error| failed(error.to_string()))?;
                Ok(Forward { upgraded: TokioIo::new(upgraded), limits })
            }
            status => Err(failed(format!("the API server was asked to switch to {PROTOCOL} and answered {status}"))),
        }
    }
}

impl Forward {
    /// Opens the connection to a port of the pod's 127.0.0.1.
    ///
    /// # Errors
    /// zlib refuses to pack what opens it.
    pub fn port(self, port: u16) -> io::Result<Port> {
        let Self { upgraded, limits } = self;
        let (read, write) = tokio::io::split(upgraded);
        let (frames_tx, frames_rx) = mpsc::channel(pump::WAITING);
        let (pieces_tx, pieces) = mpsc::channel(PIECES);
        let first = spdy::open(port)?;
        // There is room in a new one.
        let _ = frames_tx.try_send(first);
        let sending = Sending::default();
        let mut number = 1;
        let ping = move || {
            let ping = spdy::ping(number);
            number += 2;
            ping
        };
        let mut tasks = JoinSet::new();
        let sink = FramedWrite::new(write, BytesCodec::new());
        tasks.spawn(pump::write(sink, frames_rx, ping, limits, Arc::clone(&sending)));
        let frames = FramedRead::with_capacity(read, Frames, READ_BYTES);
        let reader = Reader { frames, limits, sending, answers: frames_tx.clone(), ended: false };
        tasks.spawn(reader.run(pieces_tx));
        Ok(Port { frames: PollSender::new(frames_tx), pieces, unread: Bytes::new(), _tasks: tasks })
    }
}

/// An open connection to a port. Dropping it closes it.
pub struct Port {
    frames: PollSender<Bytes>,
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    unread: Bytes,
    /// They end with it.
    _tasks: JoinSet<()>,
}

impl Port {
    /// What came and was not taken yet.
    pub(super) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Takes so many of these bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.unread.advance(count);
    }

    /// Waits until something is unread; false at the end.
    pub(super) fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.unread.is_empty() {
            match ready!(self.pieces.poll_recv(cx)) {
                Some(piece) => self.unread = piece?,
                None => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    }

    /// [`Self::poll_unread`] for who has nothing else to do.
    ///
    /// # Errors
    /// The connection broke, or there is none: nobody listens on that port.
    pub(super) async fn wait(&mut self) -> io::Result<bool> {
        poll_fn(|cx| self.poll_unread(cx)).await
    }

    /// Sends a few bytes.
    ///
    /// # Errors
    /// The connection takes nothing more; [`Self::wait`] tells why.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        poll_fn(|cx| self.poll_send(cx, bytes.len(), |frame| frame.extend_from_slice(bytes))).await
    }

    /// Waits until the connection takes something and sends what `fill` appends, about so many bytes, in one piece.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        size: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Poll<io::Result<()>> {
        // What closed it comes out of reading.
        let closed = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the forwarded port takes nothing more");
        ready!(self.frames.poll_reserve(cx)).map_err(closed)?;
        Poll::Ready(self.frames.send_item(spdy::data(size, fill)).map_err(closed))
    }
}

struct Reader {
    frames: FramedRead<ReadHalf<TokioIo<Upgraded>>, Frames>,
    limits: Limits,
    sending: Sending,
    answers: mpsc::Sender<Bytes>,
    /// Nothing follows from the port.
    ended: bool,
}

impl Reader {
    async fn run(mut self, pieces: mpsc::Sender<io::Result<Bytes>>) {
        while let Some(piece) = self.next().await.transpose() {
            let broken = piece.is_err();
            // Nobody listens any more: nobody needs to know.
            if pieces.send(piece).await.is_err() || broken {
                return;
            }
        }
    }

    /// The next bytes from the port; `None`: it has ended.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let reset = |why: &str| io::Error::new(io::ErrorKind::ConnectionReset, why.to_owned());
        while !self.ended {
            let frame = match pump::read(&mut self.frames, &self.limits, &self.sending).await {
                Ok(Some(frame)) => frame?,
                Ok(None) => return Err(reset("the API server has closed the connection to the port")),
                Err(quiet) => return Err(reset(&pump::dead(quiet))),
            };
            match frame {
                Frame::Data { stream: DATA, content, last } => {
                    self.ended = last;
                    if !content.is_empty() {
                        return Ok(Some(content));
                    }
                }
                Frame::Data { stream: TROUBLE, content, .. } if !content.is_empty() => {
                    return Err(reset(String::from_utf8_lossy(&content).trim()));
                }
                Frame::Reset { stream: DATA | TROUBLE } => return Err(reset("the connection to the port was reset")),
                // One that has no answer costs nothing: to wait here for the other task could block both sides.
                Frame::Ping(number) if number % 2 == 0 => drop(self.answers.try_send(spdy::ping(number))),
                Frame::Data { .. } | Frame::Reset { .. } | Frame::Ping(_) | Frame::Other => {}
            }
        }
        Ok(None)
    }
}
