//! Calls about files and volumes: find, stat, read, remove, copy, send and receive. Must not know what is in a database beyond its first bytes.

mod attributes;
mod copy;
mod find;
mod part;
mod proof;
mod read;
mod remove;
mod room;
mod stat;
mod transfer;

pub(crate) use attributes::carry;
pub use copy::copy;
pub(crate) use copy::own;
pub use find::find;
pub(crate) use part::{new_part, put_in_place};
pub use proof::{digest, sync_folder};
pub use read::read;
pub(crate) use remove::remove_with_left_behind;
pub use remove::{is_ours, remove};
pub(crate) use room::{data, lacking};
pub use stat::{facts, stat, volume};
pub use transfer::{receive, send};
