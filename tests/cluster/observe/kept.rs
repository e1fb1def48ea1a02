//! Logs of pods that an operation has ended: `logs ID` shows them when nothing else is left.

use serde_json::Value;

use crate::place::{KEEP, Place};

/// Lets the application say something.
fn say(place: &Place, text: &str) {
    place.space.kubectl(&["exec", "box-0", "--", "sh", "-c", &format!("echo {text} > /proc/1/fd/1")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_keeps_what_its_pods_have_said() {
    let place = Place::small().await;
    say(&place, "before the vacuum");
    let run = place.space.dbmig(&["vacuum", "box-0", "--keep", KEEP, "--keep-old", "pvc", "--yes", "-o", "name"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let id = place.id();
    place.ready();
    say(&place, "after the vacuum");
    // The pod that is there now is read from its kubelet, the one before it from what was kept.
    let both = "box-0 › main before the vacuum\nbox-0 › main after the vacuum\n";
    let run = place.space.dbmig(&["logs", &id]);
    assert_eq!((run.code, run.stdout.replace("\nafter", "\nbox-0 › main after").as_str()), (0, both), "{}", run.stderr);

    let run = place.space.dbmig(&["undo", &id, "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    place.space.kubectl(&["delete", "statefulset", "box"]);
    place.space.wait_for("no pod is left", || place.space.kubectl(&["get", "pods", "-l", "app=box", "-o", "name"]).is_empty());
    let run = place.space.dbmig(&["logs", &id]);
    assert_eq!((run.code, run.stdout.as_str()), (0, both), "{}", run.stderr);
    let run = place.space.dbmig(&["logs", &id, "-o", "json", "--include", "after", "-c", "main"]);
    let object: Value = serde_json::from_str(&run.stdout).expect("one object");
    assert_eq!((object["type"].as_str(), object["message"].as_str()), (Some("log"), Some("after the vacuum")));
    let run = place.space.dbmig(&["logs", &id, "-c", "nobody"]);
    assert_ne!(run.code, 0, "{}", run.stdout);

    // Where the full logs are gone, the record still has their last lines; with the record everything goes.
    let (record, logs) = (format!("dbmig-{id}"), format!("dbmig-{id}-logs"));
    place.space.kubectl(&["delete", "configmap", &logs]);
    let run = place.space.dbmig(&["logs", &id]);
    assert_eq!((run.code, run.stdout.as_str()), (0, both), "{}", run.stderr);
    place.space.kubectl(&["delete", "configmap", &record]);
    let run = place.space.dbmig(&["logs", &id]);
    assert_ne!(run.code, 0, "{}", run.stdout);
}
