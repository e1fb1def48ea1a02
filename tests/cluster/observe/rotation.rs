//! The kubelet moves a log of 10 MiB away and begins a new file while it is followed.

use super::{assert_same, container, create_pod, follow, spec};
use crate::support::Namespace;

/// Lines of 100 bytes, to which the runtime adds some forty: up to the size at which the kubelet moves a log away, beyond it,
/// and into the next file. A kubelet that has not read a file to its end by then goes on with the next one, whoever asks, and so
/// each part waits until the one before was heard.
const PARTS: [(usize, usize); 3] = [(1, 65_000), (65_001, 78_000), (78_001, 80_000)];
const WRITER: &str = "echo ready; part() { until [ -e /tmp/$1 ]; do sleep 0.1; done
    awk -v from=$1 -v to=$2 'BEGIN { for (i = from; i <= to; i++) printf \"line %06d %087d\\n\", i, i }'; }
    part 1 65000; part 65001 78000; part 78001 80000";

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_rotated_is_heard_completely() {
    let space = Namespace::new("rotated").await;
    create_pod(&space, "writer", &spec(&[container("main", WRITER)]));
    let mut running = follow(&space, &["logs", "writer", "-f", "-o", "raw"]);
    running.prints("ready\n");
    for (from, to) in PARTS {
        if to == 80_000 {
            let kept = || space.kubectl(&["logs", "writer"]).lines().count();
            space.wait_for("the kubelet has moved the log away", || kept() < 78_000);
        }
        space.kubectl(&["exec", "writer", "--", "touch", &format!("/tmp/{from}")]);
        running.prints(&format!("line {to:06} "));
    }
    let run = running.ends();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let written: String =
        std::iter::once("ready\n".to_owned()).chain((1..=80_000).map(|n| format!("line {n:06} {n:087}\n"))).collect();
    assert_same("while it was rotated", &running.printed_bytes(), written.as_bytes());
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
}
