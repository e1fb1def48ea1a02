//! The seed's story from the watcher's seat: one watch, begun while the pod crash-loops, tells everything until it is Ready.

use crate::observe::{follow, object};
use crate::support::{Namespace, Shape, Tmux, Upmeter};

/// Numbers of the steps in the order in which the watch told of them, and how many there are.
fn steps(told: &str) -> (Vec<usize>, usize) {
    let rows = told.lines().filter(|line| line.starts_with("* operation/"));
    let numbers = rows.filter_map(|line| {
        let (_, rest) = line.split_once(", step ")?;
        let (step, rest) = rest.split_once(" of ")?;
        Some((step.parse::<usize>().ok()?, rest.split_once(':')?.0.parse::<usize>().ok()?))
    });
    let (mut steps, counts): (Vec<_>, Vec<_>) = numbers.unzip();
    steps.dedup();
    (steps, counts.last().copied().unwrap_or_default())
}

/// Panics unless these texts come one after the other.
fn assert_order(told: &str, texts: &[&str]) {
    let mut rest = told;
    for text in texts {
        let Some((_, after)) = rest.split_once(text) else { panic!("{text:?} is missing, or too early:\n{told}") };
        rest = after;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_watch_tells_everything_from_crash_loop_to_ready() {
    let space = Namespace::new("seat").await;
    let upmeter = Upmeter::new(&space, Shape::Root, "64Mi");
    upmeter.seed("--days 27 --summed-days 40 --retired 1").deploy().stuck("Dirty database version 4");
    upmeter.seeded();

    let mut watch = follow(&space, &["watch", "upmeter-0", "--plain"]);
    let tmux = Tmux::run(&space.dbmig_command(&["watch", "upmeter-0"]), 150, 40);
    watch.prints("› upmeter: exit code 1");
    tmux.until("the crash loop is on the screen", |screen| screen.contains("CrashLoopBackOff"));

    let mut vacuum = follow(&space, &["vacuum", "upmeter-0", "--repair", "--yes"]);
    watch.prints(", step 2 of ");
    tmux.until("the operation is on the screen", |screen| screen.contains("step "));
    // Who names nothing sees what is worked on.
    let unnamed = space.dbmig(&["status"]);
    assert!(unnamed.stderr.contains("looking at pod/upmeter-0") && unnamed.stdout.contains("step "), "{unnamed:?}");
    let ended = vacuum.ends();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    upmeter.ready();
    watch.prints("* pod/upmeter-0: 2/2 Running");
    watch.prints_so_that("the operation is done", |told| {
        told.lines().any(|line| line.starts_with("* operation/") && line.contains(": done"))
    });
    let screen = tmux.until("it is well on the screen too", |screen| screen.contains("pod/upmeter-0 is ready"));
    assert!(!screen.contains("left with"), "{screen}");
    assert!(!watch.has_ended());

    let log = space.kubectl(&["logs", "upmeter-0", "-c", "upmeter"]);
    let last = log.lines().next().unwrap();
    watch.prints(last);
    watch.interrupt();
    let run = watch.ends();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let told = &run.stdout;
    assert!(!told.contains("trying again") && !run.stderr.contains("trying again"), "{told}{}", run.stderr);
    // Whether the pod backs off or says something first depends on the moment at which the watch began.
    assert!(told.contains("upmeter-0 › upmeter "), "{told}");
    assert_order(told, &["CrashLoopBackOff", ", step 1 of", "* pod/upmeter-0: gone", "* pod/upmeter-0: 2/2 Running"]);
    let (steps, count) = steps(told);
    // Steps that had nothing to do are not told.
    assert!(steps.is_sorted() && steps.len() > 8 && steps.last() == Some(&count), "{steps:?} of {count}: {told}");
    // Every line of the start that got through, as the kubelet has it, in its order.
    let lines: Vec<String> = log.lines().map(|line| format!("upmeter-0 › upmeter {line}\n")).collect();
    assert_order(told, &lines.iter().map(String::as_str).collect::<Vec<_>>());

    // The operation stays a name for what it worked on.
    let history = object(&space.dbmig(&["history", "-o", "json"]));
    let id = history["items"][0]["id"].as_str().unwrap();
    let run = space.dbmig(&["status", id]);
    assert!(run.code == 0 && run.stdout.starts_with("ok: pod/upmeter-0 is ready"), "{run:?}");
    let run = space.dbmig(&["watch", id, "--plain", "--until", "ready", "--timeout", "30s"]);
    assert_eq!(run.code, 0, "{run:?}");
}
