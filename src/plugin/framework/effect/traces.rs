//! The names that a migration's SQL makes and drops.

use std::collections::BTreeMap;
use std::fmt;

use crate::database::words::statements;

/// Something with a name in a schema.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Object {
    /// A table or a view.
    Table(String),
    /// An index.
    Index(String),
    /// A column of a table.
    Column(String, String),
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(name) => write!(f, "table {name}"),
            Self::Index(name) => write!(f, "index {name}"),
            Self::Column(table, name) => write!(f, "column {table}.{name}"),
        }
    }
}

/// What is there, or gone, when the whole migration has run, and was the other way round before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) schema: Option<String>,
    pub(super) object: Object,
    pub(super) there: bool,
}

/// The traces of a script.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Traces {
    pub(super) list: Vec<Trace>,
    /// Its first statement leaves a trace: without one nothing has run.
    pub(super) tells_begin: bool,
    /// Its last statement leaves a trace: with all of them everything has run.
    pub(super) tells_end: bool,
}

/// An object with its schema, and whether a statement makes it.
type Step = (Option<String>, Object, bool);

/// Which names are there, as far as scripts tell.
#[derive(Debug, Default)]
pub(super) struct Before(BTreeMap<(Option<String>, Object), bool>);

impl Before {
    /// After one more script.
    pub(super) fn and(mut self, sql: &str) -> Self {
        let steps = statements(sql).into_iter().flat_map(|words| steps(&words));
        self.0.extend(steps.map(|(schema, object, there)| ((schema, object), there)));
        self
    }
}

impl Traces {
    /// Reads a script that runs after others. A name that is there before and after it tells nothing.
    pub(super) fn of(sql: &str, before: &Before) -> Self {
        let statements: Vec<Vec<Step>> =
            statements(sql).iter().filter(|words| !is_frame(words)).map(|words| steps(words)).collect();
        // The first step on a name tells how it was before, the last one how it is afterwards.
        let mut first_and_last: BTreeMap<(Option<String>, Object), (bool, bool)> = BTreeMap::new();
        for (schema, object, there) in statements.iter().flatten() {
            first_and_last
                .entry((schema.clone(), object.clone()))
                .and_modify(|(_, last)| *last = *there)
                .or_insert((*there, *there));
        }
        first_and_last.retain(|name, (first, last)| first == last && before.0.get(name) != Some(last));
        let telling = |step: &Step| first_and_last.contains_key(&(step.0.clone(), step.1.clone()));
        let tells = |steps: Option<&Vec<Step>>| steps.is_some_and(|steps| steps.iter().any(telling));
        let (tells_begin, tells_end) = (tells(statements.first()), tells(statements.last()));
        let trace = |((schema, object), (_, there))| Trace { schema, object, there };
        Self { list: first_and_last.into_iter().map(trace).collect(), tells_begin, tells_end }
    }
}

/// What frames the work and does none.
fn is_frame(words: &[String]) -> bool {
    let first = words.first().map(|word| word.to_lowercase()).unwrap_or_default();
    matches!(first.as_str(), "" | "begin" | "start" | "commit" | "end" | "set" | "pragma")
}

/// What a statement makes and drops.
fn steps(words: &[String]) -> Vec<Step> {
    let noise = [
        "if",
        "not",
        "exists",
        "only",
        "concurrently",
        "temp",
        "temporary",
        "unlogged",
        "unique",
        "or",
        "replace",
        "materialized",
        "fulltext",
    ];
    let lower: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    let mut plain = words.iter().zip(&lower).filter(|(_, lower)| !noise.contains(&lower.as_str())).map(|(word, _)| word.as_str());
    let verb = plain.next().unwrap_or_default().to_lowercase();
    let kind = plain.next().unwrap_or_default().to_lowercase();
    let Some(name) = plain.next() else { return Vec::new() };
    if name.eq_ignore_ascii_case("on") {
        return Vec::new(); // CREATE INDEX ON t: the server makes up a name.
    }
    let (schema, name) = split(name);
    match (verb.as_str(), kind.as_str()) {
        ("create", "table" | "view") => vec![(schema, Object::Table(name), true)],
        ("drop", "table" | "view") => vec![(schema, Object::Table(name), false)],
        ("create", "index") => vec![(schema, Object::Index(name), true)],
        ("drop", "index") => vec![(schema, Object::Index(name), false)],
        ("alter", "table") => {
            let rest: Vec<&str> = plain.collect();
            clauses(&rest).into_iter().flat_map(|clause| altered(schema.as_ref(), &name, clause)).collect()
        }
        _ => Vec::new(),
    }
}

fn split(name: &str) -> (Option<String>, String) {
    match name.rsplit_once('.') {
        Some((schema, name)) => (Some(schema.to_owned()), name.to_owned()),
        None => (None, name.to_owned()),
    }
}

/// The parts of an ALTER between its commas.
fn clauses<'a>(words: &'a [&'a str]) -> Vec<&'a [&'a str]> {
    let mut depth = 0_i32;
    let parts = words.split(move |word| {
        depth += i32::from(*word == "(") - i32::from(*word == ")");
        depth == 0 && *word == ","
    });
    parts.collect()
}

fn altered(schema: Option<&String>, table: &str, clause: &[&str]) -> Vec<Step> {
    let lower: Vec<String> = clause.iter().map(|word| word.to_lowercase()).collect();
    let words: Vec<&str> = lower.iter().map(String::as_str).collect();
    let column = |name: &str, there: bool| (schema.cloned(), Object::Column(table.to_owned(), name.to_owned()), there);
    let named = |name: &str, there: bool| (schema.cloned(), Object::Table(name.to_owned()), there);
    match words.as_slice() {
        ["add", "column", ..] => clause.get(2).map(|name| column(name, true)).into_iter().collect(),
        ["add", "constraint" | "primary" | "foreign" | "check" | "index" | "key" | "unique" | "(" | "partition", ..] => {
            Vec::new()
        }
        ["add", _, ..] => vec![column(clause[1], true)],
        ["drop", "column", ..] => clause.get(2).map(|name| column(name, false)).into_iter().collect(),
        ["rename", "to" | "as", _] => vec![named(table, false), named(clause[2], true)],
        ["rename", "column", _, "to", _] => vec![column(clause[2], false), column(clause[4], true)],
        ["rename", _, "to", _] if words[1] != "constraint" => vec![column(clause[1], false), column(clause[3], true)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(sql: &str) -> Vec<String> {
        Traces::of(sql, &Before::default())
            .list
            .iter()
            .map(|trace| format!("{}{}", if trace.there { "+" } else { "-" }, trace.object))
            .collect()
    }

    #[test]
    fn tables_indexes_and_columns_are_found_through_quotes_comments_and_options() {
        let sql = "-- CREATE TABLE no (x);\nBEGIN; CREATE TABLE IF NOT EXISTS \"Users\" (id int, note text DEFAULT 'a;b -- c');\n\
            /* DROP TABLE no; */ CREATE UNIQUE INDEX CONCURRENTLY users_id ON users (id);\n\
            ALTER TABLE ONLY public.orders ADD COLUMN a numeric(1, 2), ADD b int, DROP COLUMN c, ADD CONSTRAINT k CHECK (a > 0); COMMIT;";
        let wanted = ["+table Users", "+index users_id", "+column orders.a", "+column orders.b", "-column orders.c"];
        assert_eq!(told(sql), wanted);
    }

    #[test]
    fn what_is_rebuilt_under_its_name_tells_nothing() {
        let sql = "CREATE TABLE new_t (x); INSERT INTO new_t SELECT x FROM t; DROP TABLE t; ALTER TABLE new_t RENAME TO t;";
        assert_eq!(told(sql), Vec::<String>::new());
    }

    #[test]
    fn a_statement_without_a_trace_at_an_end_leaves_that_end_open() {
        let traces = Traces::of("CREATE TABLE a (x int); UPDATE a SET x = 1", &Before::default());
        assert!(traces.tells_begin && !traces.tells_end, "{traces:?}");
        let traces = Traces::of("UPDATE b SET x = 1; DROP TABLE a", &Before::default());
        assert!(!traces.tells_begin && traces.tells_end, "{traces:?}");
    }

    #[test]
    fn what_an_earlier_file_made_tells_nothing_of_a_later_one() {
        let before = Before::default().and("CREATE TABLE users (x int); CREATE TABLE gone (x int)").and("DROP TABLE gone");
        let traces = Traces::of("CREATE TABLE orders (x int); CREATE TABLE gone (x int); CREATE TABLE users (x int)", &before);
        let names: Vec<String> = traces.list.iter().map(|trace| trace.object.to_string()).collect();
        assert_eq!(
            (names.join(", "), traces.tells_begin, traces.tells_end),
            ("table gone, table orders".to_owned(), true, false)
        );
    }

    #[test]
    fn bodies_of_functions_are_not_read() {
        assert_eq!(
            told(
                "CREATE FUNCTION f() RETURNS void AS $body$ BEGIN; DROP TABLE x; END $body$ LANGUAGE plpgsql; CREATE TABLE y (z int)"
            ),
            ["+table y"]
        );
    }
}
