//! Django, which was told that nothing of what is there was ever applied.

use super::{App, PYTHON, client, postgres};

const MANAGE: &str = "import os, sys\nos.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\nfrom django.core.management import execute_from_command_line\n\
    execute_from_command_line(sys.argv)\n";
const SETTINGS: &str = "import os\nfrom urllib.parse import urlparse\nurl = urlparse(os.environ['DATABASE_URL'])\nINSTALLED_APPS = ['polls']\n\
    SECRET_KEY = 'x'\nUSE_TZ = True\nDEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'\n\
    DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': url.path[1:], 'USER': url.username, 'PASSWORD': url.password, 'HOST': url.hostname}}\n";

fn migration(model: &str, needs: &str) -> String {
    format!(
        "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n    dependencies = [{needs}]\n    \
         operations = [migrations.CreateModel('{model}', [('id', models.BigAutoField(primary_key=True))])]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn django_that_forgot_what_is_there_runs_again_after_the_printed_command() {
    let Some(server) = postgres("bdjango").await else { return };
    let app = App::on(&server, "django", "python3 manage.py migrate");
    let (one, two) = (migration("First", ""), migration("Second", "('polls', '0001_initial')"));
    let first = [
        ("sitecustomize.py", PYTHON),
        ("manage.py", MANAGE),
        ("settings.py", SETTINGS),
        ("polls/__init__.py", ""),
        ("polls/migrations/__init__.py", ""),
        ("polls/migrations/0001_initial.py", &one),
    ];
    app.deploy(&first).runs();
    // Somebody has told Django that nothing was ever applied.
    app.space.kubectl(&["exec", &app.target(), "--", "python3", "manage.py", "migrate", "--fake", "polls", "zero"]);
    app.deploy(&[&first[..], &[("polls/migrations/0002_second.py", &two)]].concat()).breaks("already exists");
    let diagnosis = app.diagnosed("Django");
    app.mended_by(&diagnosis, "kubectl dbmig repair deploy/django", Some("polls.0001_initial"));
    let names = server.sql(&client("django"), "SELECT name FROM django_migrations WHERE app = 'polls' ORDER BY 1");
    assert_eq!(names.trim(), "0001_initial\n0002_second");
}
