//! What the engine and its steps tell while they work. [`crate::ui`] draws these and knows none of the work.

use std::time::Duration;

use dbmig_wire::Progress;
use tokio::sync::mpsc;

/// Something that happened while a plan was carried out or taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step begins. `index` counts from 1.
    #[allow(missing_docs, reason = "named by the variant")]
    StepStarted { index: usize, of: usize, title: String },
    /// A step looked and found itself done already.
    #[allow(missing_docs, reason = "named by the variant")]
    StepAlready { index: usize, of: usize, title: String },
    /// Our binary was copied into a container; `elapsed` is the time from the first byte to its own proof.
    #[allow(missing_docs, reason = "named by the variant")]
    Payload { pod: String, container: String, way: String, bytes: u64, elapsed: Duration },
    /// The step that runs got further.
    Progress(Progress),
    /// The step that runs has something to say, as one line.
    Note(String),
    /// A container that the step that runs follows has written a line.
    #[allow(missing_docs, reason = "named by the variant")]
    Said { container: String, line: String },
    /// The step that runs is done; `summary` may be empty.
    #[allow(missing_docs, reason = "named by the variant")]
    StepDone { title: String, summary: String, elapsed: Duration },
    /// The step that runs failed; the failure itself is reported by the command.
    #[allow(missing_docs, reason = "named by the variant")]
    StepFailed { title: String },
}

/// Where events go. Sent by the engine and its steps; received by [`crate::ui`].
#[derive(Debug, Clone)]
pub struct Events(mpsc::UnboundedSender<Event>);

impl Events {
    /// A sender and the receiver that the screen draws from.
    #[must_use]
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (events_tx, events_rx) = mpsc::unbounded_channel();
        (Self(events_tx), events_rx)
    }

    /// Tells; a screen that is gone is no reason to stop the work.
    pub fn tell(&self, event: Event) {
        let _ = self.0.send(event);
    }

    /// Tells one line.
    pub fn note(&self, text: impl Into<String>) {
        self.tell(Event::Note(text.into()));
    }
}
