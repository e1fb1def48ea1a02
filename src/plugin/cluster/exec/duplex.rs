//! Stdin and stdout of a command as one stream, for a protocol that is spoken with it. Its stderr is only remembered.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::PollSender;

use super::stream::{end_of_stdin, stdin_with};
use super::{FRAME_BYTES, Outcome, Output, Outputs, Process, keep};

/// The first bytes that it says on stderr are enough to know what is wrong, in bytes.
const STDERR_BYTES: usize = 1024;

/// Reads stdout and writes stdin. Dropping it ends the exec; whether the remote program notices is its own business.
///
/// A command that ended well ends the stream; any other end is an error that says how it ended.
pub struct Duplex {
    frames: PollSender<Message>,
    outputs: Outputs,
    half_close: bool,
    unread: Bytes,
    stderr: Vec<u8>,
}

impl Duplex {
    pub(super) fn new(process: Process) -> Self {
        let (input, outputs) = process.split();
        let half_close = input.half_close;
        Self { frames: PollSender::new(input.frames), outputs, half_close, unread: Bytes::new(), stderr: Vec::new() }
    }

    /// What came on its stdout and was not taken yet.
    pub(in crate::cluster) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Takes so many of these bytes.
    pub(in crate::cluster) fn consume(&mut self, count: usize) {
        self.unread.advance(count);
    }

    /// Waits until something is unread; false at the end of a command that ended well.
    pub(in crate::cluster) fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.unread.is_empty() {
            match ready!(self.outputs.poll_next(cx)) {
                Output::Stdout(bytes) => self.unread = bytes,
                Output::Stderr(bytes) => drop(keep(&mut self.stderr, &bytes, STDERR_BYTES)),
                Output::Ended(outcome) => return Poll::Ready(self.end(&outcome).map(|()| false)),
            }
        }
        Poll::Ready(Ok(true))
    }

    /// Waits until stdin takes something and sends what `fill` appends, about so many bytes, in one piece.
    pub(in crate::cluster) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        size: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Poll<io::Result<()>> {
        // What closed it comes out of reading.
        let closed = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the remote command takes no more input");
        ready!(self.frames.poll_reserve(cx)).map_err(closed)?;
        Poll::Ready(self.frames.send_item(stdin_with(size, fill)).map_err(closed))
    }

    fn end(&self, outcome: &Outcome) -> io::Result<()> {
        if outcome.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&self.stderr);
        let said = said.trim();
        let why = if said.is_empty() { outcome.to_string() } else { format!("{outcome}: {said}") };
        let kind = match outcome {
            Outcome::Unknown(_) => io::ErrorKind::ConnectionReset,
            Outcome::NotStarted(_) | Outcome::Exited(_) => io::ErrorKind::ConnectionAborted,
        };
        Err(io::Error::new(kind, why))
    }
}

impl AsyncRead for Duplex {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if ready!(self.poll_unread(cx))? {
            let count = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread[..count]);
            self.consume(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let piece = &bytes[..bytes.len().min(FRAME_BYTES)];
        ready!(self.poll_send(cx, piece.len(), |frame| frame.extend_from_slice(piece)))?;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Frames are on their way as soon as they are written.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // With v4 there is no way to say it: the remote program learns when this is dropped.
        if self.half_close && ready!(self.frames.poll_reserve(cx)).is_ok() {
            // Ended already: there is nobody left to tell.
            let _ = self.frames.send_item(end_of_stdin());
        }
        self.half_close = false;
        Poll::Ready(Ok(()))
    }
}
