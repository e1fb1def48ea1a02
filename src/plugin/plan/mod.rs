//! The engine behind every changing command: steps that look, act and can be taken back; the record that `resume`
//! and `undo` work from; the Lease that keeps a second operation out. Knows nothing of any database or workload.

mod attachment;
mod engine;
mod lease;
mod memory;
mod record;
mod step;
mod store;

pub use attachment::MOST_BYTES;
pub use engine::{Engine, Report};

pub use lease::{Holder, Lease, LockName};
pub use memory::{ATTENTION, FAILED, KEPT, Memory};
pub use record::{Phase, Record, StepRecord, StepState};
pub use step::{Look, Run, Step};
pub use store::{LABEL_COMMAND, LABEL_LOCK, Store};
