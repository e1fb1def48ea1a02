//! The node's kubelet dies in the middle of a migration and comes back. Runs with no other test beside it: see .config/nextest.toml.

use std::process::Command;

use super::{HEAD, Keeper, ends, is_tidy};
use crate::support::{Run, Running};

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_gets_over_a_kubelet_that_is_killed_and_started_again() {
    let Some(keeper) = Keeper::new("runkubelet").await else { return };
    let (_dir, file) = keeper.file_of("until [ -e /data/go ]; do sleep 1; done; flask db upgrade");
    let mut running = Running::start(keeper.space.dbmig_command(&["run", "-f", &file, "--yes"]));
    running.reaches(3, 5);
    let active = ["get", "pods", "-l", "app.kubernetes.io/component=migration", "-o", "jsonpath={.items[*].status.phase}"];
    keeper.space.wait_for("the migration runs", || keeper.space.kubectl(&active) == "Running");
    let lab = std::env::var_os("DBMIG_TEST_LAB").expect("there is a lab: the keeper is there");
    assert_eq!(Run::of(Command::new(&lab).args(["kill", "kubelet"])).code, 0);
    // It goes on and ends while nobody reports it.
    std::fs::write(keeper.file.with_file_name("go"), "").unwrap();
    let up = Run::of(Command::new(&lab).arg("up"));
    assert_eq!(up.code, 0, "{}", up.stderr);
    ends(&running.ends(), 0, &["applied 0c0c70d73d4b"]);
    assert_eq!(keeper.revision().as_deref(), Some(HEAD));
    is_tidy(&keeper.space);
}
