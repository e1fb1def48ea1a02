//! Alembic and Flask-Migrate themselves, with a branched, an unknown and an empty version table.

use dbmig::framework::{Evidence, Framework, Level, Remedy, Wish, repairs, wanted};

use super::database::Db;
use super::repaired::{apply, one, only, proven, rows, with_files};
use super::tool::python;

const ENV: &str = "import os\nfrom alembic import context\nfrom sqlalchemy import create_engine\n\
    with create_engine(os.environ['URL']).connect() as connection:\n    context.configure(connection=connection)\n    \
    with context.begin_transaction():\n        context.run_migrations()\n";

/// aaa1 → bbb2 → ccc3 → ddd4, each with a table of its own.
fn project(db: &Db) {
    db.write("alembic.ini", "[alembic]\nscript_location = migrations\n");
    db.write("migrations/env.py", ENV);
    db.write("migrations/script.py.mako", "");
    for (id, down) in [("aaa1", None), ("bbb2", Some("aaa1")), ("ccc3", Some("bbb2")), ("ddd4", Some("ccc3"))] {
        let down = down.map_or_else(|| "None".to_owned(), |down| format!("'{down}'"));
        let text = format!(
            "\"\"\"make {id}\n\nRevision ID: {id}\n\"\"\"\nimport sqlalchemy as sa\nfrom alembic import op\n\nrevision = '{id}'\n\
             down_revision = {down}\nbranch_labels = None\ndepends_on = None\n\n\ndef upgrade():\n    op.create_table('t_{id}', sa.Column('x', sa.Integer))\n"
        );
        db.write(&format!("migrations/versions/{id}_make.py"), &text);
    }
}

#[tokio::test]
async fn an_ancestor_beside_its_head_is_deleted_and_alembic_goes_on() {
    for db in Db::each().await {
        project(&db);
        python(&db, &["alembic", "upgrade", "ccc3"]).well();
        db.script("INSERT INTO alembic_version VALUES ('aaa1')").await;
        let said = python(&db, &["alembic", "upgrade", "head"]).badly();
        let meaning = said.lines().find_map(dbmig::framework::log::explain).unwrap();
        assert!(meaning.means.contains("aaa1") && meaning.means.contains("ccc3"), "{meaning:?}");

        let (state, evidence) = with_files(&db, Framework::Alembic, "migrations/versions").await;
        assert_eq!(state.heads, ["aaa1", "ccc3"]);
        assert_eq!(state.pending.as_ref().unwrap().iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["ddd4"]);
        assert!(state.findings()[0].what.contains("aaa1 comes before ccc3"), "{:?}", state.findings());
        let repair = proven(&state, &evidence);
        assert_eq!(rows(&repair).changes.len(), 1);
        apply(&db, &repair).await;

        python(&db, &["alembic", "upgrade", "head"]).well();
        let (state, evidence) = with_files(&db, Framework::Alembic, "migrations/versions").await;
        assert_eq!((state.heads.join(","), state.findings().len(), repairs(&state, &evidence).len()), ("ddd4".to_owned(), 0, 0));
    }
}

#[tokio::test]
async fn without_the_files_several_rows_are_left_alone() {
    let db = Db::sqlite();
    project(&db);
    python(&db, &["alembic", "upgrade", "ccc3"]).well();
    db.script("INSERT INTO alembic_version VALUES ('aaa1')").await;
    let state = only(&db, Framework::Alembic).await;
    assert_eq!(state.findings()[0].level, Level::Attention);
    assert!(matches!(one(&state, &Evidence::default()).remedy, Remedy::Elsewhere { .. }));
}

#[tokio::test]
async fn a_revision_that_the_image_lacks_is_never_overwritten_but_on_request() {
    for db in Db::each().await {
        project(&db);
        python(&db, &["alembic", "upgrade", "head"]).well();
        std::fs::remove_file(db.path().join("migrations/versions/ddd4_make.py")).unwrap();
        python(&db, &["alembic", "upgrade", "head"]).badly();
        let (state, evidence) = with_files(&db, Framework::Alembic, "migrations/versions").await;
        assert!(state.findings()[0].what.contains("ddd4 is in none of the files"), "{:?}", state.findings());
        assert!(matches!(one(&state, &evidence).remedy, Remedy::Elsewhere { .. }));
        let stamp = wanted(&state, &evidence, &Wish::Stamp("ccc3".into())).unwrap();
        apply(&db, &stamp[0]).await;
        python(&db, &["alembic", "upgrade", "head"]).well();
        assert!(wanted(&state, &evidence, &Wish::Stamp("zzz9".into())).is_err(), "there is no such revision");
    }
}

#[tokio::test]
async fn two_heads_in_the_files_are_no_fault_of_the_database() {
    let db = Db::sqlite();
    project(&db);
    python(&db, &["alembic", "upgrade", "ccc3"]).well();
    db.write("migrations/versions/eee5.py", "revision = 'eee5'\ndown_revision = 'ccc3'\ndef upgrade():\n    pass\n");
    let said = python(&db, &["alembic", "upgrade", "head"]).badly();
    assert!(said.lines().any(|line| dbmig::framework::log::explain(line).is_some()), "{said}");
    let (state, evidence) = with_files(&db, Framework::Alembic, "migrations/versions").await;
    let Remedy::Elsewhere { next } = one(&state, &evidence).remedy else { panic!("something would be written") };
    assert!(next[0].contains("alembic merge ddd4 eee5"), "{next:?}");
    assert_eq!(state.pending.unwrap().len(), 2);
}

#[tokio::test]
async fn a_table_without_rows_over_a_schema_that_is_there_is_stamped_on_request() {
    let db = Db::postgres().await;
    project(&db);
    python(&db, &["alembic", "upgrade", "ccc3"]).well();
    db.script("DELETE FROM alembic_version").await;
    python(&db, &["alembic", "upgrade", "head"]).badly();
    let (state, evidence) = with_files(&db, Framework::Alembic, "migrations/versions").await;
    assert_eq!((state.count, state.heads.len()), (0, 0));
    let finding = &state.findings()[0];
    assert!(finding.what.contains("no migration is written down, but 3 other tables"), "{finding:?}");
    apply(&db, &wanted(&state, &evidence, &Wish::Stamp("ccc3".into())).unwrap()[0]).await;
    python(&db, &["alembic", "upgrade", "head"]).well();
}

#[tokio::test]
async fn flask_migrate_goes_on_after_the_ancestor_is_deleted() {
    let db = Db::sqlite();
    project(&db);
    let app = "import os\nfrom flask import Flask\nfrom flask_sqlalchemy import SQLAlchemy\nfrom flask_migrate import Migrate\n\
        app = Flask(__name__)\napp.config['SQLALCHEMY_DATABASE_URI'] = os.environ['URL']\nMigrate(app, SQLAlchemy(app))\n";
    db.write("app.py", app);
    python(&db, &["flask", "db", "upgrade", "bbb2"]).well();
    db.script("INSERT INTO alembic_version VALUES ('aaa1')").await;
    python(&db, &["flask", "db", "upgrade"]).badly();
    let (state, evidence) = with_files(&db, Framework::Alembic, "migrations/versions").await;
    apply(&db, &proven(&state, &evidence)).await;
    python(&db, &["flask", "db", "upgrade"]).well();
    assert_eq!(only(&db, Framework::Alembic).await.heads, ["ddd4"]);
}
