//! What each migration of Deckhouse's upmeter server leaves behind, so that a dirty version can be set right.
//!
//! Facts from deckhouse/deckhouse, `modules/500-upmeter`, the server's migrations 1 to 5 and 7 to 9 in their several
//! published shapes. There is no file 6.

use dbmig_wire::SchemaObject;

use super::{Effect, has_columns};
use crate::database::Database;
use crate::failure::Result;

fn at(version: i64, because: impl Into<String>) -> Effect {
    Effect::At { version: Some(version), because: because.into() }
}

const OLD: [&str; 2] = ["downtime30s", "downtime5m"];
const NEW: [&str; 2] = ["episodes_30s", "episodes_5m"];
const EXPORT: &str = "export_episodes";
const NANOSECONDS: [&str; 4] = ["nano_up", "nano_down", "nano_unknown", "nano_unmeasured"];
const SECONDS: [&str; 4] = ["success_seconds", "fail_seconds", "unknown_seconds", "nodata_seconds"];
const EXPORT_SECONDS: [&str; 4] = ["success", "fail", "unknown", "nodata"];

/// Whether this is upmeter's database, at any of its versions: by a table that nobody else has, or nothing but bookkeeping.
pub(super) fn is_its_schema(schema: &[SchemaObject]) -> bool {
    OLD.iter().chain(&NEW).any(|name| has(schema, name))
}

fn has(schema: &[SchemaObject], name: &str) -> bool {
    schema.iter().any(|object| object.name == name)
}

/// What migration `version`, which was running, has done.
pub(super) async fn effect(database: &dyn Database, schema: &[SchemaObject], version: i64) -> Result<Effect> {
    Ok(match version {
        1 => tables_made(schema),
        2 => at(1, "migration 2 only renames a probe, and doing that twice is the same as once"),
        3 => export_made(schema),
        4 => nanoseconds(database, schema).await?,
        5 => old_bookkeeping_gone(schema),
        7 => vacuumed(database).await?,
        8 => totals(database, schema).await?,
        9 => renamed(schema),
        other => Effect::Unclear(format!("migration {other} is none that this version of kubectl-dbmig knows of upmeter")),
    })
}

fn tables_made(schema: &[SchemaObject]) -> Effect {
    let indexes = ["downtime30s_time_group_probe", "downtime5m_time_group_probe"];
    match OLD.iter().chain(&indexes).filter(|name| has(schema, name)).count() {
        4 => at(1, "migration 1 took effect: both tables and their indexes are there"),
        _ => {
            Effect::At { version: None, because: "migration 1 took effect in part, and creates only what is missing".to_owned() }
        }
    }
}

fn export_made(schema: &[SchemaObject]) -> Effect {
    match (has(schema, EXPORT), has(schema, "sync_id_sorted")) {
        (true, true) => at(3, "migration 3 took effect: export_episodes and its index are there"),
        (false, false) => at(2, "migration 3 did not take effect: export_episodes is not there"),
        (true, false) => Effect::Unclear(
            "migration 3 took effect in part: export_episodes is there, its index sync_id_sorted is not".to_owned(),
        ),
        (false, true) => Effect::Unclear("an index sync_id_sorted is there without export_episodes".to_owned()),
    }
}

/// Migration 4 renames two tables and all their counters, and turns seconds into nanoseconds; only the last part can't be done twice.
async fn nanoseconds(database: &dyn Database, schema: &[SchemaObject]) -> Result<Effect> {
    let old_tables = OLD.iter().filter(|name| has(schema, name)).count();
    let new_tables = NEW.iter().filter(|name| has(schema, name)).count();
    if old_tables == 2 && new_tables == 0 {
        return before_nanoseconds(database, schema).await;
    }
    if old_tables == 0 && new_tables == 2 {
        return after_nanoseconds(database, schema).await;
    }
    let there: Vec<&str> = OLD.iter().chain(&NEW).filter(|name| has(schema, name)).copied().collect();
    Ok(Effect::Unclear(format!(
        "migration 4 took effect in part: of the tables it renames, {} are there; going back to version 3 would fail for ever on the table that is gone",
        there.join(" and ")
    )))
}

async fn before_nanoseconds(database: &dyn Database, schema: &[SchemaObject]) -> Result<Effect> {
    let export = !has(schema, EXPORT) || has_columns(database, EXPORT, &EXPORT_SECONDS).await?;
    for table in OLD {
        if !has_columns(database, table, &SECONDS).await? {
            return Ok(Effect::Unclear(format!(
                "migration 4 took effect in part: {table} has its old name, but not all its old columns"
            )));
        }
    }
    if !export {
        return Ok(Effect::Unclear(
            "migration 4 took effect in part: the columns of export_episodes are renamed already".to_owned(),
        ));
    }
    Ok(at(3, "migration 4 did not take effect: both tables have their old names and columns"))
}

async fn after_nanoseconds(database: &dyn Database, schema: &[SchemaObject]) -> Result<Effect> {
    // A slot of 30 s holds 3e10 ns in all; one that still counts seconds holds 30.
    for (table, slot) in [(NEW[0], 30_i64), (NEW[1], 300), (EXPORT, 300)] {
        if table == EXPORT && !has(schema, EXPORT) {
            continue;
        }
        if !has_columns(database, table, &NANOSECONDS).await? {
            return Ok(Effect::Unclear(format!("migration 4 took effect in part: not all columns of {table} are renamed")));
        }
        let seconds = slot * 1000;
        let unscaled = format!(
            "SELECT count(*) FROM {table} WHERE nano_up + nano_down + nano_unknown + nano_unmeasured BETWEEN 1 AND {seconds}"
        );
        if database.number(&unscaled).await?.unwrap_or_default() > 0 {
            return Ok(Effect::Unclear(format!(
                "migration 4 took effect in part: {table} has rows that still count seconds under columns named nano_…"
            )));
        }
    }
    Ok(at(4, "migration 4 took effect: tables and columns have their new names, and every row counts nanoseconds"))
}

fn old_bookkeeping_gone(schema: &[SchemaObject]) -> Effect {
    if has(schema, "_schema_version") {
        at(4, "migration 5 did not take effect: _schema_version is still there")
    } else {
        at(5, "migration 5 took effect: _schema_version is gone")
    }
}

async fn vacuumed(database: &dyn Database) -> Result<Effect> {
    Ok(match database.number("PRAGMA auto_vacuum").await? {
        Some(0) => at(5, "migration 7 did not take effect: auto_vacuum is still off (there is no migration 6)"),
        _ => at(7, "migration 7 took effect: auto_vacuum is on"),
    })
}

async fn totals(database: &dyn Database, schema: &[SchemaObject]) -> Result<Effect> {
    if !has(schema, NEW[1]) {
        return Ok(Effect::Unclear("migration 8 fills episodes_5m, which is not there".to_owned()));
    }
    let totals = database.number("SELECT count(*) FROM episodes_5m WHERE probe_name = '__total__'").await?;
    Ok(match totals.unwrap_or_default() {
        0 => at(7, "migration 8 did not take effect: episodes_5m has no row of probe __total__, and the file is one transaction"),
        count => at(
            8,
            format!("migration 8 took effect: episodes_5m has {count} rows of probe __total__, and the file is one transaction"),
        ),
    })
}

fn renamed(schema: &[SchemaObject]) -> Effect {
    if NEW.iter().all(|name| has(schema, name)) {
        return at(
            8,
            "migration 9 only renames a group and a probe, and doing that again is safe; the first published file 9 names tables that \
             migration 4 renamed, so it never took effect: the image must have the mended one",
        );
    }
    Effect::Unclear("migration 9 works on episodes_30s and episodes_5m, which are not both there".to_owned())
}
