//! Operations that do not go through: an application that stays sick, a helper that can't start, two at once.

use sha2::{Digest, Sha256};

use crate::place::{KEEP, Place, STEPS, content, succeeded};
use crate::support::{Run, Running};

/// Says why, and ends, as soon as the database has been made anew.
const SICK: &str = r#"[{"op": "replace", "path": "/spec/template/spec/containers/0/command", "value": ["sh", "-c",
    "echo no such table: gizmo; exit 3"]}]"#;

fn digest(place: &Place) -> Vec<u8> {
    Sha256::digest(std::fs::read(&place.file).unwrap()).to_vec()
}

fn replicas(place: &Place) -> String {
    place.space.kubectl(&["get", "statefulset", "box", "-o", "jsonpath={.spec.replicas}"])
}

/// As an application leaves it that is killed in the middle of a migration.
fn leave_a_hot_journal(place: &Place) {
    let journal = place.file.with_file_name("app.sqlite-journal");
    let connection = rusqlite::Connection::open(&place.file).unwrap();
    connection
        .execute_batch("PRAGMA cache_size = 5; BEGIN IMMEDIATE; UPDATE rows SET text = text || ' never committed'")
        .unwrap();
    let (file, hot) = (std::fs::read(&place.file).unwrap(), std::fs::read(&journal).unwrap());
    connection.execute_batch("ROLLBACK").unwrap();
    drop(connection);
    std::fs::write(&place.file, file).unwrap();
    std::fs::write(&journal, hot).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_stays_sick_is_shown_why_and_everything_can_be_taken_back() {
    let place = Place::small().await;
    let space = &place.space;
    space.kubectl(&["patch", "statefulset", "box", "--type=json", "-p", SICK]);
    let waiting = "jsonpath={.status.containerStatuses[0].state.waiting.reason}";
    space.wait_for("box-0 crash-loops", || {
        space.try_kubectl(&["get", "pod", "box-0", "-o", waiting]).stdout == "CrashLoopBackOff"
    });
    let before = digest(&place);
    let run = space.dbmig(&["vacuum", "box-0", "--keep", KEEP, "--yes", "--timeout", "20s"]);
    assert_eq!(run.code, 8, "{}", run.stderr);
    let (resume, undo) = (format!("kubectl dbmig resume {}", place.id()), format!("kubectl dbmig undo {}", place.id()));
    for text in [
        "no such table: gizmo",
        "event BackOff",
        "statefulset/box did not get Ready within 20 s",
        "the old one is still there",
        &resume,
        &undo,
    ] {
        assert!(run.stderr.contains(text), "{text:?} is not said: {}", run.stderr);
    }
    assert_ne!(digest(&place), before);

    leave_a_hot_journal(&place);
    let run = space.dbmig(&["undo", &place.id(), "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(digest(&place), before);
    assert_eq!(replicas(&place), "1");
    space.kubectl(&[
        "patch",
        "statefulset",
        "box",
        "--type=json",
        "-p",
        &SICK.replace("echo no such table: gizmo; exit 3", "sleep 3600"),
    ]);
    space.kubectl(&["delete", "pod", "box-0", "--grace-period=1"]);
    place.is_tidy("at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_nobody_has_ends_with_what_to_type_and_nothing_is_changed() {
    let place = Place::small().await;
    let life = || place.space.kubectl(&["get", "pod", "box-0", "-o", "jsonpath={.metadata.uid}{..restartCount}"]);
    let (before, pod) = (digest(&place), life());
    for image in ["nowhere:1", "Not_An Image"] {
        let run = place.space.dbmig(&["vacuum", "box-0", "--helper-image", image, "--yes"]);
        assert_eq!(run.code, 4, "{}", run.stderr);
        for text in [image, "--helper-image", "nothing was changed"] {
            assert!(run.stderr.contains(text), "{text:?} is not said: {}", run.stderr);
        }
        let objects = place.space.kubectl(&["get", "pods,configmaps,leases", "-o", "name"]);
        assert!(!objects.contains("dbmig-vacuum"), "{objects}");
    }
    assert_eq!((digest(&place), life()), (before, pod));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_vacuum_is_told_who_holds_the_volume_and_does_not_disturb_the_first() {
    let place = Place::small().await;
    let expected = content(&place.file, "id % 4 = 0");
    let mut first = Running::start(place.vacuum());
    first.reaches(1, STEPS);
    for words in [&["vacuum", "box-0", "--yes"][..], &["vacuum", "sts/box", "--dry-run"]] {
        let second = place.space.dbmig(words);
        assert_eq!(second.code, 5, "{words:?}: {}", second.stderr);
        for text in [place.id().as_str(), "is not finished", " by ", " from ", "nothing was changed"] {
            assert!(second.stderr.contains(text), "{words:?} does not say {text:?}: {}", second.stderr);
        }
    }
    succeeded(&first.ends(), "the first one");
    assert_eq!(content(&place.file, "true"), expected);
    place.is_tidy("at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_vacuums_at_the_same_moment_one_goes_through() {
    let place = Place::small().await;
    let expected = content(&place.file, "id % 4 = 0");
    let vacuum = || Run::of(&mut place.space.dbmig_command(&["vacuum", "box-0", "--keep", KEEP, "--yes"]));
    let runs = std::thread::scope(|scope| [scope.spawn(vacuum), scope.spawn(vacuum)].map(|run| run.join().unwrap()));
    let mut codes: Vec<i32> = runs.iter().map(|run| run.code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, 5], "{}\n---\n{}", runs[0].stderr, runs[1].stderr);
    assert_eq!(content(&place.file, "true"), expected);
    place.is_tidy("at the end");
}
