//! Django itself: what it wrote, what it has not, and what two runs at once leave.

use dbmig::framework::{Framework, Level, Wish, wanted};

use super::database::Db;
use super::repaired::{apply, proven, with_files};
use super::tool::{Said, python};

/// An app with two migrations; the second makes a table of its own.
fn project(db: &Db) {
    let settings = "import os\nfrom urllib.parse import urlparse\nINSTALLED_APPS = ['polls']\nSECRET_KEY = 'x'\nUSE_TZ = True\n\
        DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'\nurl = os.environ['URL']\n\
        if url.startswith('sqlite'):\n    DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': url[10:]}}\nelse:\n    \
        DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': os.environ['PGDATABASE'], 'USER': 'dbmig', 'HOST': os.environ['PGHOST']}}\n";
    db.write("settings.py", settings);
    db.write("polls/__init__.py", "");
    db.write("polls/migrations/__init__.py", "");
    for (name, model, needs) in [("0001_initial", "First", ""), ("0002_second", "Second", "('polls', '0001_initial')")] {
        let text = format!(
            "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n    dependencies = [{needs}]\n    \
             operations = [migrations.CreateModel('{model}', [('id', models.BigAutoField(primary_key=True))])]\n"
        );
        db.write(&format!("polls/migrations/{name}.py"), &text);
    }
}

fn django(db: &Db, words: &[&str]) -> Said {
    python(db, &[&["django"], words, &["--settings", "settings"]].concat())
}

#[tokio::test]
async fn what_is_applied_and_what_is_not_is_told_by_app() {
    for db in Db::each().await {
        project(&db);
        django(&db, &["migrate", "polls", "0001_initial"]).well();
        let (state, _) = with_files(&db, Framework::Django, "polls").await;
        let applied: Vec<&str> = state.applied.iter().map(|applied| applied.id.as_str()).collect();
        assert_eq!(applied, ["polls.0001_initial"]);
        let at = state.applied[0].at.as_deref().unwrap();
        assert!(at.starts_with("20") && at.as_bytes()[10] == b'T', "{at}");
        assert_eq!(state.pending.as_ref().unwrap()[0].id, "polls.0002_second");
        assert_eq!(state.findings().len(), 1);
    }
}

#[tokio::test]
async fn a_row_written_twice_by_two_runs_is_taken_away_and_django_goes_on() {
    for db in Db::each().await {
        project(&db);
        django(&db, &["migrate", "polls", "0001_initial"]).well();
        db.script("INSERT INTO django_migrations (app, name, applied) SELECT app, name, applied FROM django_migrations").await;
        let (state, evidence) = with_files(&db, Framework::Django, "polls").await;
        assert!(state.findings()[0].what.contains("more than once"), "{:?}", state.findings());
        apply(&db, &proven(&state, &evidence)).await;
        django(&db, &["migrate"]).well();
        django(&db, &["migrate", "--check"]).well();
        assert_eq!(db.column("SELECT name FROM django_migrations ORDER BY id").await, ["0001_initial", "0002_second"]);
    }
}

#[tokio::test]
async fn a_migration_whose_effect_is_there_is_stamped_and_django_believes_it() {
    let db = Db::postgres().await;
    project(&db);
    django(&db, &["migrate", "polls", "0001_initial"]).well();
    db.script("CREATE TABLE polls_second (id bigint PRIMARY KEY)").await;
    let said = django(&db, &["migrate"]).badly();
    assert!(said.lines().any(|line| dbmig::framework::log::explain(line).is_some()), "{said}");
    let (state, evidence) = with_files(&db, Framework::Django, "polls").await;
    let stamp = wanted(&state, &evidence, &Wish::Stamp("polls.0002_second".into())).unwrap();
    apply(&db, &stamp[0]).await;
    django(&db, &["migrate", "--check"]).well();
    assert!(wanted(&state, &evidence, &Wish::Stamp("0002_second".into())).unwrap_err().contains("names no app"));
}

#[tokio::test]
async fn an_older_image_than_the_database_is_noticed_where_django_says_nothing() {
    let db = Db::sqlite();
    project(&db);
    django(&db, &["migrate"]).well();
    std::fs::remove_file(db.path().join("polls/migrations/0002_second.py")).unwrap();
    django(&db, &["migrate", "--check"]).well();
    let (state, _) = with_files(&db, Framework::Django, "polls").await;
    let finding = &state.findings()[0];
    assert!(finding.level == Level::Attention && finding.what.contains("polls.0002_second has been applied"), "{finding:?}");
}
