//! Which migrations there are, by the names of their files.

use super::{Available, Script};

/// A file's name without its folders.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The folder that holds a file.
pub(super) fn folder(path: &str) -> Option<&str> {
    path.rsplit(['/', '\\']).nth(1).filter(|name| !name.is_empty())
}

/// A name without one of the endings, if it has one.
pub(super) fn without<'a>(name: &'a str, endings: &[&str]) -> Option<&'a str> {
    endings.iter().find_map(|ending| name.strip_suffix(ending)).filter(|rest| !rest.is_empty())
}

/// Migrations as `of` reads them off a file's path, ordered by `key`.
pub(super) fn listed<K: Ord>(
    scripts: &[Script],
    of: impl Fn(&Script) -> Option<(String, String)>,
    key: impl Fn(&Available) -> K,
) -> Vec<Available> {
    let one =
        |script: &Script| of(script).map(|(id, name)| Available { id, name, path: script.path.clone(), ..Available::default() });
    let mut listed: Vec<Available> = scripts.iter().filter_map(one).collect();
    listed.sort_by_key(&key);
    listed
}

/// Migrations whose whole file name is their id, in the order of their names.
pub(super) fn named(scripts: &[Script], id: impl Fn(&str) -> Option<String>) -> Vec<Available> {
    listed(scripts, |script| id(file_name(&script.path)).map(|id| (id, file_name(&script.path).to_owned())), |one| one.id.clone())
}

/// Migrations like `0004_title.sql`: a number and a title. `plain`: the number without zeros in front, as a table of
/// numbers has it.
pub(super) fn numbered(scripts: &[Script], endings: &[&str], plain: bool) -> Vec<Available> {
    let of = |script: &Script| {
        let stem = without(file_name(&script.path), endings)?;
        let (number, title) = stem.split_once(['_', '-', '.']).unwrap_or((stem, stem));
        let value: u64 = number.parse().ok()?;
        Some((if plain { value.to_string() } else { number.to_owned() }, title.to_owned()))
    };
    listed(scripts, of, |one| one.id.parse::<u64>().unwrap_or_default())
}
