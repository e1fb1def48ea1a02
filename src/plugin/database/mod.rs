//! How a database is asked, whatever it is and wherever it runs.

mod dialect;
pub mod sqlite;

use async_trait::async_trait;
use serde_json::Value;

pub use self::dialect::Dialect;
use crate::failure::Result;

/// A database that answers read-only questions.
#[async_trait]
pub trait Database: Send + Sync {
    /// The SQL that it speaks.
    fn dialect(&self) -> Dialect;

    /// Runs one reading statement.
    ///
    /// # Errors
    /// When the statement fails, or answers with more than a thousand rows.
    async fn query(&self, sql: &str) -> Result<Vec<Vec<Value>>>;

    /// Runs one reading statement whose first column of its first row is a whole number; `None` for no row or NULL.
    ///
    /// # Errors
    /// As [`Database::query`].
    async fn number(&self, sql: &str) -> Result<Option<i64>> {
        Ok(self.query(sql).await?.first().and_then(|row| row.first()).and_then(Value::as_i64))
    }
}
