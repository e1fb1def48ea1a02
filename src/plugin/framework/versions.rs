//! Rails, dbmate and Ecto: a table of version numbers, `schema_migrations` for all three.

use super::available::numbered;
use super::journal::{Columns, Journal, NONE, Sign, Values};
use super::lock::{Key, by_database};
use super::table::{Kind, Signature};
use super::{Framework, State, Table};
use crate::database::Dialect;

fn is_number(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())
}

const VERSION: Columns = Columns { id: "version", ..NONE };

/// The version as its column has it: Ecto's is a number, those of the others are text.
fn version(state: &State, id: &str) -> Result<Values, String> {
    if !is_number(id) {
        return Err(format!("{} knows migrations by their numbers, and {id} is none", state.framework));
    }
    let is_text = state.table.column("version").is_none_or(|column| column.kind == Kind::Text);
    Ok(vec![("version", if is_text { state.table.dialect.text(id) } else { id.to_owned() })])
}

/// Rails, told from dbmate by the table that only it keeps beside.
pub(super) const RAILS: Journal = Journal {
    framework: Framework::Rails,
    signature: Signature::exactly(&["version"]),
    sign: Sign::Sibling("ar_internal_metadata", &[Signature::exactly(&["key", "value", "created_at", "updated_at"])]),
    order: "version",
    columns: VERSION,
    lock: |table, database| by_database(Framework::Rails, table, database),
    suffixes: &[".rb"],
    available: |scripts| numbered(scripts, &[".rb"], false),
    stamp: version,
};

/// dbmate.
pub(super) const DBMATE: Journal = Journal {
    framework: Framework::Dbmate,
    signature: Signature::exactly(&["version"]),
    // Short numbers may be anybody's.
    sign: Sign::Ids(|id, usual| is_number(id) && (usual || id.len() >= 8), "schema_migrations"),
    order: "version",
    columns: VERSION,
    lock: |_, _| None,
    suffixes: &[".sql"],
    available: |scripts| numbered(scripts, &[".sql"], false),
    stamp: version,
};

/// Ecto. By default its lock is one on the table, held by the transaction that migrates.
pub(super) const ECTO: Journal = Journal {
    framework: Framework::Ecto,
    signature: Signature::exactly(&["version", "inserted_at"]),
    sign: Sign::Columns,
    order: "version",
    columns: Columns { id: "version", at: "inserted_at", ..NONE },
    lock: ecto_lock,
    suffixes: &[".exs"],
    available: |scripts| numbered(scripts, &[".exs"], true),
    stamp: |state, id| {
        let now = state.table.now("inserted_at");
        version(state, id).map(|values| values.into_iter().chain([("inserted_at", now)]).collect())
    },
};

/// elixir-ecto/ecto_sql, `Ecto.Adapters.Postgres.lock_for_migrations` and its MyXQL counterpart; the latter is named after the
/// application's module and can't be told from outside.
fn ecto_lock(table: &Table, _database: &str) -> Option<Key> {
    (table.dialect == Dialect::Postgres).then_some(Key::Relation("ShareUpdateExclusiveLock"))
}
