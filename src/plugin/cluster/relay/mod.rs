//! Connections that are made inside a pod and used here. Does not know what is said on them.
//!
//! They go through the API server in frames that are packed where that makes them faster ([`dbmig_wire::relay`]), by a forwarded port
//! where that is allowed, else by the exec: each byte takes half the time on the former, and is copied many times on both.

mod way;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use dbmig_wire::relay::{Packer, Piece, Unpacker};
use dbmig_wire::{Connected, Message};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};

use self::way::Way;
use super::agent::{Agent, AskError};
use super::exec::Duplex;

/// The agent tries a few addresses of one name, ten seconds each.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first line is short.
const LINE_BYTES: usize = 8192;

/// What a connection is made to, as the pod sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoint {
    /// A name or an address, and a port.
    Tcp(String, u16),
    /// Absolute path of a Unix socket, a sidecar's for instance.
    Socket(String),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Socket(path) => f.write_str(path),
        }
    }
}

/// An open connection. Dropping it closes it, and the agent's process in the pod ends.
pub struct Relay {
    way: Way,
    packer: Packer,
    /// Since when the next frame waits to be taken.
    waiting: Option<Instant>,
    unpacker: Unpacker,
    /// Nothing is sent any more.
    ended: bool,
    /// The address that answered, as the pod resolved it.
    pub to: String,
    /// The pod's own address and port on this connection; `None` for a socket.
    pub from: Option<SocketAddr>,
}

impl Relay {
    /// Connects from where the agent is.
    ///
    /// # Errors
    /// [`AskError::Agent`] with what the pod's network says: `UnknownHost`, `Refused`, `Unreachable`, `TimedOut`, and for
    /// sockets `NotFound` and `Permission`; else what keeps the agent from being asked.
    pub async fn open(agent: &Agent, to: &Endpoint) -> Result<Self, AskError> {
        let (argv, forward) = (["relay", &to.to_string()], agent.forward());
        let (exec, forward) = tokio::join!(agent.run(&argv), forward);
        let mut exec = exec?.duplex();
        let silent = |_| AskError::Lost(format!("nothing heard for {} s", PATIENCE.as_secs()));
        let line = timeout(PATIENCE, first_line(&mut exec)).await.map_err(silent)?;
        let line = line.map_err(|error| AskError::Lost(error.to_string()))?;
        match serde_json::from_slice(&line) {
            Ok(Message::Done(said)) => match serde_json::from_value(said) {
                Ok(Connected { to, from, listener }) => {
                    let way = Way::choose(exec, forward, listener).await.map_err(|error| AskError::Lost(error.to_string()))?;
                    let (packer, unpacker) = Default::default();
                    Ok(Self { way, packer, waiting: None, unpacker, ended: false, to, from })
                }
                Err(error) => Err(AskError::Lost(format!("unreadable answer: {error}"))),
            },
            Ok(Message::Failed(error)) => Err(AskError::Agent(error)),
            _ => Err(AskError::Lost("the helper did not say whether it is connected".to_owned())),
        }
    }
}

/// The agent sends nothing behind it before it is told which way.
async fn first_line(stream: &mut Duplex) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => return Ok(line),
            byte if line.len() < LINE_BYTES => line.push(byte),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "the helper's first line has no end")),
        }
    }
}

impl Relay {
    /// Puts content that has come into `buf`; false: more has to come first.
    fn unpack(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let mut input = self.way.unread();
        let (given, most) = (input.len(), buf.remaining());
        let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let done = match self.unpacker.next(&mut input, most).map_err(broken)? {
            Piece::Content(bytes) => {
                buf.put_slice(bytes);
                true
            }
            Piece::More => false,
            Piece::End => true,
        };
        let taken = given - input.len();
        self.way.consume(taken);
        Ok(done)
    }
}

impl AsyncRead for Relay {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while buf.remaining() > 0 && !self.unpack(buf)? {
            if !ready!(self.way.poll_unread(cx))? {
                let cut = "the helper ended without a word about the end of its connection";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, cut)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Relay {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { way, packer, waiting, .. } = &mut *self;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let (room, mut taken) = (Packer::room(bytes.len()), 0);
        let sent = way.poll_send(cx, room, |frame| taken = packer.pack(bytes, frame));
        if sent.is_pending() {
            waiting.get_or_insert_with(Instant::now);
        }
        ready!(sent)?;
        packer.took(taken, waiting.take().map_or(Duration::ZERO, |since| since.elapsed()));
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Frames are on their way as soon as they are written.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            // Where nothing is taken any more, there is nobody left to tell.
            let _ = ready!(self.way.poll_send(cx, Packer::room(0), Packer::end));
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}
