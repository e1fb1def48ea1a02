//! The logs of containers as one stream that survives restarts and broken connections. Prints nothing.

mod batch;
mod cursor;
mod instance;
mod kept;
mod line;
mod once;
mod tail;
mod tailing;

pub use instance::{Ending, Instance, Role, Source};
pub use kept::{Kept, gather, pack, unpack};
pub use line::Line;
pub use once::read;
pub use tail::Start;
pub use tailing::Choice;
pub(super) use tailing::Tailing;

/// What happens to a log.
#[derive(Debug, Clone)]
pub enum Heard {
    /// A container's log begins, or that of its next start.
    Opened(Source, Instance),
    /// Lines, in the order in which they were written.
    Lines(Source, Vec<Line>),
    /// A start of the container is over and its log read to the end.
    Ended(Source, Instance),
    /// Something a person must know to judge the log: lines that cannot be had.
    Gap(Source, String),
}
