//! Every place where the new file can be built and the old one kept: the content is right, nothing of ours is left, and `undo`
//! puts back what was there, without losing what was written since.

use std::path::Path;

use rusqlite::Connection;
use sha2::{Digest, Sha256};

use crate::place::{KEEP, Place, content, fill};
use crate::support::Run;

/// Runs the plugin where files on "this machine" go to `here`.
fn dbmig(place: &Place, here: &Path, words: &[&str]) -> Run {
    Run::of(place.space.dbmig_command(words).current_dir(here))
}

/// Our claims, but for those on their way out: they go once the pod that mounts them is gone.
fn claims(place: &Place) -> Vec<String> {
    let staying = "go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}}{{\"\\n\"}}{{end}}{{end}}";
    let names = place.space.kubectl(&["get", "pvc", "-o", staying]);
    names.lines().filter(|name| name.contains("dbmig-")).map(|name| format!("persistentvolumeclaim/{name}")).collect()
}

fn files(here: &Path) -> Vec<String> {
    let folders = std::fs::read_dir(here).unwrap().map(|folder| folder.unwrap().path());
    let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()));
    files.map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

fn digest(path: &Path) -> Vec<u8> {
    Sha256::digest(std::fs::read(path).unwrap()).to_vec()
}

/// Vacuums with these words and looks at the content.
fn vacuum(place: &Place, here: &Path, words: &[&str]) {
    fill(&place.file);
    let expected = content(&place.file, "id % 4 = 0");
    let run = dbmig(place, here, &[&["vacuum", "box-0", "--keep", KEEP, "--yes"], words].concat());
    assert_eq!(run.code, 0, "{words:?}: {}", run.stderr);
    assert_eq!(content(&place.file, "true"), expected, "{words:?}");
    place.is_tidy("at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_file_is_built_on_a_claim_that_waits_for_its_pod() {
    let (place, here) = (Place::small().await, tempfile::tempdir().unwrap());
    vacuum(&place, here.path(), &["--scratch", &format!("pvc:{}", place.space.waiting_class())]);
    assert_eq!((claims(&place), files(here.path())), (vec![], vec![]));
    // The old file went when the application was Ready; saying so needs no volume that is gone.
    let after = digest(&place.file);
    let run = dbmig(&place, here.path(), &["undo", &place.id(), "--yes"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert_eq!(digest(&place.file), after);
    place.is_tidy("at the end");
}

/// The application is not root and its pod has no fsGroup, so nobody gives it a new volume.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_volume_that_belongs_to_root_is_of_use_to_an_application_that_is_not() {
    let (place, here) = (Place::small().await, tempfile::tempdir().unwrap());
    let user =
        r#"[{"op": "add", "path": "/spec/template/spec/securityContext", "value": {"runAsUser": 1000, "runAsGroup": 3000}}]"#;
    place.space.kubectl(&["patch", "statefulset", "box", "--type=json", "-p", user]);
    place.space.kubectl(&["rollout", "status", "statefulset/box", "--timeout=180s"]);
    fill(&place.file);
    std::os::unix::fs::chown(&place.file, Some(1000), Some(3000)).unwrap();
    let expected = content(&place.file, "id % 4 = 0");
    let spare = place.space.spare_volume("64Mi");
    let run = dbmig(&place, here.path(), &["vacuum", "box-0", "--keep", KEEP, "--keep-old", "pvc:sized", "--yes"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(content(&place.file, "true"), expected);
    assert!(super::ours(&spare).iter().any(|name| name.ends_with(".old")), "the old file is not on {}", spare.display());
    let owner = std::fs::metadata(place.file.parent().unwrap()).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::gid(&owner), 0, "the database's own volume was given away");
    place.is_tidy("at the end");
}

/// Keeps the old file there, writes into the new one, and takes it all back.
fn is_taken_back(place: &Place, here: &Path, words: &[&str], old_is: impl Fn()) {
    vacuum(place, here, words);
    old_is();
    // What was there before is the same again for the same rows, so a file from before tells it.
    let before = tempfile::tempdir().unwrap();
    let old = before.path().join("app.sqlite");
    fill(&old);
    let connection = Connection::open(&place.file).unwrap();
    connection.execute_batch("INSERT INTO rows (id, text) VALUES (999999, 'written since')").unwrap();
    drop(connection);
    let run = dbmig(place, here, &["undo", &place.id(), "--yes"]);
    assert_eq!(run.code, 0, "{words:?}: {}", run.stderr);
    assert!(run.stderr.contains("1 rows of rows"), "{words:?} does not say what was written since: {}", run.stderr);
    assert_eq!(digest(&place.file), digest(&old), "{words:?}");
    place.is_tidy("at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_file_comes_back_from_a_claim() {
    let (place, here) = (Place::small().await, tempfile::tempdir().unwrap());
    let class = format!("pvc:{}", place.space.waiting_class());
    for words in [&["--keep-old", "pvc", "--scratch", "node"][..], &["--keep-old", &class]] {
        is_taken_back(&place, here.path(), words, || assert_eq!(claims(&place).len(), 1, "{words:?}"));
        let kept = claims(&place).pop().expect("the claim stays, since it has what was written since");
        assert_eq!(kept, format!("persistentvolumeclaim/dbmig-{}-old", place.id()));
        place.space.kubectl(&["delete", &kept, "--wait=false"]);
    }
    assert_eq!(files(here.path()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_file_comes_back_from_this_machine() {
    let (place, here) = (Place::small().await, tempfile::tempdir().unwrap());
    is_taken_back(&place, here.path(), &["--keep-old", "local", "--scratch", "pvc"], || {
        assert_eq!(files(here.path()), ["app.sqlite"]);
    });
    let folder = here.path().join(format!("dbmig-{}", place.id()));
    let aside = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let written = Connection::open(&aside)
        .unwrap()
        .query_row("SELECT count(*) FROM rows WHERE text = 'written since'", [], |row| row.get::<_, i64>(0))
        .unwrap();
    assert_eq!(written, 1, "{} lacks what was written since", aside.display());
    assert_eq!(claims(&place), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_file_that_was_not_kept_does_not_come_back() {
    let (place, here) = (Place::small().await, tempfile::tempdir().unwrap());
    vacuum(&place, here.path(), &["--keep-old", "none", "--scratch", "local"]);
    let after = digest(&place.file);
    let run = dbmig(&place, here.path(), &["undo", &place.id(), "--yes"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    assert!(run.stderr.contains("--keep-old none"), "{}", run.stderr);
    assert_eq!(digest(&place.file), after);
    place.is_tidy("at the end");
    assert_eq!(files(here.path()), Vec::<String>::new());
}
