//! What `vacuum` refuses: the exit code, the reason, and that nothing was changed or left behind.

use std::fs;

use super::{database, rows, traces};
use crate::support::{Namespace, Shape, Upmeter};

/// A healthy application with a small database.
fn running(space: &Namespace) -> Upmeter<'_> {
    let upmeter = Upmeter::new(space, Shape::Root, "64Mi");
    upmeter.seed("--days 2 --probes 2").seeded().deploy().ready();
    upmeter
}

fn uid(space: &Namespace) -> String {
    space.kubectl(&["get", "pod", "upmeter-0", "-o", "jsonpath={.metadata.uid}{.status.containerStatuses[0].restartCount}"])
}

/// Each list of words is refused with its code and this text; afterwards pod and rows are as before.
fn are_refused(space: &Namespace, cases: &[(&[&str], i32, &str)]) {
    let (pod, before) = (uid(space), rows(&database(space), "episodes_30s"));
    for (words, code, text) in cases {
        let run = space.dbmig(&[&["vacuum"], *words].concat());
        assert_eq!(run.code, *code, "{words:?}: {}", run.stderr);
        assert!(run.stderr.contains(text), "{words:?} does not say {text:?}: {}", run.stderr);
        space.wait_for(&format!("{words:?} leaves nothing behind"), || traces(space).is_empty());
    }
    assert_eq!(pod, uid(space), "the application was stopped");
    assert!(before.is_subset(&rows(&database(space), "episodes_30s")), "rows are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_make_no_sense_are_refused() {
    let space = Namespace::new("rules").await;
    running(&space);
    are_refused(
        &space,
        &[
            (&["upmeter-0", "--yes", "--keep", "nowhere: 1"], 4, "nowhere"),
            (&["upmeter-0", "--yes", "--keep", "episodes_30s: no_such_column > 1"], 4, "no_such_column"),
            (&["upmeter-0", "--yes", "--keep", "episodes_30s: 1); DROP TABLE episodes_30s; --"], 4, "episodes_30s"),
            (&["upmeter-0", "--yes", "--keep", "episodes_30s: timeslot < 0"], 4, "--allow-empty"),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_are_not_there_are_refused() {
    let space = Namespace::new("targets").await;
    running(&space);
    are_refused(
        &space,
        &[
            (&["upmeter-1", "--yes"], 1, "did you mean pod/upmeter-0?"),
            (&["gizmo/upmeter", "--yes"], 2, "gizmo"),
            (&["upmeter-0", "-c", "nobody", "--yes"], 2, "not valid for pod upmeter-0"),
            (&["upmeter-0", "--database", "/etc/hostname", "--yes"], 4, "/etc/hostname"),
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_sound_database_are_refused() {
    let space = Namespace::new("files").await;
    running(&space);
    let folder = space.folder("data-upmeter-0");
    let sound = fs::read(database(&space)).unwrap();
    fs::write(folder.join("text.db"), "just some text, over and over. ".repeat(500)).unwrap();
    fs::write(folder.join("empty.db"), "").unwrap();
    // Nothing in an encrypted file looks like anything.
    let noise: Vec<u8> = (0..65_536_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    fs::write(folder.join("noise.db"), noise).unwrap();
    fs::write(folder.join("short.db"), &sound[..sound.len() / 2]).unwrap();
    let refused = |name: &'static str| {
        let path = format!("/db/{name}");
        let before = fs::read(folder.join(name)).unwrap();
        are_refused(&space, &[(&["upmeter-0", "--database", &path, "--yes"], 4, name)]);
        assert_eq!(before, fs::read(folder.join(name)).unwrap(), "{name} was changed");
    };
    for name in ["text.db", "empty.db", "noise.db", "short.db"] {
        refused(name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_databases_one_has_to_be_named() {
    let space = Namespace::new("several").await;
    running(&space);
    fs::copy(database(&space), space.folder("data-upmeter-0").join("second.sqlite")).unwrap();
    are_refused(&space, &[(&["upmeter-0", "--yes"], 4, "second.sqlite"), (&["upmeter-0", "--yes"], 4, "downtime.db.sqlite")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_another_running_pod_mounts_is_refused() {
    let space = Namespace::new("shared").await;
    Upmeter::new(&space, Shape::Root, "64Mi").seed("--days 2 --probes 2").deploy().ready();
    are_refused(&space, &[(&["upmeter-0", "--yes"], 4, "make-database")]);
}
