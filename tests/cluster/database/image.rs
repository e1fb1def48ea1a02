//! The files of migrations that an image has, for frameworks whose files are not simply in one folder.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::doctor::object;
use crate::support::Namespace;

const DJANGO: &str =
    "CREATE TABLE django_migrations (id integer PRIMARY KEY, app varchar(255), name varchar(255), applied datetime);
    INSERT INTO django_migrations (app, name, applied) VALUES ('auth', '0001_initial', '2026-01-01 10:00:00'),
    ('polls', '0001_initial', '2026-01-01 10:00:01')";
const LIQUIBASE: &str = "CREATE TABLE databasechangelog (ID VARCHAR(255) NOT NULL, AUTHOR VARCHAR(255) NOT NULL, FILENAME VARCHAR(255) NOT NULL,
    DATEEXECUTED TEXT NOT NULL, ORDEREXECUTED INT NOT NULL, EXECTYPE VARCHAR(10) NOT NULL, MD5SUM VARCHAR(35), DESCRIPTION VARCHAR(255),
    COMMENTS VARCHAR(255), TAG VARCHAR(255), LIQUIBASE VARCHAR(20), CONTEXTS VARCHAR(255), LABELS VARCHAR(255), DEPLOYMENT_ID VARCHAR(10));
    INSERT INTO databasechangelog (ID, AUTHOR, FILENAME, DATEEXECUTED, ORDEREXECUTED, EXECTYPE) VALUES
    ('1', 'anna', 'changelog/1.0/tables.xml', '2026-01-01 10:00:00', 1, 'EXECUTED')";
const EF_CORE: &str = r#"CREATE TABLE "__EFMigrationsHistory" ("MigrationId" TEXT NOT NULL PRIMARY KEY, "ProductVersion" TEXT NOT NULL);
    INSERT INTO "__EFMigrationsHistory" VALUES ('20260101000000_Init', '9.0.1')"#;

/// A ConfigMap with these files, and the volume in which they have folders again.
pub(crate) fn files(space: &Namespace, name: &str, files: &[(&str, &str)]) -> Value {
    let key = |number: usize| format!("file{number}");
    let data: Value =
        files.iter().enumerate().map(|(number, (_, text))| (key(number), json!(text))).collect::<serde_json::Map<_, _>>().into();
    space.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}).to_string());
    let items: Vec<Value> =
        files.iter().enumerate().map(|(number, (path, _))| json!({"key": key(number), "path": path})).collect();
    json!({"name": name, "configMap": {"name": name, "items": items}})
}

#[tokio::test(flavor = "multi_thread")]
async fn djangos_and_liquibases_files_are_found_in_the_image_and_ef_cores_are_said_to_be_compiled() {
    let space = Namespace::new("imagefiles").await;
    space.volume("data", "32Mi");
    for (name, sql) in [("django", DJANGO), ("liquibase", LIQUIBASE), ("ef", EF_CORE)] {
        Connection::open(space.folder("data").join(format!("{name}.sqlite"))).unwrap().execute_batch(sql).unwrap();
    }
    let project = [
        ("manage.py", "#!/usr/bin/env python"),
        ("polls/models.py", "pass"),
        ("polls/migrations/__init__.py", ""),
        ("polls/migrations/0001_initial.py", "class Migration: pass"),
        ("polls/migrations/0002_second.py", "class Migration: pass"),
    ];
    let xml = "<databaseChangeLog><changeSet id=\"1\" author=\"anna\"/><changeSet id=\"2\" author=\"anna\"/></databaseChangeLog>";
    let sql = "--liquibase formatted sql\n--changeset ben:3\nCREATE TABLE t (a int);\n";
    let changelog = [("1.0/tables.xml", xml), ("1.1/more.sql", sql)];
    let volumes = [
        json!({"name": "data", "persistentVolumeClaim": {"claimName": "data"}}),
        files(&space, "project", &project),
        files(&space, "changelog", &changelog),
    ];
    let mounts = [("data", "/data"), ("project", "/srv/shop"), ("changelog", "/liquibase/changelog")];
    let mounts: Vec<Value> = mounts.iter().map(|(name, path)| json!({"name": name, "mountPath": path})).collect();
    let container = json!({"name": "main", "image": "busybox:1", "volumeMounts": mounts, "workingDir": "/srv",
        "command": ["sh", "-c", "exec sleep 3600", "python", "/srv/shop/manage.py", "runserver"]});
    space.pod("app", &json!({"containers": [container], "terminationGracePeriodSeconds": 0, "volumes": volumes}));

    let run = space.dbmig(&["doctor", "app", "-o", "json"]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let diagnosis = object(&run);
    let of = |name: &str| {
        let all = diagnosis["databases"].as_array().unwrap();
        let found = all.iter().find(|one| one["location"].as_str().unwrap().contains(name));
        found.unwrap_or_else(|| panic!("{name}: {all:#?}"))
    };
    let pending = |name: &str| -> Vec<&str> {
        let pending = of(name)["states"][0]["pending"].as_array().unwrap_or_else(|| panic!("{:#?}", of(name)));
        pending.iter().map(|one| one["id"].as_str().unwrap()).collect()
    };
    // The apps of packages have rows and no files here, and nobody is alarmed by that.
    assert_eq!(pending("django"), ["polls.0002_second"]);
    assert_eq!(of("django")["files"], json!(["Django: 3 files of migrations in /srv/shop of container main"]));
    assert_eq!(pending("liquibase"), ["changelog/1.0/tables.xml::2::anna", "changelog/1.1/more.sql::3::ben"]);
    assert_eq!(of("liquibase")["files"], json!(["Liquibase: 2 files of migrations in /liquibase/changelog of container main"]));
    assert_eq!(of("ef")["states"][0]["pending"], Value::Null);
    assert!(of("ef")["files"][0].as_str().unwrap().starts_with("EF Core: its migrations are compiled into the application"));
}
