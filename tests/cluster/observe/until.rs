//! `watch --until`: the exit code tells whether it came about, cannot any more, or takes too long.

use serde_json::json;

use super::{container, create_job, create_pod, spec};
use crate::support::{Namespace, Run};

fn until(space: &Namespace, target: &str, what: &str, limit: &str) -> Run {
    space.dbmig(&["watch", target, "--plain", "--until", what, "--timeout", limit])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_what_became_of_it() {
    let space = Namespace::new("until").await;
    create_job(&space, "good", json!({"backoffLimit": 0}), &spec(&[container("main", "sleep 2; echo done")]));
    create_job(&space, "bad", json!({"backoffLimit": 0}), &spec(&[container("main", "sleep 2; echo broken; exit 1")]));
    let mut slow = container("main", "sleep 600");
    slow["readinessProbe"] = json!({"exec": {"command": ["test", "-e", "/ready"]}, "periodSeconds": 1});
    create_pod(&space, "slow", &spec(&[slow]));

    let run = until(&space, "job/good", "complete", "2m");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("› main done\n"), "{}", run.stdout);
    let run = until(&space, "job/good", "failed", "2m");
    assert!(run.code == 1 && run.stderr.contains("cannot be reached any more"), "{}: {}", run.code, run.stderr);
    let run = until(&space, "job/bad", "failed", "2m");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = until(&space, "job/bad", "complete", "2m");
    assert!(run.code == 1 && run.stderr.contains("job/bad failed"), "{}: {}", run.code, run.stderr);
    let run = until(&space, "job/bad", "condition=Failed", "30s");
    assert_eq!(run.code, 0, "{}", run.stderr);

    let run = until(&space, "slow", "ready", "3s");
    assert!(run.code == 1 && run.stderr.contains("not ready after 3 s"), "{}: {}", run.code, run.stderr);
    space.wait_for("it runs", || space.try_kubectl(&["exec", "slow", "--", "touch", "/ready"]).code == 0);
    let run = until(&space, "slow", "ready", "1m");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = until(&space, "slow", "condition=ContainersReady", "1m");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = space.dbmig(&["watch", "slow", "--until", "soon"]);
    assert!(run.code == 2 && run.stderr.contains("condition=TYPE"), "{}: {}", run.code, run.stderr);
}
