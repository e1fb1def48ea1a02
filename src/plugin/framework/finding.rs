//! What `doctor` has to say: data only.

use serde::Serialize;

/// Something worth a person's attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// What, as a sentence without a full stop.
    pub what: String,
    /// What was seen that shows it.
    pub evidence: Option<String>,
    /// Commands or decisions, most useful first; the word `TARGET` stands for what the user named.
    pub next: Vec<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// Good to know.
    Note,
    /// Works today, and will bite.
    Attention,
    /// No migration can run as it is.
    Broken,
}

/// The command that shows and does the repair.
pub(super) const REPAIR: &str = "kubectl dbmig repair TARGET";
/// The command that lists migrations.
pub(super) const HISTORY: &str = "kubectl dbmig history TARGET";

impl Finding {
    /// Nothing but what is so.
    #[must_use]
    pub fn new(level: Level, what: impl Into<String>) -> Self {
        Self { level, what: what.into(), evidence: None, next: Vec::new() }
    }

    /// What is so and what shows it, for a warning.
    #[must_use]
    pub fn in_a_line(&self) -> String {
        match &self.evidence {
            Some(evidence) => format!("{}: {evidence}", self.what),
            None => self.what.clone(),
        }
    }

    /// What was seen.
    #[must_use]
    pub fn evidence(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = Some(evidence.into());
        self
    }

    /// One more thing to type or to decide.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }
}
