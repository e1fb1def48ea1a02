//! Ctrl-C and SIGTERM: the first asks the work to stop where it is safe, the second leaves at once. Ends no process itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant, sleep};

use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::ui::Ui;

/// Between two looks at what nobody tells of.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether the work has been asked to stop. Cheap to clone; all clones share it.
#[derive(Debug, Clone)]
pub struct Stop {
    asked: Arc<watch::Sender<bool>>,
    interruptible: Arc<AtomicUsize>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { asked: Arc::new(watch::Sender::new(false)), interruptible: Arc::default() }
    }
}

impl Stop {
    /// Asks the work to stop at its next safe point.
    pub fn request(&self) {
        self.asked.send_replace(true);
    }

    /// The work has been asked to stop.
    #[must_use]
    pub fn requested(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits until the work is asked to stop; at once if it has been already.
    pub async fn wait(&self) {
        // The sender lives as long as `self`, so the only way out is the request.
        let _ = self.asked.subscribe().wait_for(|asked| *asked).await;
    }

    /// Does work that changes nothing and may be dropped at any moment: looking, waiting for an answer.
    ///
    /// # Errors
    /// The work was asked to stop before it was done (interrupted).
    pub async fn interruptible<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let _inside = Inside::new(&self.interruptible);
        tokio::select! {
            biased;
            () = self.wait() => Err(interrupted()),
            done = work => Ok(done),
        }
    }

    /// Lets some time pass before the next look at what nobody tells of.
    ///
    /// # Errors
    /// `TimedOut` with what is waited for when it is later than `until`; interrupted.
    pub async fn pause(&self, until: Instant, waiting: &str) -> Result<()> {
        if Instant::now() > until {
            return Err(Failure::new(Exit::TimedOut, waiting));
        }
        let stopped = |_| Failure::new(Exit::Interrupted, "stopped while waiting").fact(waiting);
        self.interruptible(sleep(PAUSE)).await.map_err(stopped)
    }

    fn ends_at_once(&self) -> bool {
        self.interruptible.load(Ordering::Relaxed) > 0
    }
}

/// Work that changes nothing was told to stop.
pub(crate) fn interrupted() -> Failure {
    Failure::new(Exit::Interrupted, "interrupted").state("nothing was changed")
}

/// Counts the places that end by themselves as soon as they are asked.
struct Inside<'a>(&'a AtomicUsize);

impl<'a> Inside<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ctrl-C, SIGTERM and the terminal's end, one message each. Must be called inside the runtime.
///
/// # Errors
/// The operating system does not let signals be caught.
pub fn signals() -> Result<mpsc::UnboundedReceiver<()>> {
    let (signals_tx, signals_rx) = mpsc::unbounded_channel();
    for mut signal in
        caught().map_err(|error| Failure::failed(format!("cannot catch signals: {error}")).state("nothing was changed"))?
    {
        let signals_tx = signals_tx.clone();
        tokio::spawn(async move { while signal.recv().await.is_some() && signals_tx.send(()).is_ok() {} });
    }
    Ok(signals_rx)
}

#[cfg(unix)]
fn caught() -> std::io::Result<Vec<tokio::signal::unix::Signal>> {
    use tokio::signal::unix::{SignalKind, signal};
    [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].into_iter().map(signal).collect()
}

#[cfg(windows)]
fn caught() -> std::io::Result<Vec<tokio::signal::windows::CtrlC>> {
    Ok(vec![tokio::signal::windows::ctrl_c()?])
}

/// Passes the first signal on as a request to stop and returns at the second one, with the reason to leave.
pub async fn escalate(mut signals: mpsc::UnboundedReceiver<()>, stop: &Stop, ui: &Ui) -> Failure {
    let Some(()) = signals.recv().await else { return std::future::pending().await };
    let talks = !stop.ends_at_once();
    stop.request();
    if talks {
        ui.warn("stopping at the next safe point; press Ctrl-C again to leave at once (the operation can be resumed)");
    }
    let Some(()) = signals.recv().await else { return std::future::pending().await };
    Failure::new(Exit::Interrupted, "left at once")
        .state("an operation that had begun stays as it is, whole and recorded")
        .next("kubectl dbmig resume")
        .next("kubectl dbmig undo")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::{Format, Terminals};

    fn ui() -> Ui {
        Ui::new(Terminals::default(), Format::Table, false)
    }

    #[tokio::test]
    async fn the_first_signal_asks_and_the_second_leaves() {
        let (signals_tx, signals_rx) = mpsc::unbounded_channel();
        let stop = Stop::default();
        let escalating = tokio::spawn({
            let stop = stop.clone();
            async move { escalate(signals_rx, &stop, &ui()).await }
        });
        assert!(!stop.requested());
        signals_tx.send(()).expect("someone listens");
        stop.wait().await;
        assert!(stop.requested());
        assert!(!escalating.is_finished());
        signals_tx.send(()).expect("someone listens");
        assert_eq!(escalating.await.expect("it ends by itself").exit, Exit::Interrupted);
    }

    #[tokio::test]
    async fn a_look_ends_as_soon_as_it_is_asked() {
        let stop = Stop::default();
        assert_eq!(stop.interruptible(async { 7 }).await, Ok(7));
        assert!(!stop.ends_at_once());
        let looking = stop.interruptible(std::future::pending::<()>());
        let asking = async {
            assert!(stop.ends_at_once());
            stop.request();
        };
        let (looked, ()) = tokio::join!(looking, asking);
        assert_eq!(looked.map_err(|failure| failure.exit), Err(Exit::Interrupted));
        assert!(!stop.ends_at_once());
    }

    #[tokio::test]
    async fn waiting_after_the_request_is_no_wait() {
        let stop = Stop::default();
        stop.request();
        stop.wait().await;
    }
}
