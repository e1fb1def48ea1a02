//! The way down: from the command that applies migrations to the framework's own command that takes them back. Pure.

use regex::{Captures, Regex};

use super::Framework::{
    self, Alembic, Atlas, Dbmate, Django, Drizzle, Ecto, EfCore, Flyway, GolangMigrate, Goose, Knex, Laravel, Liquibase, Prisma,
    Rails, Sequelize, Sqlx, TypeOrm,
};
use super::State;

/// How far down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// As far as the framework itself goes when nothing is said: the last run, or the last migration.
    Last,
    /// So many migrations.
    Steps(usize),
    /// Until this one is the last that is applied.
    To(String),
}

/// A command that takes migrations back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Down {
    /// The command, as a container takes it.
    pub command: Vec<String>,
    /// The migrations that it takes back, the newest first; `None` where the books don't tell.
    pub going: Option<Vec<String>>,
}

/// How a framework is told to go down. `{n}` is a number of migrations, `{v}` a version.
struct Way {
    framework: Framework,
    /// What in the command applies migrations.
    up: &'static str,
    /// What takes its place to go as far as the framework goes by itself.
    last: &'static str,
    /// What takes its place to take back so many; without `{n}` one is taken back, and the command is repeated.
    steps: &'static str,
    /// What takes its place to get to a version; empty: steps are counted.
    to: &'static str,
}

const fn way(framework: Framework, up: &'static str, last: &'static str, steps: &'static str, to: &'static str) -> Way {
    Way { framework, up, last, steps, to }
}

/// More telling commands of a framework stand first.
const WAYS: &[Way] = &[
    way(Knex, r"\bmigrate:(?:latest|up)\b", "migrate:rollback", "migrate:down", ""),
    way(
        Alembic,
        r"\bflask db upgrade\b(?: [\w@+]+)?",
        "flask db downgrade",
        "flask db downgrade -- -{n}",
        "flask db downgrade {v}",
    ),
    way(
        Alembic,
        r"\balembic((?: -\S+(?: \S+)?)*) upgrade(?: [\w@+]+)?",
        "alembic$1 downgrade -1",
        "alembic$1 downgrade -{n}",
        "alembic$1 downgrade {v}",
    ),
    way(GolangMigrate, r"\bup\b(?: [0-9]+)?", "down 1", "down {n}", "goto {v}"),
    way(Rails, r"\bdb:migrate\b", "db:rollback", "db:rollback STEP={n}", "db:migrate VERSION={v}"),
    way(Liquibase, r"\bupdate\b", "rollback-count 1", "rollback-count {n}", ""),
    way(Goose, r"\bup\b", "down", "down", "down-to {v}"),
    way(Dbmate, r"\b(?:up|migrate)\b", "rollback", "rollback", ""),
    way(Sqlx, r"\bmigrate run\b", "migrate revert", "migrate revert", "migrate revert --target-version {v}"),
    way(Ecto, r"\becto\.migrate\b", "ecto.rollback", "ecto.rollback --step {n}", ""),
    way(
        Laravel,
        r"\bartisan migrate\b(?: --force)?",
        "artisan migrate:rollback --force",
        "artisan migrate:rollback --force --step={n}",
        "",
    ),
    way(TypeOrm, r"\bmigration:run\b", "migration:revert", "migration:revert", ""),
    way(Sequelize, r"\bdb:migrate\b", "db:migrate:undo", "db:migrate:undo", ""),
    way(Atlas, r"\bmigrate apply\b", "migrate down", "migrate down {n}", "migrate down --to-version {v}"),
    way(Flyway, r"\bmigrate\b", "undo", "undo", ""),
    way(EfCore, r"\bdatabase update\b", "database update {v}", "database update {v}", "database update {v}"),
    way(Django, r"\bmanage\.py migrate\b", "manage.py migrate {v}", "manage.py migrate {v}", "manage.py migrate {v}"),
];

/// The command that goes down, out of the one that goes up.
///
/// # Errors
/// A sentence without a full stop: why there is none, or what does not fit.
pub fn down(state: &State, up: &[String], extent: &Extent) -> Result<Down, String> {
    let framework = state.framework;
    if matches!(framework, Prisma | Drizzle) {
        return Err(format!("{framework} has no way down: write a migration that reverses the last one"));
    }
    let (script, text) = text_of(up).ok_or("the command that applies migrations has words with spaces in them")?;
    let ways = WAYS.iter().filter(|way| way.framework == framework);
    let found = ways.filter_map(|way| Some((way, Regex::new(way.up).ok()?))).find(|(_, up)| up.is_match(&text));
    let (way, pattern) =
        found.ok_or_else(|| format!("{text:?} is no command of {framework} that is known to apply migrations"))?;
    let going = going(state, extent)?;
    let count = going.as_ref().map(Vec::len);
    if count == Some(0) {
        return Err("no migration is applied beyond that".to_owned());
    }
    let with = |template: &str| replaced(&text, &pattern, template);
    let texts = match (extent, way.to) {
        (Extent::Last, template_to) if way.last.contains("{v}") => vec![with(&version(template_to, &before(state, 1)?))],
        (Extent::Last, _) => vec![with(way.last)],
        (Extent::Steps(steps), _) if way.steps.contains("{v}") => vec![with(&version(way.steps, &before(state, *steps)?))],
        (Extent::Steps(steps), _) => repeated(way, *steps, with),
        (Extent::To(to), "") => {
            let steps = count.ok_or_else(|| format!("how far it is to {to} is not known: say --steps"))?;
            repeated(way, steps, with)
        }
        (Extent::To(to), template) => vec![with(&version(template, &named(framework, to)))],
    };
    if texts.len() > 1 && text.contains("npm run") {
        return Err("an npm script takes back one at a time: say the command yourself behind --".to_owned());
    }
    Ok(Down { command: command_of(up, script, &texts), going })
}

/// The part of a command in which the framework's own stands: a shell's script, or all of its words.
fn text_of(command: &[String]) -> Option<(Option<usize>, String)> {
    let shell = command.first().is_some_and(|word| matches!(word.rsplit('/').next(), Some("sh" | "bash" | "ash" | "dash")));
    if shell && let Some(at) = command.iter().position(|word| word.starts_with('-') && word.ends_with('c')) {
        return Some((Some(at + 1), command.get(at + 1)?.clone()));
    }
    let plain = command.iter().all(|word| !word.contains(char::is_whitespace) && !word.is_empty());
    plain.then(|| (None, command.join(" ")))
}

fn command_of(up: &[String], script: Option<usize>, texts: &[String]) -> Vec<String> {
    let joined = texts.join(" && ");
    match (script, texts) {
        (Some(at), _) => {
            up.iter().enumerate().map(|(index, word)| if index == at { joined.clone() } else { word.clone() }).collect()
        }
        (None, [one]) => one.split(' ').map(str::to_owned).collect(),
        (None, _) => vec!["sh".to_owned(), "-c".to_owned(), joined],
    }
}

/// The text with the first command that goes up replaced by one that goes down.
fn replaced(text: &str, up: &Regex, template: &str) -> String {
    let filled = |groups: &Captures<'_>| template.replace("$1", groups.get(1).map_or("", |group| group.as_str()));
    up.replace(text, filled).into_owned()
}

fn repeated(way: &Way, steps: usize, with: impl Fn(&str) -> String) -> Vec<String> {
    match way.steps.contains("{n}") {
        true => vec![with(&way.steps.replace("{n}", &steps.to_string()))],
        false => vec![with(way.steps); steps],
    }
}

fn version(template: &str, to: &str) -> String {
    template.replace("{v}", to)
}

/// A version as the framework's command takes it.
fn named(framework: Framework, id: &str) -> String {
    match (framework, id.split_once('.')) {
        (Django, Some((app, name))) => format!("{app} {name}"),
        _ => id.to_owned(),
    }
}

/// The migrations that go, the newest first.
fn going(state: &State, extent: &Extent) -> Result<Option<Vec<String>>, String> {
    // Their tables have one row for where the database is.
    let tells = !matches!(state.framework, GolangMigrate | Alembic);
    if !tells {
        return Ok(None);
    }
    let ids = || state.applied.iter().rev().map(|applied| applied.id.clone());
    let last_batch = state.applied.iter().filter_map(|applied| applied.batch).max();
    Ok(Some(match extent {
        Extent::Last if last_batch.is_some() => {
            let of_batch = state.applied.iter().rev().filter(|applied| applied.batch == last_batch);
            of_batch.map(|applied| applied.id.clone()).collect()
        }
        Extent::Last => ids().take(1).collect(),
        Extent::Steps(steps) => ids().take(*steps).collect(),
        Extent::To(to) => {
            let known = state.applied.iter().any(|applied| applied.id == *to);
            if !known {
                return Err(format!("{to} is not applied"));
            }
            ids().take_while(|id| id != to).collect()
        }
    }))
}

/// The version at which a database is after the last so many were taken back.
fn before(state: &State, steps: usize) -> Result<String, String> {
    let last = state.applied.last().ok_or("no migration is applied")?;
    if state.framework != Django {
        let left = state.applied.len().saturating_sub(steps);
        return Ok(left.checked_sub(1).map_or_else(|| "0".to_owned(), |at| state.applied[at].id.clone()));
    }
    if steps != 1 {
        return Err("Django goes to a migration of one application: say --to APP.NAME".to_owned());
    }
    let app = last.id.split_once('.').map_or("", |(app, _)| app);
    let of_app = state.applied.iter().rev().skip(1).find(|applied| applied.id.split_once('.').is_some_and(|(of, _)| of == app));
    Ok(named(Django, &of_app.map_or_else(|| format!("{app}.zero"), |applied| applied.id.clone())))
}

#[cfg(test)]
mod tests {
    use super::super::{Applied, Table};
    use super::*;
    use crate::database::Dialect;

    fn table() -> Table {
        Table { schema: None, name: "t".to_owned(), dialect: Dialect::Postgres, columns: Vec::new(), obstacle: None }
    }

    fn state(framework: Framework, applied: &[(&str, Option<i64>)]) -> State {
        let mut state = State::new(framework, table());
        state.applied =
            applied.iter().map(|(id, batch)| Applied { id: (*id).to_owned(), batch: *batch, ..Applied::default() }).collect();
        state
    }

    #[track_caller]
    fn goes(state: &State, up: &str, extent: &Extent) -> String {
        let up: Vec<String> = up.split(' ').map(str::to_owned).collect();
        down(state, &up, extent).unwrap_or_else(|why| panic!("{why}")).command.join(" ")
    }

    #[test]
    fn each_framework_goes_down_in_its_own_words() {
        let two = |framework| state(framework, &[("1", None), ("2", None)]);
        for (framework, up, last, steps) in [
            (Alembic, "flask db upgrade head", "flask db downgrade", "flask db downgrade -- -2"),
            (Alembic, "alembic -c a.ini upgrade head", "alembic -c a.ini downgrade -1", "alembic -c a.ini downgrade -2"),
            (
                GolangMigrate,
                "migrate -path /m -database $D up",
                "migrate -path /m -database $D down 1",
                "migrate -path /m -database $D down 2",
            ),
            (Rails, "bin/rails db:migrate", "bin/rails db:rollback", "bin/rails db:rollback STEP=2"),
            (Goose, "goose up", "goose down", "sh -c goose down && goose down"),
            (
                Laravel,
                "php artisan migrate --force",
                "php artisan migrate:rollback --force",
                "php artisan migrate:rollback --force --step=2",
            ),
            (EfCore, "dotnet ef database update", "dotnet ef database update 1", "dotnet ef database update 0"),
            (Liquibase, "liquibase update", "liquibase rollback-count 1", "liquibase rollback-count 2"),
        ] {
            assert_eq!(goes(&two(framework), up, &Extent::Last), last);
            assert_eq!(goes(&two(framework), up, &Extent::Steps(2)), steps);
        }
        let django = state(Django, &[("auth.0001_initial", None), ("polls.0001_initial", None), ("polls.0002_more", None)]);
        assert_eq!(goes(&django, "python manage.py migrate", &Extent::Last), "python manage.py migrate polls 0001_initial");
        let to = Extent::To("auth.0001_initial".to_owned());
        assert_eq!(goes(&django, "python manage.py migrate", &to), "python manage.py migrate auth 0001_initial");
    }

    #[test]
    fn knex_takes_back_a_whole_run_unless_it_is_told_otherwise() {
        let knex = state(Knex, &[("1.js", Some(1)), ("2.js", Some(2)), ("3.js", Some(2))]);
        let up = ["npm", "run", "migrate:latest"].map(str::to_owned);
        let last = down(&knex, &up, &Extent::Last).unwrap();
        assert_eq!(last.command, ["npm", "run", "migrate:rollback"]);
        assert_eq!(last.going, Some(vec!["3.js".to_owned(), "2.js".to_owned()]));
        let script = ["sh", "-c", "until nc -z db 5432; do sleep 1; done; knex migrate:latest"].map(str::to_owned);
        let to = down(&knex, &script, &Extent::To("1.js".to_owned())).unwrap();
        let once = "until nc -z db 5432; do sleep 1; done; knex migrate:down";
        assert_eq!(to.command, ["sh", "-c", &format!("{once} && {once}")]);
        assert!(down(&knex, &up, &Extent::Steps(2)).unwrap_err().contains("npm script"));
        assert!(down(&knex, &up, &Extent::To("9.js".to_owned())).unwrap_err().contains("not applied"));
        assert!(down(&knex, &up, &Extent::To("3.js".to_owned())).unwrap_err().contains("beyond"));
        assert!(down(&knex, &["serve".to_owned()], &Extent::Last).unwrap_err().contains("no command of Knex"));
    }

    #[test]
    fn what_has_no_way_down_is_told_so() {
        let prisma = state(Prisma, &[("1", None)]);
        assert!(down(&prisma, &["prisma".to_owned()], &Extent::Last).unwrap_err().contains("no way down"));
    }
}
