//! golang-migrate's dirty flag in a SQLite file, on the volume of a pod that crash-loops: a helper pod has to look.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use super::{ends, is_tidy, newest};
use crate::support::{Namespace, Running};

/// The Role that users are given.
const ROLE: &str = include_str!("../../../plugin-manifest/repair.yaml");

const FILES: [(&str, &str); 3] = [
    ("1_users.up.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);"),
    ("2_orders.up.sql", "CREATE TABLE orders (id INTEGER PRIMARY KEY, user INTEGER);"),
    ("4_prices.up.sql", "CREATE TABLE prices (item TEXT PRIMARY KEY, price INTEGER);"),
];

pub(super) struct Shop {
    pub(super) space: Namespace,
    file: PathBuf,
    pub(super) migrations: TempDir,
}

impl Shop {
    /// At version 2; migration 4 was begun, and nothing of it is there. The pod crash-loops.
    async fn new() -> Self {
        let shop = Self::with(&["sh", "-c", "echo Dirty database version 4; exit 1"]).await;
        let waiting = "jsonpath={.status.containerStatuses[0].state.waiting.reason}";
        shop.space.wait_for("the pod crash-loops", || {
            shop.space.try_kubectl(&["get", "pod", "shop", "-o", waiting]).stdout == "CrashLoopBackOff"
        });
        shop
    }

    /// The same with a pod that runs, and so has no need of a helper beside it.
    pub(super) async fn running() -> Self {
        let shop = Self::with(&["sleep", "3600"]).await;
        shop.space.kubectl(&["wait", "--for=condition=Ready", "--timeout=180s", "pod", "shop"]);
        shop
    }

    async fn with(command: &[&str]) -> Self {
        let space = Namespace::new("repair").await;
        space.volume("data", "16Mi");
        let file = space.folder("data").join("shop.db");
        let sql = format!(
            "CREATE TABLE schema_migrations (version uint64, dirty bool); CREATE UNIQUE INDEX version_unique ON schema_migrations (version);
             {}{} INSERT INTO schema_migrations VALUES (4, 1)",
            FILES[0].1, FILES[1].1
        );
        Connection::open(&file).unwrap().execute_batch(&sql).unwrap();
        let migrations = tempfile::tempdir().unwrap();
        for (name, sql) in FILES {
            std::fs::write(migrations.path().join(name), sql).unwrap();
        }
        space.has_account();
        space.apply(
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop"}, "spec": {
                "automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "shop", "image": "busybox:1", "command": command,
                    "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]}})
            .to_string(),
        );
        Self { space, file, migrations }
    }

    pub(super) fn repair<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let folder = self.migrations.path().to_str().unwrap();
        [&["repair", "shop", "--migrations", folder], words].concat()
    }

    pub(super) fn version(&self) -> (i64, bool) {
        version(&self.file)
    }
}

fn version(file: &Path) -> (i64, bool) {
    let sql = "SELECT version, dirty FROM schema_migrations";
    Connection::open(file).unwrap().query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dirty_version_is_shown_set_right_taken_back_and_set_right_again() {
    let shop = Shop::new().await;
    let space = &shop.space;
    ends(
        &space.dbmig(&shop.repair(&["--dry-run"])),
        0,
        &["sqlite:/data/shop.db", "migration 4 is dirty", "set the version to 2, clean", "DELETE FROM", "why: "],
    );
    assert_eq!(shop.version(), (4, true));
    ends(&space.dbmig(&shop.repair(&[])), 4, &["there is no terminal to ask on", "--yes"]);
    is_tidy(space);
    assert_eq!(newest(space), json!(null), "neither of the two has begun anything");

    let run = space.dbmig(&shop.repair(&["--yes"]));
    ends(&run, 0, &["[3/3]", "kubectl dbmig undo repair-"]);
    assert_eq!(shop.version(), (2, false));
    let id = newest(space)["id"].as_str().unwrap().to_owned();
    // The user who takes it back has no migrations' files.
    ends(&space.dbmig(&["undo", &id, "--yes"]), 0, &["taken back"]);
    assert_eq!(shop.version(), (4, true));
    ends(&space.dbmig(&shop.repair(&["--yes"])), 0, &[]);
    assert_eq!(shop.version(), (2, false));
    ends(&space.dbmig(&shop.repair(&["--yes"])), 0, &["nothing to repair"]);

    // The application goes on: what was before must not come back.
    let id = newest(space)["id"].as_str().unwrap().to_owned();
    Connection::open(&shop.file).unwrap().execute_batch("UPDATE schema_migrations SET version = 4").unwrap();
    ends(&space.dbmig(&["undo", &id, "--yes"]), 4, &["a migration has run", "version 4", "nothing was changed"]);
    assert_eq!(shop.version(), (4, false));
    is_tidy(space);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_is_killed_at_any_step_goes_on_and_goes_back() {
    let shop = Shop::new().await;
    for step in 1..=3 {
        let mut running = Running::start(shop.space.dbmig_command(&shop.repair(&["--yes"])));
        running.reaches(step, 3);
        running.kill();
        let record = newest(&shop.space);
        if record["phase"] != "done" {
            ends(&shop.space.dbmig(&shop.repair(&["--yes"])), 5, &["is not finished"]);
            ends(&shop.space.dbmig(&["resume", "--yes"]), 0, &[]);
        }
        assert_eq!(shop.version(), (2, false), "killed at step {step}");
        ends(&shop.space.dbmig(&["undo", record["id"].as_str().unwrap(), "--yes"]), 0, &[]);
        assert_eq!(shop.version(), (4, true), "taken back after step {step}");
    }
    is_tidy(&shop.space);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_proves_needs_force_and_a_choice() {
    let shop = Shop::running().await;
    let space = &shop.space;
    // Half of it is there.
    Connection::open(&shop.file).unwrap().execute_batch(FILES[2].1).unwrap();
    Connection::open(&shop.file).unwrap().execute_batch("INSERT INTO prices VALUES ('a', 1)").unwrap();
    let run = space.dbmig(&["repair", "shop", "--yes"]);
    ends(&run, 4, &["nothing was changed", "--to 4"]);
    ends(&space.dbmig(&["repair", "shop", "--yes", "--to", "4"]), 4, &["--to 4 --force"]);
    ends(&space.dbmig(&["repair", "shop", "--yes", "--to", "9", "--force"]), 4, &["leads to 9"]);
    assert_eq!(shop.version(), (4, true));
    ends(&space.dbmig(&["force", "shop", "4", "--yes"]), 0, &["set the version to 4, clean"]);
    assert_eq!(shop.version(), (4, false));
    ends(&space.dbmig(&["stamp", "shop", "2", "--yes"]), 4, &["--stamp 2 --force", "nothing was changed"]);
    ends(&space.dbmig(&["stamp", "shop", "2", "--yes", "--force"]), 0, &[]);
    assert_eq!(shop.version(), (2, false));
    // No repair leads to a version that is clean: it is written down.
    ends(&space.dbmig(&["force", "pod", "shop", "1", "--yes"]), 0, &["write 1 down as applied"]);
    assert_eq!(shop.version(), (1, false));
    is_tidy(space);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_role_is_enough_and_ctrl_c_leaves_nothing_behind() {
    let shop = Shop::new().await;
    let space = &shop.space;
    let dir = tempfile::tempdir().unwrap();
    let user = space.user("oncall", ROLE, "kubectl-dbmig-repair", dir.path());
    let mut running = Running::start(space.dbmig_command_as(&user, &shop.repair(&["--yes"])));
    running.says("looking for the database");
    running.interrupt();
    ends(&running.ends(), 130, &["nothing was changed"]);
    is_tidy(space);
    assert_eq!(shop.version(), (4, true));

    ends(&space.dbmig_as(&user, &shop.repair(&["--yes"])), 0, &[]);
    assert_eq!(shop.version(), (2, false));
    let id = newest(space)["id"].as_str().unwrap().to_owned();
    ends(&space.dbmig_as(&user, &["undo", &id, "--yes"]), 0, &[]);
    assert_eq!(shop.version(), (4, true));
    is_tidy(space);
}
