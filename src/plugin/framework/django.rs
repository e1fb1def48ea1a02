//! Django: a row for each applied migration of each app. No lock: two runs at once may write the same row twice.

use super::available::{file_name, folder, listed};
use super::journal::{Columns, Journal, NONE, Sign};
use super::table::Signature;
use super::{Available, Framework, Script};

/// Django.
pub(super) const DJANGO: Journal = Journal {
    framework: Framework::Django,
    signature: Signature::exactly(&["id", "app", "name", "applied"]),
    sign: Sign::Columns,
    order: "id",
    columns: Columns { group: "app", id: "name", at: "applied", key: "id", ..NONE },
    lock: |_, _| None,
    suffixes: &[".py"],
    available,
    stamp: |state, id| {
        let (app, name) = id.split_once('.').ok_or_else(|| format!("{id} names no app: Django's are like polls.0001_initial"))?;
        let text = |value: &str| state.table.dialect.text(value);
        Ok(vec![("app", text(app)), ("name", text(name)), ("applied", state.table.now("applied"))])
    },
};

/// `polls/migrations/0001_initial.py`, and `0001_initial.py` in a folder whose app is not known.
fn available(scripts: &[Script]) -> Vec<Available> {
    let of = |script: &Script| {
        let name = file_name(&script.path).strip_suffix(".py").filter(|name| *name != "__init__")?;
        let above = script.path.rsplit_once(['/', '\\']).map_or("", |(folders, _)| folders);
        let app = if folder(&script.path) == Some("migrations") { file_name(above.strip_suffix("/migrations")?) } else { "" };
        (!app.is_empty()).then(|| (format!("{app}.{name}"), name.to_owned()))
    };
    let mut listed = listed(scripts, of, |one| one.id.clone());
    for one in &mut listed {
        one.replaces = scripts.iter().find(|script| script.path == one.path).map(replaced).unwrap_or_default();
    }
    listed
}

/// What a squashed migration stands for: `replaces = [("polls", "0001_initial"), ("polls", "0002_second")]`.
fn replaced(script: &Script) -> Vec<String> {
    let list = script.text.split_once("replaces = [").and_then(|(_, rest)| rest.split_once(']')).map_or("", |(list, _)| list);
    let texts: Vec<&str> = list.split(['"', '\'']).skip(1).step_by(2).collect();
    texts.chunks_exact(2).map(|pair| pair.join(".")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_squashed_migration_stands_for_those_that_it_replaces() {
        let text = "class Migration(migrations.Migration):\n\n    replaces = [('polls', '0001_initial'), (\"polls\", \"0002_second\")]\n";
        let scripts = [("shop/polls/migrations/0001_squashed_0002.py", text), ("shop/polls/migrations/__init__.py", "")];
        let scripts = scripts.map(|(path, text)| Script { path: path.to_owned(), text: text.to_owned() });
        let available = available(&scripts);
        assert_eq!(available.len(), 1);
        assert_eq!(available[0].id, "polls.0001_squashed_0002");
        assert_eq!(available[0].replaces, ["polls.0001_initial", "polls.0002_second"]);
    }
}
