//! How full the volumes are, and what is wrong when one is.

use super::object;
use crate::fault::Filler;
use crate::place::Place;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_volume_is_what_is_wrong() {
    let place = Place::small().await;
    // Who may not ask the kubelets is told nothing of it, and everything else.
    let dir = tempfile::tempdir().unwrap();
    let role = include_str!("../../../plugin-manifest/observe.yaml");
    let viewer = place.space.user("viewer", role, "kubectl-dbmig-observe", dir.path());
    let run = place.space.dbmig_as(&viewer, &["status", "box-0", "-o", "json"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    let claim = &object(&run)["claims"][0];
    assert!(claim["usage"].is_null() && claim["capacity"] == "32Mi", "{claim}");

    let _filler = Filler::new(place.folder());
    place.space.wait_for("the kubelet has measured the volume", || place.space.dbmig(&["status", "box-0"]).code == 3);
    let run = place.space.dbmig(&["status", "box-0"]);
    let first = run.stdout.lines().next().unwrap();
    assert!(first.starts_with("wrong: pvc/data-box-0 is full (") && first.ends_with(" % of 32Mi)"), "{}", run.stdout);
    assert!(run.stdout.contains("next: kubectl dbmig vacuum box-0 -n "), "{}", run.stdout);
    let usage = &object(&place.space.dbmig(&["status", "box-0", "-o", "json"]))["claims"][0]["usage"];
    let bytes = |name: &str| usage[name].as_u64().unwrap();
    assert!(bytes("usedBytes") > 16 << 20 && bytes("availableBytes") < 1 << 20, "{usage}");
}
