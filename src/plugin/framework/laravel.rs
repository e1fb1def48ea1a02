//! Laravel: a row for each applied migration, with the number of its run.

use super::Framework;
use super::available::{named, without};
use super::journal::{Columns, Journal, NONE, Sign, batch_of};
use super::table::Signature;

/// Laravel.
pub(super) const LARAVEL: Journal = Journal {
    framework: Framework::Laravel,
    signature: Signature::exactly(&["id", "migration", "batch"]),
    sign: Sign::Columns,
    order: "id",
    columns: Columns { id: "migration", batch: "batch", key: "id", ..NONE },
    lock: |_, _| None,
    suffixes: &[".php"],
    available: |scripts| named(scripts, |name| without(name, &[".php"]).map(str::to_owned)),
    stamp: |state, id| Ok(vec![("migration", state.table.dialect.text(id)), ("batch", batch_of(state, id).to_string())]),
};
