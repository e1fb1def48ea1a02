//! What a stream to the API server needs whatever is said on it: one task that only writes it, one that only reads it, and signs of
//! life. Neither task ever waits for the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::exec::Limits;

/// Messages that may wait on their way to the socket.
pub(super) const WAITING: usize = 8;

/// Whether a message is on its way into the socket just now.
pub(super) type Sending = Arc<AtomicBool>;

/// Sends what comes, and a ping now and then, until the connection breaks: the reader sees that too and says so.
pub(super) async fn write<M>(
    mut sink: impl Sink<M> + Unpin,
    mut messages: mpsc::Receiver<M>,
    mut ping: impl FnMut() -> M,
    limits: Limits,
    sending: Sending,
) {
    let mut pings = interval(limits.ping);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut more = true;
    loop {
        let message = tokio::select! {
            biased;
            _ = pings.tick() => ping(),
            message = messages.recv(), if more => match message {
                Some(message) => message,
                None => { more = false; continue; }
            },
        };
        sending.store(true, Ordering::Relaxed);
        let sent = sink.send(message).await;
        sending.store(false, Ordering::Relaxed);
        if sent.is_err() {
            return;
        }
    }
}

/// What comes next; `None` at the end.
///
/// # Errors
/// Nothing came for so long, which is what it carries, that the connection must be dead.
pub(super) async fn read<S: Stream + Unpin>(
    stream: &mut S,
    limits: &Limits,
    sending: &Sending,
) -> Result<Option<S::Item>, Duration> {
    let mut quiet = Duration::ZERO;
    loop {
        if let Ok(item) = timeout(limits.silence, stream.next()).await {
            return Ok(item);
        }
        quiet += limits.silence;
        if !sending.load(Ordering::Relaxed) || quiet >= limits.stall {
            return Err(quiet);
        }
    }
}

/// [`read`]'s error in words.
pub(super) fn dead(quiet: Duration) -> String {
    format!("the connection is dead: nothing came for {} s, not even the answer to a ping", quiet.as_secs_f64())
}
