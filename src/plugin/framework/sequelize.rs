//! Sequelize, and what else uses umzug's table: the names of the files that ran. No lock, and no transaction unless the file
//! opens one.

use super::Framework;
use super::available::{named, without};
use super::journal::{Columns, Journal, NONE, Sign};
use super::table::Signature;

const ENDINGS: [&str; 4] = [".js", ".cjs", ".mjs", ".ts"];

/// Sequelize.
pub(super) const SEQUELIZE: Journal = Journal {
    framework: Framework::Sequelize,
    signature: Signature::with_others(&["name"], 2),
    sign: Sign::Ids(|id, _| without(id, &ENDINGS).is_some(), "SequelizeMeta"),
    order: "name",
    columns: Columns { id: "name", at: "createdat", ..NONE },
    lock: |_, _| None,
    suffixes: &ENDINGS,
    available: |scripts| named(scripts, |name| without(name, &ENDINGS).map(|_| name.to_owned())),
    stamp: |state, id| {
        let times = ["createdat", "updatedat"].into_iter().filter(|column| state.table.has(column));
        let times = times.map(|column| (column, state.table.now(column)));
        Ok([("name", state.table.dialect.text(id))].into_iter().chain(times).collect())
    },
};
