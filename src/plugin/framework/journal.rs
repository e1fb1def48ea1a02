//! The shape that most frameworks share: a row for each applied migration, written when it has ended well. Told as data.

use std::collections::HashMap;

use async_trait::async_trait;

use super::finding::{Finding, Level, REPAIR};
use super::repair::Edit;
use super::table::{Kind, Row, Signature, count, number, read};
use super::{Applied, Available, Books, Evidence, Framework, MOST, Remedy, Repair, Script, State, Table, lock};
use crate::database::Database;
use crate::failure::Result;

/// A framework that keeps a row for each applied migration.
pub(super) struct Journal {
    pub(super) framework: Framework,
    pub(super) signature: Signature,
    pub(super) sign: Sign,
    /// The column that orders the rows.
    pub(super) order: &'static str,
    /// Columns by their meaning; an empty name where there is none.
    pub(super) columns: Columns,
    pub(super) lock: fn(&Table, &str) -> Option<lock::Key>,
    pub(super) suffixes: &'static [&'static str],
    pub(super) available: fn(&[Script]) -> Vec<Available>,
    /// The columns and expressions of a row that says that a migration is applied.
    pub(super) stamp: fn(&State, &str) -> std::result::Result<Values, String>,
}

/// Columns and the expressions for their values.
pub(super) type Values = Vec<(&'static str, String)>;

/// Names of columns by their meaning; empty where the table has none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    /// Written before the id, with a full stop: Django's app.
    pub(super) group: &'static str,
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) at: &'static str,
    pub(super) checksum: &'static str,
    pub(super) batch: &'static str,
    /// Tells the rows apart even where two say the same.
    pub(super) key: &'static str,
}

/// No column but the id.
pub(super) const NONE: Columns = Columns { group: "", id: "", name: "", at: "", checksum: "", batch: "", key: "" };

/// What shows that a table with the right columns is the framework's.
pub(super) enum Sign {
    /// Nobody else has such columns.
    Columns,
    /// Another table of this name and with these columns beside it.
    Sibling(&'static str, &'static [Signature]),
    /// What its ids, which are text, look like, and its usual name, by which an empty one is known; what may be said of an id in a
    /// table of that name differs from what must be in any other.
    Ids(fn(&str, bool) -> bool, &'static str),
}

/// Reads the newest rows, oldest first; `only` is a condition.
pub(super) async fn newest(
    database: &dyn Database,
    table: &Table,
    columns: &[&str],
    order: &str,
    only: &str,
) -> Result<Vec<Row>> {
    let mut rows =
        read(database, table, columns, &format!("WHERE {only} ORDER BY {} DESC LIMIT {MOST}", table.named(order))).await?;
    rows.reverse();
    Ok(rows)
}

impl Journal {
    /// Whether its ids look like the framework's.
    async fn shows(&self, database: &dyn Database, table: &Table, found: &[Table]) -> Result<bool> {
        match self.sign {
            Sign::Columns => Ok(true),
            Sign::Sibling(name, _) => Ok(table.beside(found, name).is_some()),
            Sign::Ids(..) if table.column(self.columns.id).is_none_or(|column| column.kind != Kind::Text) => Ok(false),
            Sign::Ids(is_one, usual) => {
                let is_usual = table.name.eq_ignore_ascii_case(usual);
                let rows = read(database, table, &[self.columns.id], "LIMIT 20").await?;
                let all = rows.iter().all(|row| row.first().and_then(Option::as_deref).is_some_and(|id| is_one(id, is_usual)));
                Ok(all && (!rows.is_empty() || is_usual))
            }
        }
    }

    /// What is written down twice, as two runs at the same time do it: the keys of the later rows by id.
    fn doubles<'a>(&self, state: &'a State) -> Vec<&'a Applied> {
        let mut seen: HashMap<&str, ()> = HashMap::new();
        state.applied.iter().filter(|applied| seen.insert(&applied.id, ()).is_some()).collect()
    }
}

/// The run that a migration would have belonged to: that of the one before it. A row of its own newest run would be the first that
/// the next rollback takes back.
pub(super) fn batch_of(state: &State, id: &str) -> i64 {
    let before = state.applied.iter().rev().find(|applied| applied.id.as_str() < id);
    before.or(state.applied.first()).and_then(|applied| applied.batch).unwrap_or(1)
}

/// A row of the columns id, name, at, checksum, batch, key, group.
fn applied(row: Row) -> Applied {
    let batch = number(&row, 4);
    let mut row = row.into_iter();
    let mut next = || row.next().flatten();
    let (id, name, at, checksum, _, key) = (next().unwrap_or_default(), next(), next(), next(), next(), next());
    let id = next().map_or(id.clone(), |group| format!("{group}.{id}"));
    Applied { id, name, at: at.map(|at| instant(&at)), duration_ms: None, checksum, batch, key }
}

/// A time as ISO 8601, whether it was a time, a text or milliseconds since 1970.
pub(super) fn instant(text: &str) -> String {
    match text.parse::<i64>() {
        Ok(milliseconds) if milliseconds > 100_000_000_000 => jiff::Timestamp::from_millisecond(milliseconds)
            .map_or_else(|_| text.to_owned(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        _ => text.replacen(' ', "T", 1),
    }
}

#[async_trait]
impl Books for Journal {
    fn framework(&self) -> Framework {
        self.framework
    }

    fn signature(&self) -> Signature {
        self.signature
    }

    fn siblings(&self) -> &'static [Signature] {
        match self.sign {
            Sign::Sibling(_, columns) => columns,
            Sign::Columns | Sign::Ids(..) => &[],
        }
    }

    async fn is_its(&self, database: &dyn Database, table: &Table, found: &[Table]) -> Result<bool> {
        self.shows(database, table, found).await
    }

    async fn read(&self, database: &dyn Database, state: &mut State, _found: &[Table]) -> Result<()> {
        let columns = self.columns;
        let wanted = [columns.id, columns.name, columns.at, columns.checksum, columns.batch, columns.key, columns.group];
        state.count = count(database, &state.table, "").await?;
        let rows = newest(database, &state.table, &wanted, self.order, "1 = 1").await?;
        state.applied = rows.into_iter().map(applied).collect();
        state.heads = state.applied.last().map(|last| last.id.clone()).into_iter().collect();
        let doubles = self.doubles(state);
        if let Some(first) = doubles.first() {
            let what = format!(
                "{}: {} is written down as applied more than once, as two runs at the same time do it",
                self.framework, first.id
            );
            let finding =
                Finding::new(Level::Attention, what).evidence(format!("{} such rows in {}", doubles.len(), state.table));
            state.notes.push(finding.next(REPAIR));
        }
        Ok(())
    }

    fn lock(&self, table: &Table, database_name: &str) -> Option<lock::Key> {
        (self.lock)(table, database_name)
    }

    fn repairs(&self, state: &State, _evidence: &Evidence) -> Vec<Repair> {
        let double = |applied: &Applied| {
            let key = applied.key.as_ref()?;
            let condition = format!("{} = {}", state.table.named(self.columns.key), state.table.dialect.text(key));
            let remedy = Edit::of(&state.table).delete(&condition, 1).done();
            let problem = format!("{} is written down as applied more than once", applied.id);
            let because = "the earlier row stays, so the migration still counts as applied, in the batch that it belongs to";
            Some(Repair::proven(problem, format!("delete the later row (number {key})"), because, remedy))
        };
        self.doubles(state).into_iter().filter_map(double).collect()
    }

    fn stamp(&self, state: &State, id: &str, _evidence: &Evidence) -> std::result::Result<Remedy, String> {
        let values = (self.stamp)(state, id)?;
        let tell = |(column, _): &&(&str, String)| *column == self.columns.id || *column == self.columns.group;
        let found_by: Vec<String> =
            values.iter().filter(tell).map(|(column, value)| format!("{} = {value}", state.table.named(column))).collect();
        Ok(Edit::of(&state.table).insert(&values, &found_by.join(" AND ")).done())
    }

    fn suffixes(&self) -> &'static [&'static str] {
        self.suffixes
    }

    fn available(&self, scripts: &[Script]) -> Vec<Available> {
        (self.available)(scripts)
    }
}
