//! Alembic, bare and by Flask-Migrate, with a revision and one of its ancestors in the version table: a dump was restored, or a branch merged,
//! and `stamp` did the rest.

use super::{App, client, postgres};
use crate::database::server::Server;

const ENV: &str = "import os\nfrom alembic import context\nfrom sqlalchemy import create_engine\n\
    with create_engine(os.environ['DATABASE_URL']).connect() as connection:\n    context.configure(connection=connection)\n    \
    with context.begin_transaction():\n        context.run_migrations()\n";
const INI: &str = "[alembic]\nscript_location = migrations\n";
const APP: &str = "import os\nfrom flask import Flask\nfrom flask_sqlalchemy import SQLAlchemy\nfrom flask_migrate import Migrate\n\
    app = Flask(__name__)\napp.config['SQLALCHEMY_DATABASE_URI'] = os.environ['DATABASE_URL']\n\
    app.config['SQLALCHEMY_TRACK_MODIFICATIONS'] = False\nMigrate(app, SQLAlchemy(app))\n";

fn revision(id: &str, down: &str) -> String {
    format!(
        "\"\"\"make {id}\n\nRevision ID: {id}\n\"\"\"\nimport sqlalchemy as sa\nfrom alembic import op\n\nrevision = '{id}'\n\
         down_revision = {down}\nbranch_labels = None\ndepends_on = None\n\n\ndef upgrade():\n    op.create_table('t_{id}', sa.Column('x', sa.Integer))\n"
    )
}

/// Breaks it and has it mended; `more` are files beside the revisions.
fn breaks_and_is_mended(server: &Server, app: &App<'_>, more: &[(&str, &str)]) {
    let (one, two, three) = (revision("aaa1", "None"), revision("bbb2", "'aaa1'"), revision("ccc3", "'bbb2'"));
    let first = [
        more,
        &[
            ("app.py", APP),
            ("migrations/env.py", ENV),
            ("migrations/script.py.mako", ""),
            ("migrations/versions/aaa1_make.py", &one),
            ("migrations/versions/bbb2_make.py", &two),
        ],
    ]
    .concat();
    app.deploy(&first).runs();
    server.sql(&client(app.name), "INSERT INTO alembic_version VALUES ('aaa1')");
    app.deploy(&[&first[..], &[("migrations/versions/ccc3_make.py", &three)]].concat()).breaks("overlaps");
    let diagnosis = app.diagnosed("Alembic");
    app.mended_by(&diagnosis, &format!("kubectl dbmig repair {}", app.target()), None);
    assert_eq!(server.sql(&client(app.name), "SELECT version_num FROM alembic_version").trim(), "ccc3");
}

#[tokio::test(flavor = "multi_thread")]
async fn alembic_and_flask_migrate_with_an_overlap_run_again_after_the_printed_command() {
    let Some(server) = postgres("balembic").await else { return };
    let app = App::on(&server, "alembic", "python3 -m alembic upgrade head");
    breaks_and_is_mended(&server, &app, &[("alembic.ini", INI)]);
    let app = App::on(&server, "flask", "python3 -m flask db upgrade");
    breaks_and_is_mended(&server, &app, &[("migrations/alembic.ini", INI)]);
}
