//! Built-in rules about what may go from an application's database.

use dbmig_wire::{Rule, SchemaObject};
use serde::{Deserialize, Serialize};

use crate::database::{Database, Dialect};
use crate::failure::Result;

/// Seconds that upmeter's server may still re-sum: it accepts episodes up to a day late
/// (deckhouse/deckhouse, `pkg/server/entity/episode.go`).
const STILL_RESUMMED: i64 = 24 * 3600;

/// A profile that was recognised, with the rules it comes to on this database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Profile {
    /// Its name: `upmeter`.
    pub name: String,
    /// What it drops, in words.
    pub says: String,
    /// The rules; none when it only shrinks.
    pub rules: Vec<Rule>,
}

/// The name of the only profile so far.
const UPMETER: &str = "upmeter";

/// Recognises a profile by the tables, and works out its rules. `now` is in seconds since 1970.
///
/// # Errors
/// When the database can't be asked.
pub(super) async fn recognise(database: &dyn Database, schema: &[SchemaObject], now: i64) -> Result<Option<Profile>> {
    let has = |name: &str| schema.iter().any(|object| object.kind == "table" && object.name == name);
    let old = (has("downtime30s"), has("downtime5m"));
    let new = (has("episodes_30s"), has("episodes_5m"));
    let (fine, coarse) = match (old, new) {
        ((true, true), (false, false)) => ("downtime30s", "downtime5m"),
        ((false, false), (true, true)) => ("episodes_30s", "episodes_5m"),
        ((false, false), (false, false)) => return Ok(None),
        _ => {
            let says = "its migration 4 is applied in part, so no row is dropped and the file only shrinks";
            return Ok(Some(Profile { name: UPMETER.to_owned(), says: says.to_owned(), rules: Vec::new() }));
        }
    };
    let newest = format!("SELECT max(timeslot) FROM {} WHERE typeof(timeslot) = 'integer'", Dialect::Sqlite.identifier(fine));
    let newest = database.number(&newest).await?.unwrap_or(now);
    let older_than = now.min(newest) - STILL_RESUMMED;
    Ok(Some(Profile {
        name: UPMETER.to_owned(),
        says: format!("rows of {fine} that are older than 24 h go, each only if its own 5 min slot is summed up in {coarse}"),
        rules: vec![Rule::SummedUp {
            fine: fine.to_owned(),
            coarse: coarse.to_owned(),
            time: "timeslot".to_owned(),
            slot: 300,
            keys: vec!["group_name".to_owned(), "probe_name".to_owned()],
            older_than,
        }],
    }))
}
