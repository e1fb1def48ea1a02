//! What the agent does with SQLite databases, on real files.

mod alter;
mod backup;
mod compare;
mod errors;
mod fuzz;
mod kinds;
mod look;
mod series;

use std::path::{Path, PathBuf};

use dbmig_agent::database;
use dbmig_agent::error::Result;
use dbmig_agent::report::Report;
use dbmig_wire::{AgentError, Change, Progress, Rebuild, Rebuilt, Rule, Verify};
use tempfile::TempDir;

/// Nobody listens.
pub struct Quiet;

impl Report for Quiet {
    fn progress(&self, _: Progress) {}
    fn note(&self, _: &str) {}
    fn check(&self) -> Result<()> {
        Ok(())
    }
}

/// A folder with an old file and, after a rebuild, a new one.
pub struct Case {
    pub folder: TempDir,
}

impl Case {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn old(&self) -> PathBuf {
        self.folder.path().join("app.sqlite")
    }

    pub fn new_file(&self) -> PathBuf {
        self.folder.path().join("app.sqlite.dbmig-new")
    }

    pub fn open(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.old()).unwrap()
    }

    pub fn request(&self, rules: &[Rule], afterwards: &[Change]) -> Rebuild {
        Rebuild {
            database: text(&self.old()),
            target: text(&self.new_file()),
            rules: rules.to_vec(),
            temp: text(self.folder.path()),
            afterwards: afterwards.to_vec(),
            leave_free_bytes: 0,
        }
    }

    pub fn try_rebuild(&self, rules: &[Rule], afterwards: &[Change]) -> Result<Rebuilt> {
        database::rebuild(&self.request(rules, afterwards), &Quiet)
    }

    pub fn verify(&self, rules: &[Rule], afterwards: &[Change], rebuilt: &Rebuilt) -> Result<dbmig_wire::Proof> {
        let call = Verify {
            database: text(&self.old()),
            target: text(&self.new_file()),
            rules: rules.to_vec(),
            afterwards: afterwards.to_vec(),
            tables: rebuilt.tables.clone(),
        };
        database::verify(&call, &Quiet)
    }

    /// Rebuilds, verifies, and tells what was kept.
    pub fn rebuild(&self, rules: &[Rule]) -> Rebuilt {
        let rebuilt = self.try_rebuild(rules, &[]).unwrap_or_else(|error| panic!("{}", told(&error)));
        self.verify(rules, &[], &rebuilt).unwrap_or_else(|error| panic!("{}", told(&error)));
        rebuilt
    }
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

pub fn told(error: &AgentError) -> String {
    format!("{:?}: {} {:#?}", error.kind, error.message, error.details)
}
