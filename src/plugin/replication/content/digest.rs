//! Digests of rows, computed by the server that has them, and which rows are meant.

use serde::Deserialize;

use super::Table;
use crate::database::Dialect;
use crate::database::postgres::Postgres;
use crate::failure::Result;
use crate::replication::json;

/// Rows of a table that a sample looks at.
const SAMPLE: u32 = 10_000;
/// The texts of values depend on these; and a policy that hides rows makes a question fail, in place of an answer without them.
const SETTINGS: &str = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'; \
     SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex'; SET LOCAL lc_monetary = 'C'; SET LOCAL standard_conforming_strings = on; \
     SET LOCAL row_security = off";

/// The values of a row's key, as texts.
pub(super) type Key = Vec<String>;

/// What a server says of the rows of a table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Sum {
    pub(super) rows: u64,
    /// Both halves of the rows' digests, added up: the order of rows does not count.
    high: Option<String>,
    low: Option<String>,
}

/// Which rows of a table are meant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows<'a> {
    All,
    /// Those with the highest keys; but all are counted.
    Newest,
    /// Those with one of these keys.
    Keyed(&'a [Key]),
}

/// The answer to a question about the rows of a table, whose values are written in the same way on every server.
pub(super) async fn ask<T: serde::de::DeserializeOwned>(side: &Postgres, table: &Table, sql: &str) -> Result<T> {
    json(&side.ask(SETTINGS, sql).await?, &table.name)
}

/// The number of rows of a table.
pub(super) async fn count(side: &Postgres, table: &Table) -> Result<Sum> {
    ask(side, table, &format!("SELECT json_build_object('rows', count(*)) FROM ONLY {}", table.name)).await
}

/// The digest of rows of a table.
pub(super) async fn sum(side: &Postgres, table: &Table, rows: Rows<'_>) -> Result<Sum> {
    let Table { name, row, .. } = table;
    let rest = match rows {
        Rows::All => String::new(),
        Rows::Newest => {
            let newest = table.key.iter().map(|column| format!("{column} DESC")).collect::<Vec<_>>().join(", ");
            format!(" ORDER BY {newest} LIMIT {SAMPLE}")
        }
        Rows::Keyed(keys) => format!(" WHERE {}", table.listed(keys)),
    };
    let counted = match rows {
        Rows::Newest => format!("(SELECT count(*) FROM ONLY {name})"),
        _ => "count(*)".to_owned(),
    };
    let sql = format!(
        "SELECT json_build_object('rows', {counted}, 'high', {}::text, 'low', {}::text) \
         FROM (SELECT md5({row}) AS digest FROM ONLY {name}{rest}) AS digests",
        half("digest", 1),
        half("digest", 17)
    );
    ask(side, table, &sql).await
}

/// The half of a digest that begins at a character of it, added up over all rows.
pub(super) fn half(digest: &str, from: u32) -> String {
    format!("sum(('x' || substr({digest}, {from}, 16))::bit(64)::bigint)")
}

impl Table {
    /// A row's key as one text.
    fn key_text(&self) -> String {
        match self.key.as_slice() {
            [one] => format!("{one}::text"),
            several => format!("ROW({})::text", several.join(", ")),
        }
    }

    /// A row's key as a list of texts.
    pub(super) fn key_list(&self) -> String {
        let texts: Vec<String> = self.key.iter().map(|column| format!("{column}::text")).collect();
        format!("json_build_array({})", texts.join(", "))
    }

    /// A number made of a row's key, the same on every server.
    pub(super) fn hash(&self, seed: u32) -> String {
        format!("hashtextextended(({}) COLLATE \"C\", {seed})", self.key_text())
    }

    /// One of so many kinds of rows, by key; a power of two.
    pub(super) fn bucket(&self, of: i64) -> String {
        format!("({} & {})", self.hash(0), of - 1)
    }

    /// Rows from one key on and before another, in the server's own order.
    pub(super) fn between(&self, from: Option<&Key>, to: Option<&Key>) -> String {
        let columns = self.key.join(", ");
        let edge = |sign: &str, key: &Key| {
            let values = key.iter().zip(&self.types).map(|(value, kind)| format!("{}::{kind}", Dialect::Postgres.text(value)));
            format!("({columns}) {sign} ({})", values.collect::<Vec<_>>().join(", "))
        };
        let edges: Vec<String> = [from.map(|key| edge(">=", key)), to.map(|key| edge("<", key))].into_iter().flatten().collect();
        if edges.is_empty() { "true".to_owned() } else { edges.join(" AND ") }
    }

    /// Rows with one of these keys.
    pub(super) fn listed(&self, keys: &[Key]) -> String {
        let list = Dialect::Postgres.text(&serde_json::Value::from(keys.to_vec()).to_string());
        let values = self.types.iter().enumerate().map(|(at, kind)| format!("(one->>{at})::{kind}"));
        format!(
            "({}) IN (SELECT {} FROM json_array_elements({list}) AS listed (one))",
            self.key.join(", "),
            values.collect::<Vec<_>>().join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_named_by_keys_of_any_type_and_number_of_columns() {
        let table = Table {
            name: "api.\"Odd Name\"".to_owned(),
            row: "ROW()::text".to_owned(),
            key: vec!["day".to_owned(), "\"Key\"".to_owned()],
            types: vec!["date".to_owned(), "character varying(9)".to_owned()],
            shape: String::new(),
            stamped: true,
            counted: false,
            bytes: 0,
            logged: true,
            identified: true,
        };
        let key = vec!["2026-01-02".to_owned(), "o'clock".to_owned()];
        assert_eq!(table.between(Some(&key), None), "(day, \"Key\") >= ('2026-01-02'::date, 'o''clock'::character varying(9))");
        assert_eq!(table.between(None, None), "true");
        assert_eq!(
            table.listed(&[key]),
            "(day, \"Key\") IN (SELECT (one->>0)::date, (one->>1)::character varying(9) \
             FROM json_array_elements('[[\"2026-01-02\",\"o''clock\"]]') AS listed (one))"
        );
        assert_eq!(table.bucket(8), "(hashtextextended((ROW(day, \"Key\")::text) COLLATE \"C\", 0) & 7)");
    }
}
