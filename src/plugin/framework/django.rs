//! Django: a row for each applied migration of each app. No lock: two runs at once may write the same row twice.

use super::Framework;
use super::available::{file_name, folder, listed};
use super::journal::{Columns, Journal, NONE, Sign};
use super::table::Signature;

/// Django.
pub(super) const DJANGO: Journal = Journal {
    framework: Framework::Django,
    signature: Signature::exactly(&["id", "app", "name", "applied"]),
    sign: Sign::Columns,
    order: "id",
    columns: Columns { group: "app", id: "name", at: "applied", key: "id", ..NONE },
    lock: |_, _| None,
    suffixes: &[".py"],
    // `polls/migrations/0001_initial.py`, and `0001_initial.py` in a folder whose app is not known.
    available: |scripts| {
        listed(
            scripts,
            |script| {
                let name = file_name(&script.path).strip_suffix(".py").filter(|name| *name != "__init__")?;
                let above = script.path.rsplit_once(['/', '\\']).map_or("", |(folders, _)| folders);
                let app =
                    if folder(&script.path) == Some("migrations") { file_name(above.strip_suffix("/migrations")?) } else { "" };
                (!app.is_empty()).then(|| (format!("{app}.{name}"), name.to_owned()))
            },
            |one| one.id.clone(),
        )
    },
    stamp: |state, id| {
        let (app, name) = id.split_once('.').ok_or_else(|| format!("{id} names no app: Django's are like polls.0001_initial"))?;
        let text = |value: &str| state.table.dialect.text(value);
        Ok(vec![("app", text(app)), ("name", text(name)), ("applied", state.table.now("applied"))])
    },
};
