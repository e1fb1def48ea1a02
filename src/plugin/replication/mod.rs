//! Moving a PostgreSQL database while it is written to: what logical replication carries over, and what proves it.

mod canary;
mod content;
mod decoding;
mod lsn;
mod pgcopydb;
mod ready;
mod rights;
mod room;
mod sequences;
mod sessions;
mod slot;
mod standby;
mod work;
mod written;

pub use canary::Canary;
pub use content::{Baseline, Difference, Proof, Settling, Table, Verify, compare, tables};
pub use decoding::{Decoding, decoding};
pub use lsn::Lsn;
pub use pgcopydb::{Copier, SLOT, SOURCE, Sentinel, TARGET, connect};
pub use ready::ready;
pub use rights::{Freeze, Right, differences, revokes, rights, still_allowed};
pub use room::Rooms;
pub use sequences::{Behind, behind, catch_up};
pub use sessions::{Writer, end_sessions, is_connected, writers};
pub use slot::{Slot, applied, drop_origin, drop_slot, settled_slot, slot};
pub use standby::{Receiver, Standing, fork, largest, receiver, replicas, rows_of, standing};
pub use work::{CATALOG, Part, Phase, Work};
pub use written::{Written, written};

use crate::failure::{Failure, Result};
use serde_json::Value;

/// The first column of the only row of an answer, as text.
fn text(rows: &[Vec<Value>]) -> Option<&str> {
    rows.first()?.first()?.as_str()
}

/// What a server answered is not what was asked for: a bug, or something between us and the server.
fn odd(what: &str) -> Failure {
    Failure::failed(format!("the server's answer about {what} can't be understood"))
}

/// The JSON value that a question answers with in its only row.
fn json<T: serde::de::DeserializeOwned>(rows: &[Vec<Value>], what: &str) -> Result<T> {
    let value = rows.first().and_then(|row| row.first()).cloned().unwrap_or_default();
    serde_json::from_value(value).map_err(|error| odd(what).fact(error.to_string()))
}
