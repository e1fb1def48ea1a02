//! `run`: a migration runs once, whoever dies, and what came of it is told by the database's books.

mod backup;
mod cleanup;
mod faults;
mod keeper;
mod kubelet;
mod release;
mod shop;

use std::path::PathBuf;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Namespace, ends};

/// The records of a namespace, oldest first.
fn records(space: &Namespace) -> Vec<Value> {
    let history: Value = serde_json::from_str(&space.dbmig(&["history", "-o", "json"]).stdout).unwrap();
    history["items"].as_array().cloned().unwrap_or_default()
}

fn newest(space: &Namespace) -> String {
    records(space).last().map(|record| record["id"].as_str().unwrap().to_owned()).unwrap_or_default()
}

/// No pod and no Lease of ours is left; Jobs that ended by themselves and records may be.
fn is_tidy(space: &Namespace) {
    space.wait_for("no helper and no Lease of ours is left", || {
        let names = "jsonpath={.items[*].metadata.name}";
        let alive = ["get", "pods", "--field-selector=status.phase!=Succeeded,status.phase!=Failed", "-o", names];
        !space.kubectl(&alive).contains("dbmig") && !space.kubectl(&["get", "leases", "-o", names]).contains("dbmig")
    });
}

/// Keeper with its database on a volume, and a Job that migrates it with Flask-Migrate.
struct Keeper {
    space: Namespace,
    file: PathBuf,
}

impl Keeper {
    /// `None` where there is no image for it.
    async fn new(purpose: &str) -> Option<Self> {
        std::env::var_os("DBMIG_TEST_LAB")?;
        let space = Namespace::new(purpose).await;
        space.volume("data", "32Mi");
        space.has_account();
        let file = space.folder("data").join("keeper.db");
        let keeper = Self { space, file };
        keeper.reset();
        Some(keeper)
    }

    /// The Job, with another command or image if one is given.
    fn job(&self, name: &str, command: &str) -> String {
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"backoffLimit": 5, "template": {"spec": {
            "restartPolicy": "OnFailure", "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "uwsgi", "image": "migrations:1", "workingDir": "/keeper", "command": ["sh", "-c", command],
                "env": [{"name": "FLASK_APP", "value": "keeper"}, {"name": "LTD_KEEPER_DB_URL", "value": "sqlite:////data/keeper.db"}],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}}}})
        .to_string()
    }

    /// A folder with a file of that Job.
    fn file_of(&self, command: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job.yaml");
        std::fs::write(&path, self.job("migrate", command)).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (dir, path)
    }

    /// The revision that the books have.
    fn revision(&self) -> Option<String> {
        let database = Connection::open(&self.file).unwrap();
        database.query_row("SELECT version_num FROM alembic_version", [], |row| row.get(0)).ok()
    }

    /// As if nothing had ever been migrated.
    fn reset(&self) {
        if self.file.exists() {
            std::fs::remove_file(&self.file).unwrap();
        }
        Connection::open(&self.file).unwrap().execute_batch("CREATE TABLE settings (name TEXT)").unwrap();
    }
}

/// The newest revision of keeper.
const HEAD: &str = "0c0c70d73d4b";
