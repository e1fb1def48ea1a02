//! Migrations that have no way back, by their files: a way down that is missing, empty, or says no. Reads their text, runs nothing.

use regex::Regex;

use super::Framework::{Alembic, Dbmate, Ecto, Flyway, GolangMigrate, Goose, Knex, Laravel, Rails, Sequelize, Sqlx, TypeOrm};
use super::alembic::Graph;
use super::available::file_name;
use super::down::Extent;
use super::{Framework, Script, State};

/// A migration that has no way back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Irreversible {
    /// As the books have it.
    pub id: String,
    /// Why: `its down is empty`.
    pub why: String,
}

/// Of the migrations that would go, those that have no way back; `going` is as the books tell it, if they do. Migrations whose file
/// is not among `scripts` are passed over.
#[must_use]
pub fn irreversible(state: &State, extent: &Extent, going: Option<&[String]>, scripts: &[Script]) -> Vec<Irreversible> {
    let going = going.map_or_else(|| by_files(state, extent, scripts), <[String]>::to_vec);
    let why = |id: String| why(state.framework, &id, scripts).map(|why| Irreversible { id, why });
    going.into_iter().filter_map(why).collect()
}

/// Whether its files tell.
#[must_use]
pub fn is_told_by_files(framework: Framework) -> bool {
    matches!(
        framework,
        Alembic | Dbmate | Ecto | Flyway | GolangMigrate | Goose | Knex | Laravel | Rails | Sequelize | Sqlx | TypeOrm
    )
}

/// Which migrations would go where the table has only the version at which the database is.
fn by_files(state: &State, extent: &Extent, scripts: &[Script]) -> Vec<String> {
    let Some(head) = state.heads.first() else { return Vec::new() };
    let applied: Vec<String> = match state.framework {
        Alembic => {
            let graph = Graph::parse(scripts);
            let parent = |id: &String| graph.get(id).and_then(|revision| revision.down.first()).cloned();
            std::iter::successors(Some(head.clone()), parent).take(scripts.len()).collect()
        }
        _ => {
            let number = |id: &str| id.parse::<u64>().ok();
            let ids = state.framework.books().available(scripts).into_iter().rev().map(|one| one.id);
            ids.filter(|id| number(id) <= number(head)).collect()
        }
    };
    match extent {
        Extent::Last => applied.into_iter().take(1).collect(),
        Extent::Steps(steps) => applied.into_iter().take(*steps).collect(),
        Extent::To(to) => applied.into_iter().take_while(|id| id != to).collect(),
    }
}

fn why(framework: Framework, id: &str, scripts: &[Script]) -> Option<String> {
    let own = || {
        let available = framework.books().available(scripts);
        let path = &available.iter().find(|one| one.id == id)?.path;
        scripts.iter().find(|script| script.path == *path).map(|script| script.text.as_str())
    };
    let beside = |is_its: &dyn Fn(&str) -> bool, named: &str| {
        own()?;
        match scripts.iter().find(|script| is_its(file_name(&script.path))) {
            None => Some(format!("it has no {named}")),
            Some(script) => is_idle_sql(&script.text).then(|| format!("{} is empty", file_name(&script.path))),
        }
    };
    let number = |name: &str| name.split_once('_').and_then(|(number, _)| number.parse::<u64>().ok());
    match framework {
        GolangMigrate | Sqlx => {
            let is_its = |name: &str| name.ends_with(".down.sql") && number(name) == id.parse().ok();
            beside(&is_its, "file .down.sql")
        }
        Flyway => {
            let is_its = |name: &str| {
                let version = name.strip_prefix('U').and_then(|name| name.split_once("__"));
                version.is_some_and(|(version, _)| version.replace('_', ".") == id)
            };
            beside(&is_its, "file for undo")
        }
        Goose => section(own()?, r"(?mi)^\s*--\s*\+goose\s+down\b.*$"),
        Dbmate => section(own()?, r"(?mi)^\s*--\s*migrate:down\b.*$"),
        Alembic => {
            let text = Graph::parse(scripts).get(id).map(|revision| revision.path.clone());
            python(&scripts.iter().find(|script| Some(&script.path) == text.as_ref())?.text)
        }
        Knex | Sequelize | TypeOrm => braces(own()?, r#"\bdown\b["']?\s*[=:(]"#),
        Laravel => braces(own()?, r"function\s+down\s*\("),
        Rails => ruby(own()?),
        Ecto => elixir(own()?),
        _ => None,
    }
}

/// SQL that does nothing.
fn is_idle_sql(text: &str) -> bool {
    let text = replace(text, r"(?s)/\*.*?\*/", "");
    let text = replace(&text, r"(?m)--.*$", "");
    let text = replace(&text, r"(?i)\b(?:begin|commit|start transaction|select 1)\b", "");
    text.chars().all(|letter| letter.is_whitespace() || letter == ';')
}

/// The part of an SQL file behind the line that begins the way down.
fn section(text: &str, begin: &str) -> Option<String> {
    let begin = Regex::new(begin).ok()?;
    match begin.find(text) {
        None => Some("it has no part that goes down".to_owned()),
        Some(found) => is_idle_sql(&text[found.end()..]).then(|| "its part that goes down is empty".to_owned()),
    }
}

const EMPTY: &str = "its down does nothing";
const THROWS: &str = "its down says that it can't be taken back";

/// A function of JavaScript, TypeScript or PHP, found by how its definition begins.
fn braces(text: &str, begin: &str) -> Option<String> {
    let text = replace(text, r"(?s)/\*.*?\*/", "");
    let text = replace(&text, r"(?m)(^|\s)(?://|#[^\[]).*$", "");
    let found = Regex::new(begin).ok()?.find(&text);
    let Some(found) = found else { return Some("it has no down".to_owned()) };
    let rest = &text[found.end() - 1..];
    // What comes first: a function's parameters, or a value.
    let value = rest.trim_start_matches(['=', ':']).trim_start();
    if ["false", "null", "undefined"].iter().any(|nothing| value.starts_with(nothing)) {
        return Some("it has no down".to_owned());
    }
    let behind = behind_parameters(rest)?;
    let body = match behind.find("=>").filter(|arrow| behind.find('{').is_none_or(|brace| *arrow < brace)) {
        Some(arrow) if !behind[arrow + 2..].trim_start().starts_with('{') => {
            let expression = behind[arrow + 2..].trim_start();
            expression.split([';', '\n']).next().unwrap_or_default().to_owned()
        }
        _ => within(behind, '{', '}')?.to_owned(),
    };
    judged(&body)
}

/// The text behind the first pair of brackets, if one comes before the function's body.
fn behind_parameters(text: &str) -> Option<&str> {
    let open = text.find('(')?;
    if text.find("=>").is_some_and(|arrow| arrow < open) {
        return Some(text); // knex => …
    }
    let inside = within(text, '(', ')')?;
    text.get(open + inside.len() + 2..)
}

/// What is between the first opening bracket and its own closing one.
fn within(text: &str, open: char, close: char) -> Option<&str> {
    let begin = text.find(open)?;
    let mut depth = 0_usize;
    for (at, letter) in text[begin..].char_indices() {
        if letter == open {
            depth += 1;
        } else if letter == close {
            depth -= 1;
            if depth == 0 {
                return text.get(begin + 1..begin + at);
            }
        }
    }
    None
}

fn judged(body: &str) -> Option<String> {
    let body = body.trim().trim_end_matches(';').trim();
    let idle = r"^(?:return\b\s*)?(?:await\s+)?(?:Promise\.resolve\(\s*\)|null|undefined|true|\{\s*\})?$";
    if Regex::new(idle).ok()?.is_match(body) {
        return Some(EMPTY.to_owned());
    }
    body.starts_with("throw").then(|| THROWS.to_owned())
}

/// Alembic's `downgrade`.
fn python(text: &str) -> Option<String> {
    let begin = Regex::new(r"(?m)^def downgrade\([^)]*\)[^:\n]*:(.*)$").ok()?;
    let Some(found) = begin.captures(text) else { return Some("it has no downgrade".to_owned()) };
    let (whole, same_line) = (found.get(0)?, found.get(1)?.as_str());
    let indented = text[whole.end()..].lines().skip(1).take_while(|line| line.trim().is_empty() || line.starts_with([' ', '\t']));
    let lines: Vec<&str> = std::iter::once(same_line).chain(indented).collect();
    let body = replace(&lines.join("\n"), r#"(?s)("""|''').*?("""|''')"#, "");
    let body = replace(&body, r"(?m)#.*$", "");
    let mut statements = body.lines().map(str::trim).filter(|line| !line.is_empty());
    if statements.clone().all(|line| matches!(line, "pass" | "..." | "return" | "return None")) {
        return Some("its downgrade does nothing".to_owned());
    }
    statements.next()?.starts_with("raise").then(|| "its downgrade says that it can't be taken back".to_owned())
}

/// A migration of ActiveRecord.
fn ruby(text: &str) -> Option<String> {
    let text = replace(text, r"(?m)^\s*#.*$", "");
    let body = |name: &str| {
        let begin = Regex::new(&format!(r"(?m)^([ \t]*)def (?:self\.)?{name}\b.*$")).ok()?;
        let found = begin.captures(&text)?;
        let (end, whole) = (format!("{}end", found.get(1)?.as_str()), found.get(0)?);
        let lines = text[whole.end()..].lines().take_while(|line| line.trim_end() != end);
        Some(lines.collect::<Vec<_>>().join("\n").trim().to_owned())
    };
    if let Some(down) = body("down") {
        return match down.as_str() {
            "" | "nil" | "true" => Some(EMPTY.to_owned()),
            down => (down.contains("IrreversibleMigration")).then(|| THROWS.to_owned()),
        };
    }
    if body("up").is_some() {
        return Some("it has no down".to_owned());
    }
    let change = body("change")?;
    if change.contains("reversible") {
        return None;
    }
    let no_way_back = Regex::new(r"(?m)^\s*(execute|change_column|remove_columns)\b").ok()?;
    let word = no_way_back.captures(&change)?.get(1)?.as_str();
    Some(format!("Rails can't turn {word} of its change around"))
}

/// A migration of Ecto.
fn elixir(text: &str) -> Option<String> {
    let text = replace(text, r"(?m)#.*$", "");
    let begin = Regex::new(r"(?m)^([ \t]*)def down\b(.*)$").ok()?;
    let Some(found) = begin.captures(&text) else {
        let goes_up = Regex::new(r"(?m)^\s*def up\b").ok()?.is_match(&text);
        return goes_up.then(|| "it has no down".to_owned());
    };
    let (indent, same_line) = (found.get(1)?.as_str(), found.get(2)?.as_str());
    let body = match same_line.split_once("do:") {
        Some((_, expression)) => expression.trim().to_owned(),
        None => {
            let lines = text[found.get(0)?.end()..].lines().take_while(|line| line.trim_end() != format!("{indent}end"));
            lines.collect::<Vec<_>>().join("\n").trim().to_owned()
        }
    };
    match body.as_str() {
        "" | "nil" | ":ok" => Some(EMPTY.to_owned()),
        body => body.starts_with("raise").then(|| THROWS.to_owned()),
    }
}

/// Patterns of this file's own can't be wrong; a test reads with each.
fn replace(text: &str, pattern: &str, by: &str) -> String {
    Regex::new(pattern).map_or_else(|_| text.to_owned(), |pattern| pattern.replace_all(text, by).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Applied, Table};
    use super::*;
    use crate::database::Dialect;

    fn script(path: &str, text: &str) -> Script {
        Script { path: path.to_owned(), text: text.to_owned() }
    }

    #[track_caller]
    fn of(framework: Framework, id: &str, name: &str, text: &str) -> Option<String> {
        why(framework, id, &[script(name, text)])
    }

    #[test]
    fn a_function_that_does_nothing_is_no_way_back() {
        for (text, expected) in [
            ("exports.up = (k) => k.x();\nexports.down = (k) => k.schema.dropTable('u');", None),
            ("exports.down = async function (knex) {\n  // later\n  await knex.schema.dropTable('u');\n};", None),
            ("exports.down = knex => knex.raw('x')", None),
            ("module.exports = { up: async (q) => { await q.x() }, down: async (q) => { await q.y({a: 1}) } }", None),
            ("class M { async up(q) {} async down(queryRunner: QueryRunner): Promise<void> { await q.query(`DROP`) } }", None),
            ("export async function up(knex) {}\nexport async function down(knex) {\n}", Some(EMPTY)),
            ("exports.down = function(knex) { return Promise.resolve(); };", Some(EMPTY)),
            ("exports.down = () => {};", Some(EMPTY)),
            ("exports.down = knex => Promise.resolve();", Some(EMPTY)),
            ("exports.down = async () => { /* no */ throw new Error('no'); };", Some(THROWS)),
            ("class M { public async down(q: Q): Promise<void> {\n    // nothing\n    }\n}", Some(EMPTY)),
            ("exports.up = (knex) => knex.x();", Some("it has no down")),
            ("exports.down = false;", Some("it has no down")),
        ] {
            assert_eq!(of(Knex, "1.js", "m/1.js", text).as_deref(), expected, "{text}");
        }
        let php = |body: &str| {
            format!(
                "<?php\nreturn new class {{ public function up(): void {{ x(); }}\npublic function down(): void\n{{\n{body}\n}} }};"
            )
        };
        assert_eq!(of(Laravel, "1_a", "m/1_a.php", &php("Schema::drop('u');")), None);
        assert_eq!(of(Laravel, "1_a", "m/1_a.php", &php("//")).as_deref(), Some(EMPTY));
        assert_eq!(of(Laravel, "1_a", "m/1_a.php", &php("throw new Exception('no');")).as_deref(), Some(THROWS));
    }

    #[test]
    fn a_downgrade_that_passes_is_no_way_back() {
        let of = |body: &str| of(Alembic, "b", "v/b_x.py", &format!("revision = 'b'\ndown_revision = 'a'\n{body}"));
        assert_eq!(of("def downgrade():\n    op.drop_table('u')\n"), None);
        assert_eq!(
            of("def downgrade() -> None:\n    \"\"\"Down.\"\"\"\n    # no\n    pass\n\ndef other():\n    x()\n").as_deref(),
            Some("its downgrade does nothing")
        );
        assert_eq!(of("def downgrade(): pass\n").as_deref(), Some("its downgrade does nothing"));
        assert!(of("def downgrade():\n    raise NotImplementedError()\n").unwrap().contains("can't be taken back"));
        assert_eq!(of("def upgrade():\n    pass\n").as_deref(), Some("it has no downgrade"));
    }

    #[test]
    fn ruby_and_elixir_say_it_in_their_own_ways() {
        let rails =
            |body: &str| of(Rails, "1", "db/migrate/1_x.rb", &format!("class X < ActiveRecord::Migration[7.0]\n{body}end\n"));
        assert_eq!(rails("  def change\n    add_column :a, :b, :text\n  end\n"), None);
        assert!(rails("  def change\n    execute 'UPDATE x'\n  end\n").unwrap().contains("execute"));
        assert_eq!(rails("  def change\n    reversible do |d|\n      execute 'x'\n    end\n  end\n"), None);
        assert_eq!(rails("  def up\n    x\n  end\n").as_deref(), Some("it has no down"));
        assert_eq!(rails("  def down\n  end\n").as_deref(), Some(EMPTY));
        assert_eq!(rails("  def down\n    raise ActiveRecord::IrreversibleMigration\n  end\n").as_deref(), Some(THROWS));
        assert_eq!(rails("  def down\n    drop_table :x\n  end\n"), None);
        let ecto = |body: &str| of(Ecto, "1", "priv/1_x.exs", &format!("defmodule X do\n  def up, do: x()\n{body}end\n"));
        assert_eq!(ecto("  def down, do: :ok\n").as_deref(), Some(EMPTY));
        assert_eq!(ecto("  def down do\n  end\n").as_deref(), Some(EMPTY));
        assert_eq!(ecto("  def down do\n    drop table(:x)\n  end\n"), None);
        assert_eq!(ecto("").as_deref(), Some("it has no down"));
    }

    #[test]
    fn sql_has_its_way_down_in_a_file_or_a_part_of_its_own() {
        let up = script("m/2_x.up.sql", "CREATE TABLE x (a int)");
        let with = |name: &str, text: &str| why(GolangMigrate, "2", &[up.clone(), script(name, text)]);
        assert_eq!(with("m/2_x.down.sql", "DROP TABLE x;"), None);
        assert_eq!(with("m/0002_x.down.sql", "-- nothing\n;").as_deref(), Some("0002_x.down.sql is empty"));
        assert_eq!(with("m/3_x.down.sql", "DROP TABLE x;").as_deref(), Some("it has no file .down.sql"));
        let goose = |down: &str| of(Goose, "2", "m/2_x.sql", &format!("-- +goose Up\nCREATE TABLE x (a int);\n{down}"));
        assert_eq!(goose("-- +goose Down\nDROP TABLE x;"), None);
        assert!(goose("-- +goose Down\n").unwrap().contains("empty"));
        assert!(goose("").unwrap().contains("no part"));
        assert!(of(Dbmate, "2", "m/2_x.sql", "-- migrate:up\nSELECT 2;\n-- migrate:down\n\n").unwrap().contains("empty"));
        let flyway = |undo: &str| why(Flyway, "2.1", &[script("V2_1__x.sql", "x"), script(undo, "DROP TABLE x")]);
        assert_eq!((flyway("U2_1__x.sql"), flyway("U2__x.sql").is_some()), (None, true));
    }

    #[test]
    fn only_what_would_go_counts() {
        let table = Table { schema: None, name: "t".to_owned(), dialect: Dialect::Postgres, columns: Vec::new(), obstacle: None };
        let mut state = State::new(GolangMigrate, table.clone());
        state.heads = vec!["3".to_owned()];
        let scripts: Vec<Script> = (1..=4).map(|at| script(&format!("m/{at}_x.up.sql"), "x")).collect();
        let ids = |state: &State, extent: &Extent, going: Option<&[String]>| {
            irreversible(state, extent, going, &scripts).into_iter().map(|one| one.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&state, &Extent::Last, None), ["3"]);
        assert_eq!(ids(&state, &Extent::Steps(2), None), ["3", "2"]);
        assert_eq!(ids(&state, &Extent::To("1".to_owned()), None), ["3", "2"]);
        let mut alembic = State::new(Alembic, table);
        alembic.heads = vec!["c".to_owned()];
        alembic.applied = vec![Applied { id: "c".to_owned(), ..Applied::default() }];
        let revisions = [("a", "None"), ("b", "'a'"), ("c", "'b'")]
            .map(|(id, down)| script(&format!("{id}_x.py"), &format!("revision = '{id}'\ndown_revision = {down}\n")));
        let going = irreversible(&alembic, &Extent::To("a".to_owned()), None, &revisions);
        assert_eq!(going.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["c", "b"]);
    }
}
