//! Everything about SQLite databases: look, count, settle, rebuild, prove. Sends no messages; the session does.

mod ahead;
mod alter;
mod copy;
mod free_list;
mod header;
mod inspect;
mod kept;
mod measure;
mod open;
mod output;
mod pages;
mod query;
mod rebuild;
mod record;
mod replay;
mod rules;
mod schema;
mod settle;
mod side_files;
mod since;
mod slots;
mod sql_text;
mod sums;
mod tree;
mod trees;
mod verify;
mod walk;

pub use alter::alter;
pub use inspect::inspect;
pub use measure::measure;
pub use query::query;
pub use rebuild::rebuild;
pub use replay::replay;
pub use settle::settle;
pub use since::rows_written_since;
pub use verify::verify;
