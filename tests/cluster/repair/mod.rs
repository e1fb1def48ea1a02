//! `repair`: what was dirty or locked is set right, taken back, and set right again, whoever dies in between.

mod mariadb;
mod postgres;
mod sqlite;
mod terminal;
mod ways;

use serde_json::Value;

use crate::support::{Namespace, ends};

/// The record of the newest operation of a namespace.
fn newest(space: &Namespace) -> Value {
    let history: Value = serde_json::from_str(&space.dbmig(&["history", "-o", "json"]).stdout).unwrap();
    history["items"].as_array().unwrap().last().cloned().unwrap_or_default()
}

/// No pod, Lease or record is left that the namespace did not have before; `records` are those of operations.
fn is_tidy(space: &Namespace) {
    let ours = || space.kubectl(&["get", "pods,leases", "-o", "name"]).contains("dbmig-");
    space.wait_for("nothing of ours is left but records", || !ours());
}
