//! `vacuum` in front of what clusters have: other kinds of owners, files left by killed writers, and what it must refuse.

mod at_rest;
mod evidence;
mod kinds;
mod places;
mod refusals;
mod restricted;
mod rights;
mod space;
mod stuck;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::support::Namespace;

type Rows = BTreeSet<(i64, String, String)>;

/// Keys of a table's rows, by plain SQL.
fn rows(path: &Path, table: &str) -> Rows {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare(&format!("SELECT timeslot, group_name, probe_name FROM {table}")).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn database(space: &Namespace) -> PathBuf {
    space.folder("data-upmeter-0").join("downtime.db.sqlite")
}

/// What `vacuum` could leave behind: names of pods, of objects of its own, and of files beside the database.
fn traces(space: &Namespace) -> Vec<String> {
    let objects = space.kubectl(&["get", "pods,configmaps,leases,secrets,pvc", "-o", "name"]);
    let mut names: Vec<String> = objects.lines().filter(|name| name.contains("dbmig")).map(str::to_owned).collect();
    names.extend(ours(&space.folder("data-upmeter-0")));
    names
}

/// Names of our own files in a folder.
fn ours(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    files.filter(|name| name.contains("dbmig")).collect()
}
