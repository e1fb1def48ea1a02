//! How a source hands its changes to pgcopydb 0.17, which no way gets all of right (seen in runs): with test_decoding an update that leaves
//! a large value as it is writes the text `unchanged-toast-datum` in its place, and quotes in JSON, arrays and varchar are doubled; with
//! wal2json numbers lose digits, unless it is asked to write them as texts, which its versions before 2.6 do not know.

use serde::{Deserialize, Serialize};

use super::drop_slot;
use crate::database::{Change, Database};
use crate::failure::Result;

/// A temporary slot of ours, which would go with its session.
const PROBE: &str = "kubectl_dbmig_probe";

/// An output plugin, and what it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decoding {
    /// wal2json, with numbers as texts.
    ExactJson,
    /// wal2json, where there are no numbers to lose digits.
    Json,
    /// What every server has.
    Test,
}

impl Decoding {
    /// Words for pgcopydb's command line.
    #[must_use]
    pub fn words(self) -> &'static [&'static str] {
        match self {
            Self::ExactJson => &["--plugin", "wal2json", "--wal2json-numeric-as-string"],
            Self::Json => &["--plugin", "wal2json"],
            Self::Test => &["--plugin", "test_decoding"],
        }
    }

    /// What it changes without a word.
    #[must_use]
    pub fn risk(self) -> &'static str {
        match self {
            Self::ExactJson | Self::Json => "floating-point numbers that are infinite, NaN or very large come out changed",
            Self::Test => {
                "large values that an update leaves as they are, and quotes in JSON, arrays and varchar, come out changed"
            }
        }
    }
}

/// The way that gets most right on this source.
///
/// # Errors
/// As [`Database::query`].
pub async fn decoding(source: &dyn Database) -> Result<Decoding> {
    let make = format!("SELECT pg_create_logical_replication_slot('{PROBE}', 'wal2json', true)");
    if source.change(&[Change { sql: make, rows: 1 }]).await.is_err() {
        return Ok(Decoding::Test);
    }
    let peek =
        format!("SELECT count(*) FROM pg_logical_slot_peek_changes('{PROBE}', NULL, 1, 'numeric-data-types-as-string', 'true')");
    let exact = source.number(&peek).await.is_ok();
    // A statement that failed has taken it along.
    drop_slot(source, PROBE).await?;
    if exact {
        return Ok(Decoding::ExactJson);
    }
    let numbers = "SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace \
         WHERE atttypid IN ('numeric'::regtype, 'numeric[]'::regtype) AND relkind IN ('r', 'p') AND NOT attisdropped \
         AND nspname !~ '^pg_' AND nspname <> 'information_schema'";
    Ok(if source.number(numbers).await?.unwrap_or_default() == 0 { Decoding::Json } else { Decoding::Test })
}
