//! What the schema table lists, and the columns of a table. Reads through SQLite; parses no SQL text.

use dbmig_wire::{ErrorKind, SchemaObject};
use rusqlite::Connection;

use super::open::quoted;
use super::sql_text;
use crate::error::{Explain, Result, fail};

/// A row of the schema table with the page that its b-tree starts at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// What every reader of the wire sees.
    pub(super) seen: SchemaObject,
    /// Root page; 0 for views, triggers and virtual tables.
    pub(super) root: u32,
}

impl Object {
    /// A table with rows of its own.
    pub(super) fn is_table(&self) -> bool {
        self.seen.kind == "table" && self.root > 0
    }

    /// An index of the table `name`.
    pub(super) fn is_index_of(&self, name: &str) -> bool {
        self.seen.kind == "index" && self.root > 0 && self.seen.table.eq_ignore_ascii_case(name)
    }

    /// The condition of a partial index.
    pub(super) fn partial(&self) -> Option<&str> {
        self.seen.sql.as_deref().and_then(sql_text::index_condition)
    }
}

/// Every row of the schema table, in its order.
pub(super) fn objects(connection: &Connection, path: &str) -> Result<Vec<Object>> {
    let read = || -> rusqlite::Result<Vec<Object>> {
        let sql = "SELECT type, name, tbl_name, coalesce(rootpage, 0), sql FROM sqlite_schema ORDER BY rowid";
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map([], |row| {
            let seen = SchemaObject { kind: row.get(0)?, name: row.get(1)?, table: row.get(2)?, sql: row.get(4)? };
            Ok(Object { seen, root: row.get(3)? })
        })?;
        rows.collect()
    };
    read().explain(|| format!("cannot read the schema of {path}"))
}

/// A column as `table_xinfo` tells it.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Name.
    pub(super) name: String,
    /// Declared type.
    pub(super) kind: String,
    /// Its place in the primary key, counted from 1; 0 outside.
    pub(super) key: u32,
    /// Computed when read, so not stored.
    pub(super) computed: bool,
}

/// A table's columns, and how its rows are numbered.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Name as the schema has it.
    pub(super) name: String,
    /// In declared order.
    pub(super) columns: Vec<Column>,
    /// `WITHOUT ROWID`.
    pub(super) without_rowid: bool,
}

impl Shape {
    /// Looks a table up by name, whatever the case.
    ///
    /// # Errors
    /// `BadRequest` if there is no such table with rows of its own.
    pub(super) fn of(connection: &Connection, table: &str) -> Result<Self> {
        let read = || -> rusqlite::Result<Self> {
            let find = "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow') AND lower(name) = lower(?1)";
            let (name, without_rowid): (String, bool) =
                connection.query_row(find, [table], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let mut columns = connection.prepare("SELECT name, type, pk, hidden = 2 FROM pragma_table_xinfo(?1)")?;
            let columns = columns.query_map([&name], |row| {
                Ok(Column { name: row.get(0)?, kind: row.get(1)?, key: row.get(2)?, computed: row.get(3)? })
            })?;
            Ok(Self { name: name.clone(), columns: columns.collect::<Result<_, _>>()?, without_rowid })
        };
        match read() {
            Err(rusqlite::Error::QueryReturnedNoRows) => {
                Err(fail(ErrorKind::BadRequest, format!("there is no table {table} in the database")))
            }
            other => other.explain(|| format!("cannot look at table {table}")),
        }
    }

    /// The column `name`, whatever the case.
    ///
    /// # Errors
    /// `BadRequest` if the table has none.
    pub(super) fn column(&self, name: &str) -> Result<&Column> {
        let found = self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| fail(ErrorKind::BadRequest, format!("table {} has no column {name}", self.name)))
    }

    /// Where the column `name` is in the stored record, counted from 0.
    pub(super) fn stored_at(&self, name: &str) -> Option<usize> {
        let mut stored = self.columns.iter().filter(|column| !column.computed);
        stored.position(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// A name for the rowid that no column hides; `None` when all three are taken.
    pub(super) fn rowid(&self) -> Option<&'static str> {
        let hidden = |name: &str| self.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
        ["rowid", "_rowid_", "oid"].into_iter().find(|name| !self.without_rowid && !hidden(name))
    }

    /// The columns of the primary key, in its order, quoted.
    pub(super) fn key(&self) -> Vec<String> {
        let mut key: Vec<&Column> = self.columns.iter().filter(|column| column.key > 0).collect();
        key.sort_by_key(|column| column.key);
        key.into_iter().map(|column| quoted(&column.name)).collect()
    }
}
