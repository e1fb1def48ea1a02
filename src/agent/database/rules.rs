//! Checks the rules of a request and turns each into the rows it keeps. Copies nothing.

use std::cell::RefCell;

use dbmig_wire::{ErrorKind, Rule};
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::copy::{Ask, Choice};
use super::kept::Kept;
use super::open::{Open, quoted, unchanging};
use super::pages::Pages;
use super::schema::Shape;
use super::sql_text;
use super::sums::{Series, StoredRows, Sums, borrowed};
use super::sums_index::columns;
use crate::error::{Explain, Result, fail, sqlite_reason};

/// The SQL function that tells whether a row goes: its arguments are the time and the keys.
const SUMMED_UP: &str = "dbmig_summed_up";

/// Refuses rules that cannot be carried out.
///
/// # Errors
/// `BadRequest`: a missing table or column, more than one rule for a table, a condition that is not one harmless expression.
pub(super) fn check(connection: &mut Connection, rules: &[Rule]) -> Result<()> {
    for (at, rule) in rules.iter().enumerate() {
        let table = Shape::of(connection, rule.table())?.name;
        if rules[..at].iter().any(|other| other.table().eq_ignore_ascii_case(&table)) {
            return Err(fail(ErrorKind::BadRequest, format!("there are two rules for table {table}; one per table is possible")));
        }
        match rule {
            Rule::Where { table, condition, .. } => check_condition(connection, table, condition)?,
            Rule::SummedUp { .. } => Series::of(rule).map_or(Ok(()), |series| series.check(connection))?,
        }
    }
    Ok(())
}

fn check_condition(connection: &mut Connection, table: &str, condition: &str) -> Result<()> {
    let refuse =
        |why: &str| fail(ErrorKind::BadRequest, format!("the condition '{condition}' for table {table} is not usable: {why}"));
    if let Some(why) = sql_text::not_an_expression(condition) {
        return Err(refuse(why));
    }
    let watch = Some(only_reading as fn(AuthContext<'_>) -> Authorization);
    connection.authorizer(watch).explain(|| "cannot guard the condition".to_owned())?;
    let prepared = connection.prepare(&selecting("1", table, condition)).map(|statement| statement.readonly());
    connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>).explain(|| "cannot guard the condition".to_owned())?;
    match prepared {
        Ok(true) => Ok(()),
        Ok(false) => Err(refuse("it would change something")),
        Err(error) => Err(refuse(&sqlite_reason(&error))),
    }
}

/// Lets a statement read, and call what gives the same answer each time it is asked.
fn only_reading(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Function { function_name } => {
            const FICKLE: [&str; 7] =
                ["random", "randomblob", "changes", "total_changes", "last_insert_rowid", "load_extension", "fts3_tokenizer"];
            let fickle = FICKLE.iter().any(|name| function_name.eq_ignore_ascii_case(name));
            if fickle { Authorization::Deny } else { Authorization::Allow }
        }
        _ => Authorization::Deny,
    }
}

/// The line breaks keep a trailing comment of the condition from swallowing what follows.
fn selecting(what: &str, table: &str, condition: &str) -> String {
    format!("SELECT {what} FROM main.{} WHERE (\n{condition}\n)", quoted(table))
}

/// A rule's condition in SQL; the connection must know [`SUMMED_UP`] for a series.
pub(super) fn condition(rule: &Rule) -> String {
    match Series::of(rule) {
        Some(series) => format!("NOT {SUMMED_UP}({})", series.columns()),
        None => match rule {
            Rule::Where { condition, .. } => condition.clone(),
            Rule::SummedUp { .. } => String::new(),
        },
    }
}

/// Teaches a connection to decide about a series.
pub(super) fn teach(connection: &Connection, rule: &Rule, path: &str, open: Open) -> Result<()> {
    let Some(series) = Series::of(rule) else { return Ok(()) };
    let arguments = 1 + series.keys.len() as i32;
    let sums = RefCell::new(Sums::new(series, path, open)?);
    let decide = move |context: &rusqlite::functions::Context<'_>| {
        let keys: Vec<_> = (1..context.len()).map(|at| borrowed(context.get_raw(at))).collect();
        let dropped = sums.borrow_mut().drops(&borrowed(context.get_raw(0)), &keys);
        dropped.map_err(|error| rusqlite::Error::UserFunctionError(error.message.into()))
    };
    let flags = FunctionFlags::SQLITE_UTF8;
    connection.create_scalar_function(SUMMED_UP, arguments, flags, decide).explain(|| "cannot set up the rule".to_owned())
}

/// How many rows a table has and how many a rule keeps, asked through SQLite.
pub(super) fn count(connection: &Connection, rule: &Rule) -> Result<u64> {
    let sql = selecting("count(*)", rule.table(), &condition(rule));
    connection.query_row(&sql, [], |row| row.get(0)).explain(|| format!("cannot count what table {} keeps", rule.table()))
}

/// The choice of rows for a table with rowids in a file that nobody writes to.
pub(super) fn choice<'p>(connection: &'p Connection, pages: &'p Pages, path: &str, rule: &Rule) -> Result<Choice<'p>> {
    let shape = Shape::of(connection, rule.table())?;
    if let Some(series) = Series::of(rule)
        && let Some(stored) = StoredRows::of(&series, &shape, pages)
        && shape.rowid().is_some()
    {
        return straight(connection, pages, path, series, stored, &shape);
    }
    teach(connection, rule, path, unchanging)?;
    match shape.rowid() {
        Some(rowid) => listed(connection, rule, rowid),
        None => in_step(connection, rule),
    }
}

/// Decides from the stored bytes; asks SQLite only for rows that are older than one of the columns.
fn straight<'p>(
    connection: &'p Connection,
    pages: &'p Pages,
    path: &str,
    series: Series,
    stored: StoredRows,
    shape: &Shape,
) -> Result<Choice<'p>> {
    let rowid = shape.rowid().unwrap_or("rowid");
    let one = format!("SELECT {} FROM main.{} WHERE {rowid} = ?1", series.columns(), quoted(&series.fine));
    let mut sums = Sums::new(series.clone(), path, unchanging)?.straight(pages)?;
    let keys = series.keys.len();
    Ok(Choice::Ask(Box::new(move |cell| {
        if let Some(dropped) = stored.drops(&mut sums, pages, cell)? {
            return Ok(!dropped);
        }
        let looking = || format!("cannot read row {} of table {}", cell.rowid, series.fine);
        let mut find = connection.prepare_cached(&one).explain(looking)?;
        let mut rows = find.query([cell.rowid]).explain(looking)?;
        let Some(row) = rows.next().explain(looking)? else { return Ok(true) };
        let values = (0..=keys).map(|at| row.get_ref(at).map(borrowed)).collect::<rusqlite::Result<Vec<_>>>().explain(looking)?;
        sums.drops(&values[0], &values[1..]).map(|dropped| !dropped)
    })))
}

/// Whether the entries of an index hold all that a rule asks for, as it is stored in the table.
pub(super) fn decides(connection: &Connection, pages: &Pages, rule: &Rule, index: &str) -> Result<bool> {
    let Some(series) = Series::of(rule) else { return Ok(false) };
    let shape = Shape::of(connection, rule.table())?;
    let straight = shape.rowid().is_some() && StoredRows::of(&series, &shape, pages).is_some();
    Ok(straight && StoredRows::of_entries(&series, &columns(connection, index)?, pages).is_some())
}

/// Decides from the entries of an index; only where [`decides`] says so.
pub(super) fn ask_index<'p>(connection: &Connection, pages: &'p Pages, path: &str, rule: &Rule, index: &str) -> Result<Ask<'p>> {
    let unable = || fail(ErrorKind::Other, format!("index {index} cannot decide for table {}", rule.table()));
    let series = Series::of(rule).ok_or_else(unable)?;
    let stored = StoredRows::of_entries(&series, &columns(connection, index)?, pages).ok_or_else(unable)?;
    let mut sums = Sums::new(series, path, unchanging)?.straight(pages)?;
    Ok(Box::new(move |cell| Ok(!stored.drops(&mut sums, pages, cell)?.ok_or_else(unable_to_read)?)))
}

fn unable_to_read() -> dbmig_wire::AgentError {
    fail(ErrorKind::Corrupt, "an index entry lacks one of its columns")
}

/// Lists the rows to keep first; SQLite may use an index.
fn listed<'p>(connection: &Connection, rule: &Rule, rowid: &str) -> Result<Choice<'p>> {
    let looking = || format!("cannot read table {}", rule.table());
    let mut statement = connection.prepare(&selecting(rowid, rule.table(), &condition(rule))).explain(looking)?;
    let mut rows = statement.query([]).explain(looking)?;
    let mut kept = Kept::new();
    while let Some(row) = rows.next().explain(looking)? {
        kept.add(row.get(0).explain(looking)?)?;
    }
    Ok(Choice::Of(kept))
}

/// For a table whose columns hide every name of the rowid: SQLite's scan and ours go in step, both in the order of rowids.
fn in_step<'p>(connection: &Connection, rule: &Rule) -> Result<Choice<'p>> {
    let looking = || format!("cannot read table {}", rule.table());
    let sql = format!("SELECT (\n{}\n) IS TRUE FROM main.{} NOT INDEXED", condition(rule), quoted(rule.table()));
    let mut statement = connection.prepare(&sql).explain(looking)?;
    let mut rows = statement.query([]).explain(looking)?;
    let mut places = Kept::new();
    let mut place = 0;
    while let Some(row) = rows.next().explain(looking)? {
        if row.get(0).explain(looking)? {
            places.add(place)?;
        }
        place += 1;
    }
    let mut place = -1;
    Ok(Choice::Ask(Box::new(move |_| {
        place += 1;
        Ok(places.has(place)?)
    })))
}
