//! What is applied against what there is.

use std::collections::HashSet;

use super::finding::{Finding, HISTORY, Level};
use super::{Available, Before, Framework, State};

/// Takes in the list of available migrations; see [`State::compare`].
pub(super) fn compare(state: &mut State, available: &[Available]) {
    let failed: HashSet<&str> = state.failed.iter().map(|failed| failed.id.as_str()).collect();
    let pending = match state.framework {
        // Their tables hold where the database is, not what was applied.
        Framework::GolangMigrate => after_head(state, available),
        _ => Some(absent(state, available, &failed)),
    };
    for failed in &mut state.failed {
        if failed.before == Before::Unknown {
            failed.before = before(&failed.id, available);
        }
    }
    let notes = [missing(state, available), pending.as_ref().and_then(|pending| passed_over(state, available, pending))];
    state.pending = pending;
    state.notes.extend(notes.into_iter().flatten());
}

fn after_head(state: &State, available: &[Available]) -> Option<Vec<Available>> {
    let number = |id: &str| id.parse::<i64>().ok();
    let head = state.heads.first().and_then(|head| number(head)).unwrap_or(-1);
    Some(available.iter().filter(|one| number(&one.id).is_some_and(|id| id > head)).cloned().collect())
}

fn absent(state: &State, available: &[Available], failed: &HashSet<&str>) -> Vec<Available> {
    let applied: HashSet<&str> = state.applied.iter().map(|applied| applied.id.as_str()).collect();
    let unread = state.count > state.applied.len() as u64;
    let oldest = state.applied.first().map(|applied| applied.id.as_str()).filter(|_| unread);
    let passed = |id: &str| oldest.is_some_and(|oldest| is_before(id, oldest));
    let is_absent = |one: &&Available| {
        let id = one.id.as_str();
        !applied.contains(id) && !failed.contains(id) && !passed(id)
    };
    let is_wanted = |one: &&Available| one.replaces.is_empty() || !one.replaces.iter().all(|id| applied.contains(id.as_str()));
    available.iter().filter(is_absent).filter(is_wanted).cloned().collect()
}

/// Of what a migration is one in a row: Django's apps and Liquibase's files each have an order of their own, and those of packages are
/// not among the files.
fn line(framework: Framework, id: &str) -> &str {
    match framework {
        Framework::Django => id.split('.').next().unwrap_or_default(),
        Framework::Liquibase => id.split("::").next().unwrap_or_default(),
        _ => "",
    }
}

/// A pending migration that comes before one that is applied: a branch that was merged late.
fn passed_over(state: &State, available: &[Available], pending: &[Available]) -> Option<Finding> {
    let applied: HashSet<&str> = state.applied.iter().map(|applied| applied.id.as_str()).collect();
    let later = |late: &Available| {
        let at = available.iter().position(|one| one.id == late.id)?;
        let in_line = |one: &&Available| line(state.framework, &one.id) == line(state.framework, &late.id);
        available[at..].iter().filter(in_line).rfind(|one| applied.contains(one.id.as_str()))
    };
    let (late, later) = match state.framework {
        // Of a changeset that its contexts keep from being run, nothing is due.
        Framework::Liquibase => None,
        _ => pending.iter().find_map(|late| Some((late, later(late)?))),
    }?;
    let consequence = match state.framework {
        Framework::Drizzle => "Drizzle will never run it, and never say so",
        Framework::Goose => "goose refuses to go on unless it is told -allow-missing",
        Framework::Flyway => "Flyway refuses to go on unless it is told -outOfOrder=true",
        _ => "it will run after the later one",
    };
    let what =
        format!("{}: {} is not applied, but {}, which comes later, is: {consequence}", state.framework, late.name, later.name);
    Some(Finding::new(Level::Attention, what).next(HISTORY))
}

/// By number where both are numbers, by letters otherwise.
fn is_before(left: &str, right: &str) -> bool {
    match (left.parse::<u64>(), right.parse::<u64>()) {
        (Ok(left), Ok(right)) => left < right,
        _ => left < right,
    }
}

fn before(id: &str, available: &[Available]) -> Before {
    let Some(at) = available.iter().position(|one| one.id == id) else { return Before::Unknown };
    match at.checked_sub(1) {
        Some(before) => Before::Migration(available[before].id.clone()),
        None => Before::Nothing,
    }
}

/// Applied migrations without a file: an older image than the one that migrated, or files that somebody took away.
fn missing(state: &State, available: &[Available]) -> Option<Finding> {
    if available.is_empty() {
        return None;
    }
    let known: HashSet<&str> =
        available.iter().flat_map(|one| one.replaces.iter().chain([&one.id])).map(String::as_str).collect();
    let lines: HashSet<&str> = available.iter().map(|one| line(state.framework, &one.id)).collect();
    let is_missing = |id: &&str| !known.contains(id) && lines.contains(line(state.framework, id));
    let missing: Vec<&str> = state.applied.iter().map(|applied| applied.id.as_str()).filter(is_missing).collect();
    let (first, last) = (missing.first()?, missing.last()?);
    let which = if missing.len() == 1 {
        format!("migration {first} has")
    } else {
        format!("{} migrations ({first} … {last}) have", missing.len())
    };
    let what = format!(
        "{}: {which} been applied and no file here: the database is newer than this image, or the file was renamed",
        state.framework
    );
    Some(
        Finding::new(Level::Attention, what)
            .next("run the image that has the file; don't delete the row, or the migration would run again")
            .next(HISTORY),
    )
}
