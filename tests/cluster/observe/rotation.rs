//! The kubelet moves a log of 10 MiB away and begins a new file while it is followed.

use super::{assert_same, container, create_pod, follow, spec};
use crate::support::Namespace;

/// Lines of 100 bytes, 2 MB of them in a second: the kubelet looks every ten seconds whether a log is too large.
const LINES: usize = 400_000;
const WRITER: &str = "echo ready; until [ -e /tmp/go ]; do sleep 0.1; done; awk 'BEGIN { for (i = 1; i <= 400000; i++) {
    printf \"line %06d %087d\\n\", i, i
    if (i % 20000 == 0) { fflush(); system(\"sleep 1\") }
} }'";

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_rotated_is_heard_completely() {
    let space = Namespace::new("rotated").await;
    create_pod(&space, "writer", &spec(&[container("main", WRITER)]));
    let mut running = follow(&space, &["logs", "writer", "-f", "-o", "raw"]);
    running.prints("ready\n");
    space.kubectl(&["exec", "writer", "--", "touch", "/tmp/go"]);
    let run = running.ends();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let kept = space.kubectl(&["logs", "writer"]).lines().count();
    assert!(kept < LINES, "the kubelet has not rotated it: {kept} lines");
    let written: String =
        std::iter::once("ready\n".to_owned()).chain((1..=LINES).map(|n| format!("line {n:06} {n:087}\n"))).collect();
    assert_same("while it was rotated", &running.printed_bytes(), written.as_bytes());
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
}
