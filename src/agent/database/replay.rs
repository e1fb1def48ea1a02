//! Applies migration files to an empty database in memory. Reaches no file.

use dbmig_wire::{Replay, ReplayedSchema};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::schema::objects;
use crate::error::{Explain, Result, sqlite_reason};
use crate::report::Report;

/// Tells the schema after each script; stops after the first that fails, which is part of the answer and no error.
///
/// # Errors
/// `Other` if SQLite cannot set up a database in memory; `Stopped`.
pub fn replay(call: &Replay, report: &dyn Report) -> Result<Vec<ReplayedSchema>> {
    let doing = || "cannot set up a database in memory".to_owned();
    let mut connection = Connection::open_in_memory().explain(doing)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false).explain(doing)?;
    connection.authorizer(Some(within_memory as fn(AuthContext<'_>) -> Authorization)).explain(doing)?;
    let mut states = Vec::new();
    for script in &call.scripts {
        report.check()?;
        let failed = connection.execute_batch(script).err();
        if !connection.is_autocommit() {
            // A file that fails, or ends, within its transaction leaves nothing of it.
            connection.execute_batch("ROLLBACK").explain(doing)?;
        }
        let schema = objects(&connection, "the database in memory")?.into_iter().map(|object| object.seen).collect();
        let error = failed.as_ref().map(sqlite_reason);
        let ended = error.is_some();
        states.push(ReplayedSchema { schema, error });
        if ended {
            break;
        }
    }
    Ok(states)
}

/// Scripts come out of an image: they may do everything to the database in memory and nothing beside it.
fn within_memory(context: AuthContext<'_>) -> Authorization {
    match context.action {
        // VACUUM attaches a nameless one.
        AuthAction::Attach { filename } if !filename.is_empty() => Authorization::Deny,
        AuthAction::Function { function_name } if function_name.eq_ignore_ascii_case("load_extension") => Authorization::Deny,
        AuthAction::Pragma { pragma_name, .. } if pragma_name.ends_with("_directory") => Authorization::Deny,
        _ => Authorization::Allow,
    }
}
