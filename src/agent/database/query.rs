//! Reads a few rows for the plugin. Accepts nothing that could change something.

use dbmig_wire::{AgentError, ErrorKind, Query, hex};
use rusqlite::types::ValueRef;
use serde_json::{Value, json};

use super::inspect::reading;
use crate::error::{Explain, Result, fail, sqlite_reason};
use crate::report::Report;

/// Answers one `SELECT` or reading `PRAGMA`. Text that is no UTF-8 comes with replacement characters, a blob as lower-case hex
/// after `x:`, infinities as text.
///
/// # Errors
/// `BadRequest` for SQL that does not compile, more than one statement, one that is not read-only, or too many rows;
/// `Unsettled` with a hot journal; `Busy`.
pub fn query(call: &Query, report: &dyn Report) -> Result<Vec<Vec<Value>>> {
    report.check()?;
    let refuse = |why: &str| fail(ErrorKind::BadRequest, format!("the query '{}' is not usable: {why}", call.sql));
    let (connection, _) = reading(&call.database)?;
    let asking = || format!("cannot read {}", call.database);
    connection.pragma_update(None, "query_only", true).explain(asking)?;
    let mut statement = connection.prepare(&call.sql).map_err(|error| refuse(&sqlite_reason(&error)))?;
    if !statement.readonly() || statement.column_count() == 0 {
        return Err(refuse("it does not only read"));
    }
    let columns = statement.column_count();
    let mut rows = statement.query([]).explain(asking)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().explain(asking)? {
        if found.len() == call.most as usize {
            return Err(refuse(&format!("it finds more than {} rows", call.most)));
        }
        let values = (0..columns).map(|at| row.get_ref(at).map(shown).explain(asking));
        found.push(values.collect::<Result<Vec<Value>, AgentError>>()?);
    }
    Ok(found)
}

fn shown(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => json!(value),
        ValueRef::Real(value) if value.is_finite() => json!(value),
        ValueRef::Real(value) => json!(value.to_string()),
        ValueRef::Text(bytes) => json!(String::from_utf8_lossy(bytes)),
        ValueRef::Blob(bytes) => json!(format!("x:{}", hex(bytes))),
    }
}
