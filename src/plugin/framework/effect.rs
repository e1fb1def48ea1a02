//! What a migration that did not end well has done to the schema, judged by the names that its SQL makes and drops.
//! Reads the SQL, never runs it.

use super::table::{Row, ask};
use super::{Effect, Framework, Script, State, golang_migrate};
use crate::database::{Database, Dialect};
use crate::failure::Result;
use dbmig_wire::SchemaObject;

mod traces;

use self::traces::{Object, Trace, Traces};

/// Finds out what each failed migration of a state has done, where its file or the database itself tells, and sets
/// [`super::Failed::effect`].
///
/// # Errors
/// When the database can't be asked.
pub async fn weigh(database: &dyn Database, state: &mut State, evidence: &super::Evidence, scripts: &[Script]) -> Result<()> {
    for at in 0..state.failed.len() {
        let id = state.failed[at].id.clone();
        if let Some((effect, before)) = known(database, state, &id).await? {
            state.failed[at].effect = effect;
            state.failed[at].before = before;
            continue;
        }
        let effect = of_file(database, state, evidence, scripts, &id).await?;
        state.failed[at].effect = match (state.framework, &effect) {
            (Framework::GolangMigrate, Effect::Applied(_)) => {
                way_down(database, state, evidence, scripts, &id).await?.unwrap_or(effect)
            }
            _ => effect,
        };
    }
    Ok(())
}

async fn of_file(
    database: &dyn Database,
    state: &State,
    evidence: &super::Evidence,
    scripts: &[Script],
    id: &str,
) -> Result<Effect> {
    let sql = |one: &super::Available| {
        scripts.iter().find(|script| script.path == one.path && script.path.ends_with(".sql")).map(|script| script.text.as_str())
    };
    let all = evidence.available.as_deref().unwrap_or_default();
    let Some((at, text)) = all.iter().position(|one| one.id == id).and_then(|at| Some((at, sql(&all[at])?))) else {
        return Ok(Effect::Unknown);
    };
    let before = all[..at].iter().filter_map(sql).fold(traces::Before::default(), traces::Before::and);
    let effect = judge(database, state, id, &Traces::of(text, &before)).await?;
    let failed = state.failed.iter().find(|failed| failed.id == id);
    Ok(match (effect, failed.and_then(|failed| failed.log.as_ref())) {
        // All the names are there, and yet it failed: others made some of them.
        (Effect::Applied(because), Some(_)) => Effect::Partly(format!("{because}, but it failed, so not all of it is its own")),
        (effect, _) => effect,
    })
}

/// golang-migrate's row names, on the way down, the migration *before* the one that is reversed. So the next one must not be there
/// if this one is to be the last.
async fn way_down(
    database: &dyn Database,
    state: &State,
    evidence: &super::Evidence,
    scripts: &[Script],
    id: &str,
) -> Result<Option<Effect>> {
    let mut after = evidence.available.iter().flatten().skip_while(|one| one.id != id).skip(1);
    let Some(next) = after.next() else { return Ok(None) };
    Ok(match of_file(database, state, evidence, scripts, &next.id).await? {
        Effect::Applied(because) | Effect::Partly(because) => Some(Effect::Partly(format!(
            "migration {id} is there, but {because}: the way down of {} was cut off, so {} may be the version that is true",
            next.id, next.id
        ))),
        Effect::Unknown | Effect::NotApplied(_) => None,
    })
}

/// Where the application is one whose migrations we know.
async fn known(database: &dyn Database, state: &State, id: &str) -> Result<Option<(Effect, super::Before)>> {
    let (Framework::GolangMigrate, Dialect::Sqlite, Ok(version)) = (state.framework, state.table.dialect, id.parse()) else {
        return Ok(None);
    };
    let rows = ask(database, "SELECT type, name, tbl_name, sql FROM sqlite_master LIMIT 1000").await?;
    let schema: Vec<SchemaObject> = rows.into_iter().filter_map(object).collect();
    golang_migrate::known(database, &schema, &state.table.name, version).await
}

fn object(row: Row) -> Option<SchemaObject> {
    let [kind, name, table, sql] = <[Option<String>; 4]>::try_from(row).ok()?;
    Some(SchemaObject { kind: kind?, name: name?, table: table?, sql })
}

async fn judge(database: &dyn Database, state: &State, id: &str, traces: &Traces) -> Result<Effect> {
    if traces.list.is_empty() {
        return Ok(Effect::Unknown);
    }
    let questions: Vec<String> = traces.list.iter().map(|trace| question(state, trace)).collect();
    let row = ask(database, &format!("SELECT {}", questions.join(", "))).await?.into_iter().next().unwrap_or_default();
    let there = |at: usize| row.get(at).and_then(Option::as_deref).is_some_and(|count| count != "0");
    let (done, open): (Vec<_>, Vec<_>) = traces.list.iter().enumerate().partition(|(at, trace)| there(*at) == trace.there);
    let words = |traces: &[(usize, &Trace)], done: bool| {
        let word = |(_, trace): &(usize, &Trace)| {
            let there = trace.there == done;
            format!("{} is {}there", trace.object, if there { "" } else { "not " })
        };
        traces.iter().take(5).map(word).collect::<Vec<_>>().join(", ")
    };
    Ok(match (done.as_slice(), open.as_slice()) {
        (done, []) if traces.tells_end => Effect::Applied(format!("migration {id} took effect: {}", words(done, true))),
        ([], open) if traces.tells_begin => {
            Effect::NotApplied(format!("migration {id} did not take effect: {}", words(open, false)))
        }
        (_, []) | ([], _) => Effect::Unknown,
        (done, open) => {
            Effect::Partly(format!("migration {id} took effect in part: {}, but {}", words(done, true), words(open, false)))
        }
    })
}

/// A question for the number of things that have a name. Names are compared without regard to case, as most databases do.
fn question(state: &State, trace: &Trace) -> String {
    let dialect = state.table.dialect;
    let text = |name: &str| dialect.text(&name.to_lowercase());
    let schema = match dialect {
        Dialect::Postgres => {
            let schema = trace.schema.as_deref().or(state.table.schema.as_deref()).unwrap_or("public");
            format!("= {}", dialect.text(schema))
        }
        _ => "= DATABASE()".to_owned(),
    };
    match (dialect, &trace.object) {
        (Dialect::Sqlite, Object::Table(name)) => {
            format!("(SELECT count(*) FROM sqlite_master WHERE type IN ('table', 'view') AND lower(name) = {})", text(name))
        }
        (Dialect::Sqlite, Object::Index(name)) => {
            format!("(SELECT count(*) FROM sqlite_master WHERE type = 'index' AND lower(name) = {})", text(name))
        }
        (Dialect::Sqlite, Object::Column(table, name)) => {
            format!("(SELECT count(*) FROM pragma_table_info({}) WHERE lower(name) = {})", text(table), text(name))
        }
        (Dialect::Postgres, Object::Table(name)) => pg_class(&schema, "'r', 'p', 'v', 'm', 'f'", &text(name)),
        (Dialect::Postgres, Object::Index(name)) => pg_class(&schema, "'i', 'I'", &text(name)),
        (Dialect::Mysql | Dialect::MariaDb, Object::Table(name)) => {
            format!(
                "(SELECT count(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA {schema} AND lower(TABLE_NAME) = {})",
                text(name)
            )
        }
        (Dialect::Mysql | Dialect::MariaDb, Object::Index(name)) => {
            format!(
                "(SELECT count(*) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA {schema} AND lower(INDEX_NAME) = {})",
                text(name)
            )
        }
        (Dialect::Postgres | Dialect::Mysql | Dialect::MariaDb, Object::Column(table, name)) => format!(
            "(SELECT count(*) FROM information_schema.columns WHERE table_schema {schema} AND lower(table_name) = {} AND lower(column_name) = {})",
            text(table),
            text(name)
        ),
    }
}

fn pg_class(schema: &str, kinds: &str, name: &str) -> String {
    format!(
        "(SELECT count(*) FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
         WHERE n.nspname {schema} AND c.relkind IN ({kinds}) AND lower(c.relname) = {name})"
    )
}
