//! Lines of a log stream, as many at a time as have come. A server sends each line by itself, and to wake up for each costs more than
//! the line.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use futures::{AsyncBufRead, AsyncBufReadExt as _, FutureExt as _};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use super::line::Splitter;

/// After a look at a stream the next one waits for the end of such a period. All streams look at the same moments, so that what they
/// have is printed at once. No line waits longer for it than a person notices; one that comes after a pause does not wait at all.
const PERIOD: Duration = Duration::from_millis(25);
static FIRST_PERIOD: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Bytes after which a batch is passed on though there is more.
const LARGE: usize = 256 << 10;
/// How often the connection is given a turn before a stream counts as drained for now.
const TURNS: usize = 2;

/// A stream, and what of it is no whole line yet.
pub(super) struct Batches<R> {
    reader: R,
    splitter: Splitter,
    drained: bool,
    quiet: Duration,
    /// The server itself ended the stream.
    complete: bool,
    /// It broke; at the next look it seems to have ended.
    broke: bool,
}

impl<R: AsyncBufRead + Unpin> Batches<R> {
    /// Ends too when nothing has come for as long as `quiet`.
    pub(super) fn new(reader: R, quiet: Duration) -> Self {
        Self { reader, splitter: Splitter::default(), drained: false, quiet, complete: false, broke: false }
    }

    /// The next lines, as they came, perhaps none; `None` at the end of the stream, or when it broke or stays quiet.
    pub(super) async fn next(&mut self) -> Option<Vec<Bytes>> {
        if self.drained {
            let into = FIRST_PERIOD.elapsed().as_micros() % PERIOD.as_micros();
            sleep(PERIOD - Duration::from_micros(into as u64)).await;
        }
        let mut size = timeout(self.quiet, self.chunk()).await.ok()??;
        let mut turns = 0;
        while size < LARGE && turns < TURNS {
            match self.chunk().now_or_never() {
                Some(Some(more)) => {
                    size += more;
                    turns = 0;
                }
                // The next look sees the end again.
                Some(None) => break,
                None => {
                    turns += 1;
                    yield_now().await;
                }
            }
        }
        self.drained = turns == TURNS;
        Some(std::iter::from_fn(|| self.splitter.next_line()).collect())
    }

    /// The server itself ended the stream: nothing broke.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// What is left at the end of the stream: a line that its writer did not end.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        self.splitter.rest()
    }

    /// Takes one chunk in; its size. Loses nothing when dropped.
    async fn chunk(&mut self) -> Option<usize> {
        let chunk = self.reader.fill_buf().await.inspect_err(|_| self.broke = true).ok()?;
        if chunk.is_empty() {
            self.complete = !self.broke;
            return None;
        }
        self.splitter.feed(chunk);
        let size = chunk.len();
        self.reader.consume_unpin(size);
        Some(size)
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, TryStreamExt as _, stream};

    use super::*;

    #[tokio::test]
    async fn what_comes_together_is_passed_on_together_and_nothing_is_lost() {
        let chunks = |count: usize| stream::iter((0..count).map(|n| Ok(format!("{n}\n{n}"))));
        let (go_on, paused) = tokio::sync::oneshot::channel();
        let pause = stream::once(async {
            paused.await.unwrap();
            Ok("x\n".to_owned())
        });
        let broken = stream::iter([Err(std::io::Error::other("broken"))]);
        let reader = chunks(3).chain(pause).chain(chunks(50_000)).chain(broken).boxed().into_async_read();
        let mut batches = Batches::new(reader, Duration::from_secs(9));
        assert_eq!(batches.next().await.unwrap(), ["0", "01", "12"]);
        go_on.send(()).unwrap();
        let mut lines = Vec::new();
        let mut count = 0;
        while let Some(batch) = batches.next().await {
            lines.extend(batch);
            count += 1;
        }
        assert_eq!((lines[0].as_ref(), lines.len(), batches.rest().unwrap().as_ref()), (&b"2x"[..], 50_001, &b"49999"[..]));
        assert!((2..10).contains(&count), "{count} batches");
        assert!(!batches.is_complete());
    }

    #[tokio::test]
    async fn a_stream_that_stays_quiet_ends() {
        let reader = stream::iter([Ok("a\n")]).chain(stream::pending()).boxed().into_async_read();
        let mut batches = Batches::new(reader, Duration::from_millis(10));
        assert_eq!(batches.next().await.unwrap(), ["a"]);
        assert_eq!(batches.next().await, None);
    }
}
