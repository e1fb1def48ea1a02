//! What stands around the bookkeeping: a schema that nobody wrote down, and what migrations that were cut off leave behind.

use super::finding::{Finding, Level, REPAIR};
use super::table::{Row, ask, number};
use super::{Framework, State};
use crate::database::{Database, Dialect};
use crate::failure::Result;

/// Adds what was noticed to a state.
///
/// # Errors
/// When the database can't be asked.
pub(super) async fn look(database: &dyn Database, state: &mut State) -> Result<()> {
    if state.unreadable.is_none() && state.count == 0 && state.failed.is_empty() {
        let others = others(database, state).await?;
        if others > 0 {
            let what = format!("{}: no migration is written down, but {others} other tables are there", state.table);
            let next = format!("{REPAIR} --stamp VERSION   # once you know at which version the schema is");
            state.notes.push(Finding::new(Level::Attention, what).next(next));
        }
    }
    state.notes.extend(leftovers(database, state).await?);
    Ok(())
}

/// Tables beside the bookkeeping. Names with `migration`, `changelog` or `metadata` are frameworks' own.
async fn others(database: &dyn Database, state: &State) -> Result<u64> {
    let text = |name: &str| state.table.dialect.text(name);
    let name = text(&state.table.name);
    let own = |column: &str| {
        format!(
            "{column} <> {name} AND lower({column}) NOT LIKE '%migration%' AND lower({column}) NOT LIKE 'databasechangelog%' AND {column} <> 'ar_internal_metadata'"
        )
    };
    let sql = match (state.table.dialect, &state.table.schema) {
        (Dialect::Sqlite, _) => {
            format!("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND {}", own("name"))
        }
        (Dialect::Postgres, schema) => {
            // Drizzle and Atlas keep their table in a schema of its own.
            let schema = if state.framework == Framework::Drizzle { "public" } else { schema.as_deref().unwrap_or("public") };
            format!("SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = {} AND {}", text(schema), own("tablename"))
        }
        (Dialect::Mysql | Dialect::MariaDb, _) => format!(
            "SELECT count(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE' AND {}",
            own("TABLE_NAME")
        ),
    };
    Ok(ask(database, &sql).await?.first().and_then(|row| number(row, 0)).unwrap_or_default())
}

/// Tables and indexes that only a migration that was cut off leaves: they stand in the way of its next try.
async fn leftovers(database: &dyn Database, state: &State) -> Result<Option<Finding>> {
    let temporary = match state.framework {
        Framework::Alembic => r"\_alembic\_tmp\_%",
        Framework::Django => r"new\_\_%",
        Framework::EfCore => r"ef\_temp\_%",
        _ => "",
    };
    let (rows, what, next): (Vec<Row>, _, _) = match state.table.dialect {
        Dialect::Sqlite if !temporary.is_empty() => {
            let sql =
                format!("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '{temporary}' ESCAPE '\\' LIMIT 20");
            (
                ask(database, &sql).await?,
                "a rebuild of a table was cut off and left",
                "drop it once its table is whole: it stands in the way of the next try",
            )
        }
        Dialect::Postgres => {
            let sql = "SELECT c.relname FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid \
                WHERE NOT i.indisvalid AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_stat_progress_create_index AS p WHERE p.index_relid = c.oid) \
                AND c.relkind = 'i' LIMIT 20";
            (
                ask(database, sql).await?,
                "an index that is built beside the writers was cut off and is not valid",
                "DROP INDEX CONCURRENTLY it, and build it again",
            )
        }
        _ => return Ok(None),
    };
    let names: Vec<String> = rows.into_iter().flatten().flatten().collect();
    Ok((!names.is_empty()).then(|| Finding::new(Level::Attention, format!("{what}: {}", names.join(", "))).next(next)))
}
