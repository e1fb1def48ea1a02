//! Writers kept out so that nothing differs, traffic led by a Service or an Ingress, and the rights that it takes.

use super::{alpha_is_whole, ends, forget_beta, is_tidy, newest, promote, route};
use crate::support::{Namespace, Run, Steady, steady};

const ROLES: &str = include_str!("../../../plugin-manifest/promote.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn without_writers_nothing_differs_and_their_rights_come_back() {
    let space = Namespace::new("promote").await;
    let Some(steady) = Steady::new(&space) else { return };
    let steady = steady.value("database.postgres.version=17").up();
    let role = "CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA api TO app; GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA api TO app";
    steady.sql("alpha", "master", role);
    let may_write =
        |release: &str| steady.sql(release, "master", "SELECT has_table_privilege('app', 'api.events', 'INSERT')") == "t";

    // Whoever has just these rights sees what would be done; without those on volumes it is said what is missing.
    let dir = tempfile::tempdir().unwrap();
    let user = space.user("oncall", ROLES, "kubectl-dbmig-promote", dir.path());
    let looks = || Run::of(&mut steady.dbmig_command_as(&user, &promote(&["--dry-run"])));
    ends(&looks(), 4, &["missing: get persistentvolumes", "kind: ClusterRole", "nothing was changed"]);
    let account = format!("--serviceaccount={}:oncall", space.name());
    space.kubectl(&["create", "clusterrolebinding", space.name(), "--clusterrole=kubectl-dbmig-promote", &account]);
    let looked = looks();
    space.kubectl(&["delete", "clusterrolebinding", space.name()]);
    ends(&looked, 0, &["pod/alpha-postgresql-slave-1  →  release beta"]);

    let version = ["--set", "database.postgres.version=17"];

    // Another version's server can't read the data: nobody waits for it to the end, and all is taken back.
    let run = steady.dbmig(&promote(&["--revoke", "app"]));
    ends(&run, 1, &["the server of release beta does not start", "incompatible with server", "everything was taken back"]);
    assert!(may_write("alpha"));
    alpha_is_whole(&steady, "a server of another version");
    forget_beta(&space);

    let run = steady.dbmig(&promote(&[&["--revoke", "app"], &version[..]].concat()));
    ends(&run, 0, &["take the writers' rights on statefulset/alpha-postgresql-master", "has written nothing since"]);
    assert!(!may_write("alpha") && may_write("beta"));
    assert_eq!(
        steady.content("beta", "master").lines().find(|line| line.contains("likes")),
        steady.content("alpha", "master").lines().find(|line| line.contains("likes"))
    );

    // An Ingress and a Service lead there too, each on its own, and back.
    let backends = "jsonpath={.spec.rules[*].http.paths[*].backend.service.name}";
    let ingress = ["route", "--ingress", "ing/front", "--from-release", "alpha", "--to", "beta", "--yes"];
    ends(&steady.dbmig(&ingress), 0, &["point the backends of ingress/front", "has written nothing since"]);
    assert!(space.kubectl(&["get", "ingress", "front", "-o", backends]).contains("beta-restbackend"));
    ends(&steady.dbmig(&["undo", "--yes"]), 2, &["there is no operation to undo"]);
    let service = [
        "route",
        "--service",
        "svc/direct",
        "--to-service",
        "svc/beta-restbackend",
        "--to",
        "beta",
        "--probe",
        "svc/direct:8091/ready",
        "--yes",
    ];
    ends(&steady.dbmig(&service), 0, &["point service/direct to the pods of service/beta-restbackend", "5 answers in a row"]);
    let selector = space.kubectl(&["get", "service", "direct", "-o", "jsonpath={.spec.selector}"]);
    assert!(selector.contains("\"beta\""), "{selector}");

    // A way that does not answer is led back at once.
    ends(&steady.dbmig(&["undo", &newest(&space, "route"), "--yes"]), 0, &["taken back"]);
    let dead = [&service[..7], &["--probe", "svc/direct:9999/ready", "--timeout", "5s", "--yes"]].concat();
    ends(&steady.dbmig(&dead), 7, &["get a good answer from svc/direct:9999/ready", "everything was taken back"]);
    let selector = space.kubectl(&["get", "service", "direct", "-o", "jsonpath={.spec.selector}"]);
    assert!(selector.contains("\"alpha\""), "{selector}");

    // A way in that has a namespace of its own.
    let admin = Namespace::new("admin").await;
    admin.has_account();
    let managed = format!("global.managedNamespace={}", space.name());
    admin.helm(&["install", "admin", steady::ADMIN, "--wait", "--set", &managed]);
    let served = |space: &Namespace| {
        let release = "jsonpath={.spec.template.metadata.annotations.managed-release}";
        space.kubectl(&["get", "deployment", "front", "-o", release])
    };
    let run = steady.dbmig(&route("beta", &["--admin-namespace", admin.name()]));
    ends(&run, 0, &["upgrade release admin", &format!("in namespace {}", admin.name()), "5 answers in a row"]);
    assert_eq!((served(&admin).as_str(), served(&space).as_str()), ("beta", "alpha"));
    // The server itself may have begun a transaction since, for its statistics.
    let undone = steady.dbmig(&["undo", &newest(&space, "route"), "--yes", "--accept-data-loss"]);
    ends(&undone, 0, &["release admin is as in revision 1", "taken back"]);
    assert_eq!((served(&admin).as_str(), served(&space).as_str()), ("alpha", "alpha"));

    let undone = steady.dbmig(&["undo", &newest(&space, "promote"), "--yes", "--accept-data-loss"]);
    ends(&undone, 0, &["are back", "streams from"]);
    assert!(may_write("alpha"));
    alpha_is_whole(&steady, "taken back with its writers' rights");
    is_tidy(&space);
}
