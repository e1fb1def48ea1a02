//! How a relay's frames get into the pod and out of it: by the exec that its agent runs in, or by a port of the pod's own where that
//! can be forwarded. Does not look into the frames.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use dbmig_wire::Listener;
use dbmig_wire::relay::{ADMITTED, BY_EXEC, BY_PORT};
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::cluster::exec::Duplex;
use crate::cluster::forward::{Forward, Port};

/// Time for the agent to let us in: it is a round trip away.
const PATIENCE: Duration = Duration::from_secs(5);

/// How frames come and go. Dropping it ends the agent.
pub(super) enum Way {
    Exec(Duplex),
    /// The exec is the agent's life, and says what went wrong with it.
    Port(Port, Duplex),
}

impl Way {
    /// The faster way, if there is one, as an agent has just said where it listens.
    ///
    /// # Errors
    /// The agent can't be told which way it is.
    pub(super) async fn choose(mut exec: Duplex, forward: Option<Forward>, listener: Option<Listener>) -> io::Result<Self> {
        if let Some((forward, listener)) = forward.zip(listener) {
            let entered = timeout(PATIENCE, enter(forward, listener)).await;
            match entered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(port) => {
                    exec.write_u8(BY_PORT).await?;
                    return Ok(Self::Port(port, exec));
                }
                Err(error) => tracing::debug!(%error, "the relay goes by exec: its port can't be entered"),
            }
        }
        exec.write_u8(BY_EXEC).await?;
        Ok(Self::Exec(exec))
    }

    /// What came and was not taken yet.
    pub(super) fn unread(&self) -> &[u8] {
        match self {
            Self::Exec(exec) => exec.unread(),
            Self::Port(port, _) => port.unread(),
        }
    }

    /// Takes so many of these bytes.
    pub(super) fn consume(&mut self, count: usize) {
        match self {
            Self::Exec(exec) => exec.consume(count),
            Self::Port(port, _) => port.consume(count),
        }
    }

    /// Waits until something is unread; false when nothing comes any more, with the agent's end as it should be.
    pub(super) fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        match self {
            Self::Exec(exec) => exec.poll_unread(cx),
            Self::Port(port, exec) => match port.poll_unread(cx) {
                Poll::Ready(Ok(true)) => Poll::Ready(Ok(true)),
                // The agent knows best why; what it says on its stdout is no part of this.
                Poll::Ready(Ok(false)) => exec.poll_unread(cx).map_ok(|_| false),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                // Its signs of life are taken, too, and what it dies of is not waited for.
                Poll::Pending => match exec.poll_unread(cx) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
                },
            },
        }
    }

    /// Waits until something can be sent and sends what `fill` appends, about so many bytes, in one piece.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        size: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Exec(exec) => exec.poll_send(cx, size, fill),
            Self::Port(port, _) => port.poll_send(cx, size, fill),
        }
    }
}

/// The connection that the agent has admitted us by.
async fn enter(forward: Forward, listener: Listener) -> io::Result<Port> {
    let mut port = forward.port(listener.port)?;
    port.send(listener.token.as_bytes()).await?;
    if !port.wait().await? || port.unread().first() != Some(&ADMITTED) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    port.consume(1);
    Ok(port)
}
