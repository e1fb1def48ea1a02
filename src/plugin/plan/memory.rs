//! What steps remember across processes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::failure::{Failure, Result};

/// Name under which a step leaves what a person must still look at: the command then ends with [`crate::exit::Exit::Attention`].
pub const ATTENTION: &str = "attention";
/// Name under which a step leaves why what the plan has run did not go well: the operation then ends as [`super::Phase::Failed`].
pub const FAILED: &str = "failed";
/// Name under which a step leaves lines about what stays when the operation is over, however it ends: a backup.
pub const KEPT: &str = "kept";

/// Named values of an operation, saved with its record. No secret ever goes in.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Map<String, Value>>>);

impl Memory {
    /// A memory with what an earlier run saved.
    #[must_use]
    pub fn new(values: Map<String, Value>) -> Self {
        Self(Arc::new(Mutex::new(values)))
    }

    /// Keeps a value under a name. It is durable from the next save of the record on.
    ///
    /// # Errors
    /// Only when the value cannot be JSON, which is a bug.
    pub fn keep<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let value = serde_json::to_value(value)
            .map_err(|error| Failure::failed(format!("cannot keep `{name}` in the record: {error}")))?;
        self.lock().insert(name.to_owned(), value);
        Ok(())
    }

    /// What was kept under a name, if anything.
    ///
    /// # Errors
    /// When it is there in another shape: the record comes from another version.
    pub fn recall<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.lock().get(name).cloned() else { return Ok(None) };
        serde_json::from_value(value).map(Some).map_err(|error| {
            Failure::failed(format!("cannot read `{name}` in the operation's record: {error}"))
                .fact("the record was written by another version of kubectl-dbmig")
                .next("use the version that `kubectl dbmig history -o wide` shows for this operation")
        })
    }

    /// As [`Memory::recall`], for what an earlier step must have kept.
    ///
    /// # Errors
    /// As [`Memory::recall`], and when it is absent.
    pub fn need<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        self.recall(name)?
            .ok_or_else(|| Failure::failed(format!("the operation's record lacks `{name}`, which an earlier step writes")))
    }

    /// Forgets a name.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Everything, as it is saved.
    #[must_use]
    pub fn all(&self) -> Map<String, Value> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Map<String, Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
