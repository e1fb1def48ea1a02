//! `--repair` by the migration files of an application's own image, which has no shell: replayed, and compared with what is there.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use rusqlite::Connection;
use serde_json::json;

use super::restricted::{Seen, security};
use crate::support::Namespace;

const FILES: [(&str, &str); 3] = [
    ("1_users.up.sql", "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT);"),
    ("2_orders.up.sql", "CREATE TABLE orders (id INTEGER PRIMARY KEY, user INTEGER);"),
    (
        "4_prices.up.sql",
        "ALTER TABLE orders ADD COLUMN price INTEGER;\nCREATE TABLE prices (item TEXT PRIMARY KEY, price INTEGER);",
    ),
];

/// A database at version 2 whose migration 4 was begun, and got as far as this.
fn begun(path: &Path, done: &str) {
    let _ = fs::remove_file(path);
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(&format!(
            "CREATE TABLE schema_migrations (version uint64, dirty bool); CREATE UNIQUE INDEX version_unique ON schema_migrations (version);
             {} {} INSERT INTO schema_migrations VALUES (4, 1);
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO orders SELECT i, i % 7 FROM n;
             {done}",
            FILES[0].1, FILES[1].1
        ))
        .unwrap();
    drop(connection);
    chown(path, Some(1000), Some(2000)).unwrap();
}

fn state(path: &Path) -> (i64, bool, i64) {
    let sql = "SELECT version, dirty, (SELECT sum(id * user) FROM orders) FROM schema_migrations";
    Connection::open(path).unwrap().query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap()
}

/// An image with the application and these migrations, and nothing else.
fn image(space: &Namespace) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("srv/schema")).unwrap();
    for (name, sql) in FILES {
        fs::write(dir.path().join("srv/schema").join(name), sql).unwrap();
    }
    space.image("shop:bare", dir.path());
}

fn crash_loops(space: &Namespace) {
    let waiting = "jsonpath={.status.containerStatuses[0].state.waiting.reason}";
    space.wait_for("shop-0 crash-loops", || {
        space.try_kubectl(&["get", "pod", "shop-0", "-o", waiting]).stdout == "CrashLoopBackOff"
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_images_own_migrations_prove_the_version_or_that_one_is_half_applied() {
    let space = Namespace::new("shop").await;
    image(&space);
    space.volume("data-shop-0", "16Mi");
    let path = space.folder("data-shop-0").join("shop.db");
    begun(&path, "");
    let before = state(&path);
    let (pod, container) = security();
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "shop"}, "spec": {
        "serviceName": "shop", "replicas": 1, "selector": {"matchLabels": {"app": "shop"}}, "template": {
            "metadata": {"labels": {"app": "shop"}}, "spec": {"terminationGracePeriodSeconds": 1, "securityContext": pod,
                "containers": [{"name": "shop", "image": "shop:bare", "securityContext": container, "command": ["/upmeter", "start"],
                    "env": [{"name": "UPMETER_DB_PATH", "value": "/db/shop.db"},
                        {"name": "SHOP_MIGRATIONS", "value": "/srv/schema"},
                        {"name": "UPMETER_DB_MIGRATIONS_PATH", "value": "/srv/schema"}],
                    "readinessProbe": {"httpGet": {"path": "/ready", "port": 8091}, "periodSeconds": 1},
                    "volumeMounts": [{"name": "data", "mountPath": "/db"}]}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "storageClassName": "sized", "resources": {"requests": {"storage": "16Mi"}}}}]}});
    space.apply(&set.to_string());
    crash_loops(&space);

    let seen = Seen::watch(&space);
    let run = space.dbmig(&["vacuum", "shop-0", "--repair", "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("set to version 2, clean: migration 4 did not take effect"), "{}", run.stderr);
    // The application itself went from 2 to 4, over the number that is missing.
    assert_eq!(state(&path), (4, false, before.2));
    let pods = seen.all_broke(&[]);
    assert!(pods.iter().any(|name| name.ends_with("-image")), "no pod of the image was seen among {pods:?}");

    begun(&path, "ALTER TABLE orders ADD COLUMN price INTEGER;");
    space.kubectl(&["delete", "pod", "shop-0", "--grace-period=1"]);
    crash_loops(&space);
    let run = space.dbmig(&["vacuum", "shop-0", "--repair", "--yes"]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    for text in ["migration 4 took effect in part", "still missing: table prices", "still crash-loops"] {
        assert!(run.stderr.contains(text), "{text:?} is not said: {}", run.stderr);
    }
    assert_eq!(state(&path), (4, true, before.2));
    space.wait_for("our pods are gone", || !space.kubectl(&["get", "pods", "-o", "name"]).contains("dbmig-"));
    assert_eq!(super::ours(path.parent().unwrap()), Vec::<String>::new());
}
