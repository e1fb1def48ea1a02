//! Finding bookkeeping tables by their columns, in every schema, and reading rows of them the same way in every dialect.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::database::{Database, Dialect};
use crate::failure::{Failure, Result};

/// Tables with more columns than this are nobody's bookkeeping.
const MOST_COLUMNS: usize = 20;

/// A table, by its place and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Schema, on PostgreSQL.
    pub schema: Option<String>,
    /// Name.
    pub name: String,
    /// SQL of its database.
    pub dialect: Dialect,
    /// Columns in their order.
    pub(super) columns: Vec<Column>,
    /// Why it can't be read, if that is so.
    pub(super) obstacle: Option<Obstacle>,
}

/// Why a table can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The role may not.
    Forbidden,
    /// A session holds it for itself alone; a question would wait.
    Held,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    /// As the table spells it.
    pub(super) name: String,
    /// Its type.
    pub(super) kind: Kind,
}

/// Types, as far as reading and writing them differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    /// With a zone, or always in UTC.
    Instant,
    /// A time that does not say in which zone.
    Clock,
    Bytes,
    Bits,
    Other,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.schema.iter().try_for_each(|schema| write!(f, "{schema}."))?;
        f.write_str(&self.name)
    }
}

impl Serialize for Table {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Table {
    /// Its name as SQL writes it.
    #[must_use]
    pub fn quoted(&self) -> String {
        let name = self.dialect.identifier(&self.name);
        self.schema.as_ref().map_or_else(|| name.clone(), |schema| format!("{}.{name}", self.dialect.identifier(schema)))
    }

    pub(super) fn column(&self, lower: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(lower))
    }

    /// A column's name as SQL writes it; the given one for a column that it lacks, so that the database says so.
    pub(super) fn named(&self, lower: &str) -> String {
        self.dialect.identifier(self.column(lower).map_or(lower, |column| &column.name))
    }

    /// The present moment, as an expression for a column.
    pub(super) fn now(&self, lower: &str) -> String {
        match (self.dialect, self.column(lower).map(|column| column.kind)) {
            (Dialect::Postgres, Some(Kind::Instant)) => "CURRENT_TIMESTAMP".to_owned(),
            (dialect, _) => dialect.utc().to_owned(),
        }
    }

    pub(super) fn has(&self, lower: &str) -> bool {
        self.column(lower).is_some()
    }

    /// The table of this name beside it.
    pub(super) fn beside<'a>(&self, tables: &'a [Table], name: &str) -> Option<&'a Table> {
        tables.iter().find(|other| other.schema == self.schema && other.name.eq_ignore_ascii_case(name))
    }

    /// An expression for a column's value as text, times in ISO 8601, bytes in hex.
    fn shown(&self, lower: &str) -> String {
        let Some(column) = self.column(lower) else { return "NULL".to_owned() };
        let name = self.dialect.identifier(&column.name);
        match (self.dialect, column.kind) {
            (Dialect::Postgres, Kind::Instant) => format!("to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"),
            (Dialect::Postgres, Kind::Clock) => format!("to_char({name}, 'YYYY-MM-DD\"T\"HH24:MI:SS')"),
            (Dialect::Postgres, Kind::Bytes) => format!("encode({name}, 'hex')"),
            (Dialect::Postgres, _) => format!("left({name}::text, {MOST_TEXT})"),
            (Dialect::Mysql | Dialect::MariaDb, Kind::Instant | Kind::Clock) => {
                format!("DATE_FORMAT({name}, '%Y-%m-%dT%H:%i:%s')")
            }
            (Dialect::Mysql | Dialect::MariaDb, Kind::Bytes) => format!("LOWER(HEX({name}))"),
            (Dialect::Mysql | Dialect::MariaDb, Kind::Bits) => format!("CAST({name} + 0 AS CHAR)"),
            (Dialect::Mysql | Dialect::MariaDb, _) => format!("CAST(LEFT({name}, {MOST_TEXT}) AS CHAR)"),
            (Dialect::Sqlite, _) => {
                format!(
                    "CASE typeof({name}) WHEN 'blob' THEN lower(hex({name})) ELSE substr(CAST({name} AS TEXT), 1, {MOST_TEXT}) END"
                )
            }
        }
    }

    /// An expression for a column's value as SQL writes it, exact, so that the row can be put back.
    fn literal(&self, column: &Column) -> String {
        let name = self.dialect.identifier(&column.name);
        match (self.dialect, column.kind) {
            (Dialect::Postgres, _) => format!("quote_nullable({name}::text)"),
            (Dialect::Mysql | Dialect::MariaDb, Kind::Bytes) => {
                format!("IF({name} IS NULL, 'NULL', CONCAT('X''', HEX({name}), ''''))")
            }
            (Dialect::Mysql | Dialect::MariaDb, Kind::Bits) => format!("IF({name} IS NULL, 'NULL', CAST({name} + 0 AS CHAR))"),
            (Dialect::Mysql | Dialect::MariaDb, _) => {
                // QUOTE() escapes with backslashes, which our sessions take for themselves.
                format!("IF({name} IS NULL, 'NULL', CONCAT('''', REPLACE({name}, '''', ''''''), ''''))")
            }
            (Dialect::Sqlite, _) => format!("quote({name})"),
        }
    }

    /// A SELECT that fetches rows with every value as SQL writes it.
    pub(super) fn literals(&self, condition: &str) -> String {
        let values: Vec<String> = self.columns.iter().map(|column| self.literal(column)).collect();
        format!("SELECT {} FROM {} WHERE {condition}", values.join(", "), self.quoted())
    }

    /// `INSERT INTO t (a, b) VALUES`, for all columns.
    pub(super) fn insertion(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|column| self.dialect.identifier(&column.name)).collect();
        format!("INSERT INTO {} ({}) VALUES", self.quoted(), names.join(", "))
    }
}

/// Longest text that is read of a value, in characters: error logs may be long.
const MOST_TEXT: usize = 2000;

/// Values of a row as text.
pub(super) type Row = Vec<Option<String>>;

/// Reads columns of a table, as text; `rest` is what follows the table's name: a condition, an order, a limit.
pub(super) async fn read(database: &dyn Database, table: &Table, columns: &[&str], rest: &str) -> Result<Vec<Row>> {
    let shown: Vec<String> = columns.iter().map(|column| table.shown(column)).collect();
    ask(database, &format!("SELECT {} FROM {} {rest}", shown.join(", "), table.quoted())).await
}

/// Asks for rows and takes every value for text.
pub(super) async fn ask(database: &dyn Database, sql: &str) -> Result<Vec<Row>> {
    let rows = database.query(sql).await?;
    Ok(rows.into_iter().map(|row| row.into_iter().map(as_text).collect()).collect())
}

fn as_text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

/// A number in a row.
pub(super) fn number<T: std::str::FromStr>(row: &[Option<String>], at: usize) -> Option<T> {
    row.get(at)?.as_deref()?.parse().ok()
}

/// Counts rows; `rest` as in [`read`].
pub(super) async fn count(database: &dyn Database, table: &Table, rest: &str) -> Result<u64> {
    let rows = ask(database, &format!("SELECT count(*) FROM {} {rest}", table.quoted())).await?;
    rows.first().and_then(|row| number(row, 0)).ok_or_else(|| Failure::failed(format!("{table} could not be counted")))
}

/// What a truth value looks like in the dialects, and in tables that somebody edited by hand.
pub(super) fn is_true(value: Option<&String>) -> bool {
    value.is_some_and(|text| matches!(text.to_lowercase().as_str(), "1" | "t" | "true" | "y" | "yes"))
}

/// Columns that give a bookkeeping table away, lower-cased.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signature {
    /// All of these are there.
    pub(super) all: &'static [&'static str],
    /// So many others may be there.
    pub(super) others: usize,
}

impl Signature {
    pub(super) const fn exactly(all: &'static [&'static str]) -> Self {
        Self { all, others: 0 }
    }

    pub(super) const fn with_others(all: &'static [&'static str], others: usize) -> Self {
        Self { all, others }
    }

    pub(super) fn fits(&self, table: &Table) -> bool {
        self.all.iter().all(|name| table.has(name)) && table.columns.len() <= self.all.len() + self.others
    }

    /// As a condition over the grouped columns `c` of a table.
    fn condition(&self) -> String {
        let names: Vec<String> = self.all.iter().map(|name| format!("'{name}'")).collect();
        format!(
            "(SUM(CASE WHEN lower(c) IN ({}) THEN 1 ELSE 0 END) = {} AND COUNT(*) <= {})",
            names.join(", "),
            self.all.len(),
            self.all.len() + self.others
        )
    }
}

/// Every table whose columns fit one of the signatures, in the order of schemas and names.
///
/// # Errors
/// When the database can't be asked.
pub(super) async fn find(database: &dyn Database, signatures: &[Signature]) -> Result<Vec<Table>> {
    let dialect = database.dialect();
    let conditions: Vec<String> = signatures.iter().map(Signature::condition).collect();
    let having = format!("COUNT(*) <= {MOST_COLUMNS} AND ({})", conditions.join(" OR "));
    let rows = ask(database, &catalogue(dialect, &having)).await?;
    let mut tables: Vec<Table> = rows.into_iter().filter_map(|row| table(dialect, row)).collect();
    // Each server orders by rules of its own.
    tables.sort_by(|left, right| (&left.schema, &left.name).cmp(&(&right.schema, &right.name)));
    Ok(tables)
}

/// Schema, table, columns as `name:type|name:type`, whether it may be read, whether a session holds it for itself.
fn catalogue(dialect: Dialect, having: &str) -> String {
    match dialect {
        Dialect::Sqlite => format!(
            "SELECT NULL, t, group_concat(c || ':' || k, '|'), 1, 0 FROM (SELECT m.name AS t, p.name AS c, p.type AS k \
             FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS p WHERE m.type = 'table' ORDER BY m.name, p.cid) \
             GROUP BY t HAVING {having}"
        ),
        Dialect::Postgres => format!(
            "SELECT s, t, string_agg(c || ':' || k, '|' ORDER BY o), \
             (has_schema_privilege(n, 'USAGE') AND has_table_privilege(r, 'SELECT'))::int, \
             EXISTS (SELECT 1 FROM pg_catalog.pg_locks AS l WHERE l.locktype = 'relation' AND l.relation = r AND l.granted \
             AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid())::int FROM \
             (SELECT n.nspname AS s, c.relname AS t, n.oid AS n, c.oid AS r, a.attname::text AS c, a.attnum AS o, \
             format_type(a.atttypid, NULL) AS k \
             FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
             WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
             AND n.nspname NOT LIKE 'pg\\_t%') AS columns \
             GROUP BY s, t, n, r HAVING {having}"
        ),
        Dialect::Mysql | Dialect::MariaDb => format!(
            "SELECT NULL, t, GROUP_CONCAT(c, ':', k ORDER BY o SEPARATOR '|'), 1, 0 FROM \
             (SELECT col.TABLE_NAME AS t, col.COLUMN_NAME AS c, col.COLUMN_TYPE AS k, col.ORDINAL_POSITION AS o \
             FROM information_schema.COLUMNS AS col JOIN information_schema.TABLES AS tab \
             ON tab.TABLE_SCHEMA = col.TABLE_SCHEMA AND tab.TABLE_NAME = col.TABLE_NAME AND tab.TABLE_TYPE = 'BASE TABLE' \
             WHERE col.TABLE_SCHEMA = DATABASE()) AS columns_of_tables GROUP BY t HAVING {having}"
        ),
    }
}

fn table(dialect: Dialect, row: Row) -> Option<Table> {
    let [schema, name, columns, readable, held] = <[Option<String>; 5]>::try_from(row).ok()?;
    let columns =
        columns?.split('|').filter_map(|column| column.split_once(':')).map(|(name, kind)| column(name, kind)).collect();
    let obstacle = match (is_true(readable.as_ref()), is_true(held.as_ref())) {
        (false, _) => Some(Obstacle::Forbidden),
        (true, true) => Some(Obstacle::Held),
        (true, false) => None,
    };
    Some(Table { schema, name: name?, dialect, columns, obstacle })
}

fn column(name: &str, kind: &str) -> Column {
    let kind = kind.to_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| kind.starts_with(word));
    let kind = match () {
        () if begins(&["timestamp with time zone", "timestamptz"]) => Kind::Instant,
        () if begins(&["timestamp", "datetime", "date"]) => Kind::Clock,
        () if begins(&["bytea", "blob", "tinyblob", "mediumblob", "longblob", "binary", "varbinary"]) => Kind::Bytes,
        () if begins(&["bit"]) => Kind::Bits,
        () if kind.contains("int") || begins(&["numeric", "decimal", "real", "double", "float", "number"]) => Kind::Number,
        () if kind.contains("char") || kind.contains("text") || begins(&["name", "uuid", "clob"]) => Kind::Text,
        () => Kind::Other,
    };
    Column { name: name.to_owned(), kind }
}
