//! TypeORM: a row for each applied migration, known by the name of its class, which ends with a time in milliseconds.

use super::Framework;
use super::available::{file_name, listed, without};
use super::journal::{Columns, Journal, NONE, Sign};
use super::table::Signature;

/// The milliseconds at the end of a class's name.
fn time(name: &str) -> &str {
    &name[name.trim_end_matches(|c: char| c.is_ascii_digit()).len()..]
}

/// The name in a file's text that ends with the file's time.
fn class<'a>(text: &'a str, time: &str) -> Option<&'a str> {
    let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.find(|word| word.len() > time.len() && word.ends_with(time))
}

/// TypeORM.
pub(super) const TYPEORM: Journal = Journal {
    framework: Framework::TypeOrm,
    signature: Signature::exactly(&["id", "timestamp", "name"]),
    sign: Sign::Ids(|id, _| time(id).len() >= 10, "migrations"),
    order: "id",
    columns: Columns { id: "name", at: "timestamp", key: "id", ..NONE },
    lock: |_, _| None,
    suffixes: &[".ts", ".js"],
    // `1700000000000-add-users.ts` has the class `AddUsers1700000000000`.
    available: |scripts| {
        listed(
            scripts,
            |script| {
                let stem = without(file_name(&script.path), &[".d.ts"])
                    .map_or_else(|| without(file_name(&script.path), &[".ts", ".js"]), |_| None)?;
                let (time, name) = stem.split_once('-')?;
                time.parse::<u64>().ok()?;
                Some((class(&script.text, time).map_or_else(|| format!("{name}{time}"), str::to_owned), name.to_owned()))
            },
            |one| time(&one.id).to_owned(),
        )
    },
    stamp: |state, id| match time(id) {
        "" => Err(format!("{id} does not end with a time: TypeORM's are like AddUsers1700000000000")),
        time => Ok(vec![("timestamp", time.to_owned()), ("name", state.table.dialect.text(id))]),
    },
};
