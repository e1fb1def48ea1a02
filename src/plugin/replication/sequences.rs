//! Sequences: logical replication does not carry them over, and a copy that lags behind gives numbers out twice.

use serde::Deserialize;

use super::json;
use crate::database::{Change, Database, Dialect};
use crate::failure::Result;

/// A sequence that would give out numbers on the target that the source has given out already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// Schema and name, quoted as SQL needs it.
    pub name: String,
    /// The number that the source gave out last.
    pub source: i64,
    /// The same of the target; `None`: none yet, or there is no such sequence.
    pub target: Option<i64>,
    /// The target has it.
    pub there: bool,
}

/// As a server describes one.
#[derive(Debug, Clone, Deserialize)]
struct Sequence {
    name: String,
    step: i64,
    last: Option<i64>,
}

const SEQUENCES: &str = "SELECT coalesce(json_agg(json_build_object('name', format('%I.%I', schemaname, sequencename), \
     'step', increment_by, 'last', last_value)), '[]') FROM pg_sequences \
     WHERE schemaname !~ '^pg_' AND schemaname NOT IN ('information_schema', 'pgcopydb')";

/// The sequences of the target that are behind those of the source, and how many were compared.
///
/// # Errors
/// As [`Database::query`].
pub async fn behind(source: &dyn Database, target: &dyn Database) -> Result<(Vec<Behind>, usize)> {
    let (source, target) = futures::try_join!(source.query(SEQUENCES), target.query(SEQUENCES))?;
    let source: Vec<Sequence> = json(&source, "sequences")?;
    let target: Vec<Sequence> = json(&target, "sequences")?;
    let compared = source.len();
    let late = source.into_iter().filter_map(|one| {
        let last = one.last?;
        let same = target.iter().find(|other| other.name == one.name);
        let there = same.and_then(|other| other.last);
        let is_late = there.is_none_or(|there| if one.step < 0 { there > last } else { there < last });
        is_late.then(|| Behind { name: one.name, source: last, target: there, there: same.is_some() })
    });
    Ok((late.collect(), compared))
}

/// Moves sequences of the target on to where those of the source are.
///
/// # Errors
/// As [`Database::change`].
pub async fn catch_up(target: &dyn Database, late: &[Behind]) -> Result<()> {
    let set = |one: &Behind| {
        let sql = format!("SELECT setval({}, {})", Dialect::Postgres.text(&one.name), one.source);
        Change { sql, rows: 1 }
    };
    target.change(&late.iter().map(set).collect::<Vec<_>>()).await
}
