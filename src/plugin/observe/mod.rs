//! What is going on: logs, states, events and our own operations as one timeline. Reads only, prints nothing.

mod change;
mod copied;
mod copies;
mod copy;
mod facts;
mod holders;
mod incident;
mod logs;
mod observer;
mod pod;
mod scope;
mod until;
mod usage;
mod verdict;
mod watch;
mod workload;

pub use change::Change;
pub use copy::{CopyRow, SlotRow};
pub use facts::Facts;
pub use incident::Incident;
pub use logs::{Choice, Ending, Heard, Instance, Kept, Line, Role, Source, Start, gather, pack, read, unpack};
pub use observer::{News, Observer};
pub use pod::PodRow;
pub use scope::{MIGRATION, Pods, Scope, migrations};
pub use until::{Reached, Until};
pub use usage::Usage;
pub use verdict::{Standing, Verdict};
pub use watch::Subject;
pub use workload::{ClaimRow, JobRow, JobState, WorkloadRow};
