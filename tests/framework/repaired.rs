//! The way of a command, shortened: recognise, take in the files, repair, look again, take the repair back and do it once more.

use std::path::Path;

use dbmig::database::Database;
use dbmig::framework::{Evidence, Framework, Remedy, Repair, Rows, Safety, Script, State, recognise, repairs, weigh};

use super::database::Db;

/// The only state that is found, which must be of this framework.
pub(crate) async fn only(db: &Db, framework: Framework) -> State {
    let mut states = recognise(db).await.unwrap();
    assert_eq!(states.len(), 1, "not one state: {states:#?}");
    let state = states.remove(0);
    assert_eq!(state.framework, framework, "{state:#?}");
    state
}

/// The same with what the files say.
pub(crate) async fn with_files(db: &Db, framework: Framework, folder: &str) -> (State, Evidence) {
    let mut state = only(db, framework).await;
    let scripts = scripts(db.path(), folder);
    let evidence = Evidence::of(framework, &scripts);
    state.compare(&evidence);
    weigh(db, &mut state, &evidence, &scripts).await.unwrap();
    (state, evidence)
}

/// The files under a folder, with paths that begin with it.
pub(crate) fn scripts(root: &Path, folder: &str) -> Vec<Script> {
    let mut scripts = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(root.join(&next)).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{next}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                open.push(path);
            } else {
                let text = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
                scripts.push(Script { path, text });
            }
        }
    }
    scripts
}

/// The only repair that is proposed, and it is proven.
#[track_caller]
pub(crate) fn proven(state: &State, evidence: &Evidence) -> Repair {
    let repair = one(state, evidence);
    assert_eq!(repair.safety, Safety::Proven, "{repair:#?}");
    repair
}

/// The only repair that is proposed.
#[track_caller]
pub(crate) fn one(state: &State, evidence: &Evidence) -> Repair {
    let mut list = repairs(state, evidence);
    assert_eq!(list.len(), 1, "not one repair: {list:#?}");
    list.remove(0)
}

#[track_caller]
pub(crate) fn rows(repair: &Repair) -> &Rows {
    match &repair.remedy {
        Remedy::Rows(rows) => rows,
        other => panic!("not a change of rows: {other:#?}"),
    }
}

/// Does a repair, takes it back and finds every value of before, does it again; a third time it finds nothing to change.
pub(crate) async fn apply(db: &Db, repair: &Repair) {
    let kept: Repair = serde_json::from_value(serde_json::to_value(repair).unwrap()).unwrap();
    assert_eq!(kept, *repair, "a record keeps it");
    let rows = rows(repair);
    let all = format!("SELECT * FROM {} ORDER BY 1", table(repair));
    let first = db.query(&all).await.unwrap();
    let before = db.query(&rows.before).await.unwrap();
    db.change(&rows.changes).await.unwrap();
    let after = db.query(&all).await.unwrap();
    assert_ne!(first, after);
    db.change(&rows.undo(&before)).await.unwrap();
    assert_eq!(first, db.query(&all).await.unwrap(), "undo restores the rows");
    db.change(&rows.changes).await.unwrap();
    db.change(&rows.changes).await.expect_err("done twice it finds other rows than before");
    assert_eq!(after.len(), db.query(&all).await.unwrap().len(), "the refused change changed nothing");
}

/// The table that a repair changes.
fn table(repair: &Repair) -> String {
    let sql = &rows(repair).changes[0].sql;
    let from = ["DELETE FROM ", "UPDATE ", "INSERT INTO "].iter().find_map(|verb| sql.strip_prefix(verb)).unwrap();
    from.split(' ').next().unwrap().to_owned()
}
