//! `run helm-hook/RELEASE`: the hook Job of a release that real Helm has installed, limits on locks, and a lock against other namespaces.

use std::path::Path;
use std::process::Command;

use super::shop::{FROM, deploy_to};
use super::{ends, is_tidy};
use crate::database::postgres::{CLIENT, server};
use crate::support::{Namespace, Run, Running};

const ROLES: &str =
    concat!(include_str!("../../../plugin-manifest/run.yaml"), "\n---\n", include_str!("../../../plugin-manifest/run-helm.yaml"));
const HOOK: &str = "helm-hook/shop";

/// Helm does something with release `shop`, whose chart is here.
fn helm(space: &Namespace, words: &[&str]) -> Command {
    let mut command = space.helm_command(words);
    command.arg("shop").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/run/chart"));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hook_of_a_release_runs_without_an_upgrade_and_by_itself() {
    let Some(server) = server("runhelm").await else { return };
    let space = &server.space;
    server.sql(CLIENT, "DROP TABLE m; GRANT CREATE ON SCHEMA public TO app");
    deploy_to(space, "db").await;
    let dir = tempfile::tempdir().unwrap();
    let user = space.user("oncall", ROLES, "kubectl-dbmig-run", dir.path());
    let account = format!("--serviceaccount={}:oncall", space.name());
    space.kubectl(&["create", "rolebinding", "helm", "--role=kubectl-dbmig-run-helm", &account]);

    // Switched off, there is no hook; the release says why.
    let installed = Run::of(&mut helm(space, &["install", "--set", "migrations.enabled=false"]));
    assert_eq!(installed.code, 0, "{}", installed.stderr);
    ends(
        &space.dbmig_as(&user, &["run", "helm-hook/none", "--yes"]),
        2,
        &["there is no Helm release none", "nothing was changed"],
    );
    let run = space.dbmig_as(&user, &["run", HOOK, "--yes"]);
    ends(&run, 2, &["deployed (revision 1)", "has no hook that is a Job", "migrations.enabled=false", "nothing was changed"]);
    let wanted = ["upgrade", "--no-hooks", "--set", "migrations.enabled=true", "--set", "migrations.backoffLimit=1"];
    let upgraded = Run::of(&mut helm(space, &wanted));
    assert_eq!(upgraded.code, 0, "{}", upgraded.stderr);
    let status = space.dbmig(&["status", "deployment/shop-controller", "-o", "wide"]).stdout;
    let row = status.lines().find(|line| line.starts_with("helm/shop")).unwrap_or_else(|| panic!("{status}"));
    assert!(row.contains("deployed (revision 2)") && row.contains("migrations.backoffLimit=1, migrations.enabled=true"), "{row}");

    // Somebody in another namespace works on the same database.
    let other = Namespace::new("runother").await;
    other.has_account();
    deploy_to(&other, &format!("db.{}", space.name())).await;
    let mut first = Running::start(space.dbmig_command(&["run", HOOK, "--yes", "--", "sleep", "3600"]));
    first.reaches(3, 5);
    let held = other.dbmig(&["run", FROM, "--yes"]);
    let who = format!("in {}", space.name());
    ends(&held, 5, &["another kubectl dbmig works on", "kubectl-dbmig run-", &who, "nothing was changed"]);
    first.interrupt();
    ends(&first.ends(), 8, &["goes on without us"]);
    ends(&space.dbmig(&["undo", "--yes"]), 0, &["taken back"]);

    let run = space.dbmig_as(&user, &["run", HOOK, "--yes", "--lock-timeout", "20s"]);
    let texts = [
        "made from helm-hook/shop",
        "limits     PGOPTIONS -c lock_timeout=20000",
        "the limits may have no effect", // The database does not tell the framework before the first migration.
        "applied 1_users.js, 2_orders.js",
        "cloud-sql-proxy ended when asked to",
    ];
    ends(&run, 0, &texts);
    let complete = "jsonpath={.items[*].status.succeeded}";
    assert_eq!(space.kubectl(&["get", "jobs", "-l", "app.kubernetes.io/managed-by=kubectl-dbmig", "-o", complete]), "1");
    ends(&other.dbmig(&["run", FROM, "--yes"]), 0, &["nothing was left to do"]);

    // Rather not at all than behind a lock for which everybody queues up.
    let holds =
        "(psql -h /sock -U postgres -c 'BEGIN; LOCK TABLE orders; SELECT pg_sleep(3600)' shop >/dev/null 2>&1 </dev/null &)";
    space.kubectl(&["exec", "db", "--", "sh", "-c", holds]);
    let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND mode = 'AccessExclusiveLock' AND granted";
    space.wait_for("the table is locked", || server.sql(CLIENT, locked).trim() == "1");
    let back = ["rollback", HOOK, "--yes", "--lock-timeout", "1s"];
    ends(&space.dbmig_as(&user, &back), 1, &["lock timeout", "the database is where it was"]);
    server.sql(
        CLIENT,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)%' AND pid <> pg_backend_pid()",
    );
    ends(&space.dbmig_as(&user, &back), 0, &["took back"]);

    // Helm's own run of the hook waits for a proxy that nobody asks to end, and its helm dies.
    let mut upgrade = Running::start(helm(space, &["upgrade"]));
    space.wait_for("helm has created its hook", || space.try_kubectl(&["get", "job", "shop-migrate"]).code == 0);
    upgrade.kill();
    let doctor = space.dbmig(&["doctor", "deployment/shop-controller"]);
    assert_eq!(doctor.code, 3, "{}{}", doctor.stdout, doctor.stderr);
    for text in ["Helm release shop is pending-upgrade", "helm rollback shop"] {
        assert!(doctor.stdout.contains(text), "{}", doctor.stdout);
    }
    is_tidy(space);
    is_tidy(&other);
}
