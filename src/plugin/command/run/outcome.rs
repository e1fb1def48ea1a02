//! What came of a migration: how its container ended, weighed against what the books said before and say after. Pure.

use serde::{Deserialize, Serialize};

use super::spec::Way;
use crate::failure::Failure;
use crate::framework::State;

/// Ids of migrations that a mark keeps of one table, the newest.
const MOST_IDS: usize = 300;
/// Ids that a line shows.
const SHOWN: usize = 8;

/// How the container that migrates ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ended {
    /// Its exit code; `None` where nobody knows it any more.
    pub(super) exit_code: Option<i32>,
    /// The kubelet's word for it, or why there is no exit code.
    pub(super) why: String,
    /// What a line of its log means, if one is known: the line, the meaning, the next command.
    pub(super) known: Option<(String, String, String)>,
    /// Its last lines.
    pub(super) last_lines: Vec<String>,
}

impl Ended {
    /// In words: `exit code 1 (OOMKilled)`.
    pub(super) fn in_words(&self) -> String {
        match (self.exit_code, self.why.as_str()) {
            (Some(code), "" | "Completed" | "Error") => format!("exit code {code}"),
            (Some(code), why) => format!("exit code {code} ({why})"),
            (None, why) => format!("no exit code: {why}"),
        }
    }
}

/// Where a database is by one bookkeeping table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mark {
    pub(super) framework: String,
    pub(super) table: String,
    pub(super) heads: Vec<String>,
    pub(super) count: u64,
    pub(super) applied: Vec<String>,
    pub(super) failed: Vec<String>,
    /// What holds the lock against migrations, in words.
    pub(super) locks: Vec<String>,
    /// Why it can't be read.
    pub(super) unreadable: Option<String>,
}

impl Mark {
    pub(super) fn of(state: &State) -> Self {
        let newest = state.applied.iter().skip(state.applied.len().saturating_sub(MOST_IDS));
        Self {
            framework: state.framework.to_string(),
            table: state.table.to_string(),
            heads: state.heads.clone(),
            count: state.count,
            applied: newest.map(|applied| applied.id.clone()).collect(),
            failed: state.failed.iter().map(|failed| failed.id.clone()).collect(),
            locks: state.locks.iter().map(crate::framework::Lock::holder_in_words).collect(),
            unreadable: state.unreadable.clone(),
        }
    }

    /// `Knex in knex_migrations: version 2_b.js, 2 applied`.
    pub(super) fn in_words(&self) -> String {
        let at = match (&self.unreadable, self.heads.as_slice()) {
            (Some(why), _) => format!("can't be read: {why}"),
            (None, []) if self.count == 0 => "no migration applied".to_owned(),
            (None, heads) => format!("version {}, {} applied", heads.join(", "), self.count),
        };
        let failed = if self.failed.is_empty() { String::new() } else { format!(", failed: {}", self.failed.join(", ")) };
        let locked = if self.locks.is_empty() { "" } else { ", locked" };
        format!("{} in {}: {at}{failed}{locked}", self.framework, self.table)
    }

    fn is_at_the_same(&self, other: &Self) -> bool {
        let place = |mark: &Self| (mark.heads.clone(), mark.count, mark.applied.clone(), mark.failed.clone());
        self.table == other.table && self.unreadable.is_none() && other.unreadable.is_none() && place(self) == place(other)
    }
}

/// What the books said when they were asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Seen {
    /// Each bookkeeping table; none where no framework was recognised.
    Read(Vec<Mark>),
    /// Why they could not be asked.
    Unread(String),
}

impl Seen {
    /// Whether the database is where it was; `None` when that is not known.
    pub(super) fn has_stayed(&self, after: &Self) -> Option<bool> {
        let (Self::Read(before), Self::Read(after)) = (self, after) else { return None };
        if after.is_empty() || before.iter().chain(after).any(|mark| mark.unreadable.is_some()) {
            return None;
        }
        let same = before.len() == after.len() && before.iter().zip(after).all(|(before, after)| before.is_at_the_same(after));
        Some(same)
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It went well; `doubt` says what nothing proves.
    #[allow(missing_docs, reason = "named by the variant")]
    Well { summary: String, doubt: Option<String> },
    /// It did not.
    Failed(Failure),
}

/// Weighs the exit code against the books. `job` and `id` are for what to type next, with their namespace.
pub(super) fn judge(ended: &Ended, before: &Seen, after: &Seen, words: &Words<'_>) -> Outcome {
    let failed: Vec<String> = match after {
        Seen::Read(marks) => marks.iter().filter(|mark| !mark.failed.is_empty()).map(Mark::in_words).collect(),
        Seen::Unread(_) => Vec::new(),
    };
    let idle = matches!(words.way, Way::Down(_)) && before.has_stayed(after) == Some(true);
    if ended.exit_code == Some(0) && failed.is_empty() && !idle {
        let (summary, doubt) = done(before, after);
        let doubt = doubt.or_else(|| otherwise(before, after, words.way));
        return Outcome::Well { summary, doubt };
    }
    let Words { job, container, id, namespace, from, .. } = words;
    let message = match ended.exit_code {
        Some(0) if failed.is_empty() => {
            format!("container {container} of job/{job} ended with exit code 0, but nothing was taken back")
        }
        Some(0) => {
            format!("container {container} of job/{job} ended with exit code 0, but the database says that a migration failed")
        }
        _ => format!("the migration failed: container {container} of job/{job} ended with {}", ended.in_words()),
    };
    let named = format!("{from} -n {namespace}");
    let mut failure = Failure::failed(message);
    match &ended.known {
        Some((line, means, next)) => {
            failure = failure.fact(means).fact(format!("seen: {line}")).next(next.replace("TARGET", &named));
        }
        None => failure = failure.facts(ended.last_lines.iter().map(|line| format!("{container}: {line}"))),
    }
    failure = failure.facts(failed).state(left(before, after));
    let doctor = format!("kubectl dbmig doctor {named}");
    let failure = failure.next(format!("kubectl dbmig logs {id} -n {namespace}"));
    Outcome::Failed(if failure.next.contains(&doctor) { failure } else { failure.next(doctor) })
}

/// What messages name.
pub(super) struct Words<'a> {
    pub(super) job: &'a str,
    pub(super) container: &'a str,
    pub(super) id: &'a str,
    pub(super) namespace: &'a str,
    /// What other commands can be aimed at.
    pub(super) from: &'a str,
    pub(super) way: &'a Way,
}

/// Of a way down: that other migrations were taken back than were shown.
fn otherwise(before: &Seen, after: &Seen, way: &Way) -> Option<String> {
    let (Seen::Read(before), Seen::Read(after), Way::Down(Some(shown))) = (before, after, way) else { return None };
    let applied = |marks: &[Mark]| -> Vec<String> { marks.iter().flat_map(|mark| mark.applied.clone()).collect() };
    let now = applied(after);
    let gone: Vec<String> = applied(before).into_iter().filter(|id| !now.contains(id)).collect();
    let same = gone.len() == shown.len() && gone.iter().all(|id| shown.contains(id));
    (!same).then(|| format!("not what was shown was taken back: {} instead of {}", listed(&gone), listed(shown)))
}

/// Of a container that ended well: what it did by the books, and what nothing proves.
fn done(before: &Seen, after: &Seen) -> (String, Option<String>) {
    let after = match after {
        Seen::Unread(why) => {
            let doubt = format!("only the exit code says that it went well: the database was not asked ({why})");
            return ("exit code 0".to_owned(), Some(doubt));
        }
        Seen::Read(marks) if marks.is_empty() => {
            let doubt = "only the exit code says that it went well: the database has no migration framework's bookkeeping table";
            return ("exit code 0".to_owned(), Some(doubt.to_owned()));
        }
        Seen::Read(marks) => marks,
    };
    let doubts: Vec<String> =
        after.iter().filter_map(|mark| Some(format!("{} can't be read: {}", mark.table, mark.unreadable.as_ref()?))).collect();
    (changes(before, after), (!doubts.is_empty()).then(|| doubts.join("; ")))
}

/// In what state a migration that failed has left the database.
fn left(before: &Seen, after: &Seen) -> String {
    match (after, before.has_stayed(after)) {
        (Seen::Unread(why), _) => format!("what it did is not known: the database was not asked ({why})"),
        (_, Some(true)) => "the database is where it was: nothing was written down as applied".to_owned(),
        (Seen::Read(after), _) if after.is_empty() => {
            "what it did is not known: the database has no migration framework's bookkeeping table".to_owned()
        }
        (Seen::Read(after), _) => format!("before it failed: {}", changes(before, after)),
    }
}

/// What is different now, a part for each table.
fn changes(before: &Seen, after: &[Mark]) -> String {
    let Seen::Read(before) = before else {
        return after.iter().map(Mark::in_words).collect::<Vec<_>>().join("; ");
    };
    let none = Mark::default();
    let parts: Vec<String> =
        after.iter().filter_map(|now| change(before.iter().find(|old| old.table == now.table).unwrap_or(&none), now)).collect();
    match parts.is_empty() {
        true => format!("nothing was left to do ({})", after.iter().map(Mark::in_words).collect::<Vec<_>>().join("; ")),
        false => parts.join("; "),
    }
}

fn change(old: &Mark, now: &Mark) -> Option<String> {
    if now.unreadable.is_some() || (old.heads == now.heads && old.applied == now.applied && old.count == now.count) {
        return None;
    }
    let lacking = |from: &Mark, in_other: &Mark| -> Vec<String> {
        from.applied.iter().filter(|id| !in_other.applied.contains(id)).cloned().collect()
    };
    let (new, gone) = (lacking(now, old), lacking(old, now));
    let moved = || {
        let of = |mark: &Mark| if mark.heads.is_empty() { "none".to_owned() } else { mark.heads.join(", ") };
        format!("version {} → {}", of(old), of(now))
    };
    // A table with one row for the version tells of no single migration.
    let said = match (new.is_empty(), gone.is_empty()) {
        (false, true) => format!("applied {}", listed(&new)),
        (true, false) => format!("took back {}", listed(&gone)),
        _ => moved(),
    };
    Some(said)
}

fn listed(ids: &[String]) -> String {
    let shown = ids.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match ids.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(applied: &[&str]) -> Mark {
        Mark {
            framework: "Knex".into(),
            table: "knex_migrations".into(),
            heads: applied.last().map(|id| (*id).to_owned()).into_iter().collect(),
            count: applied.len() as u64,
            applied: applied.iter().map(|id| (*id).to_owned()).collect(),
            ..Mark::default()
        }
    }

    fn read(applied: &[&str]) -> Seen {
        Seen::Read(vec![mark(applied)])
    }

    fn with_code(code: i32) -> Ended {
        Ended { exit_code: Some(code), ..Ended::default() }
    }

    const WORDS: Words<'static> =
        Words { job: "j", container: "migrate", id: "run-x", namespace: "shop", from: "cronjob/m", way: &Way::Up };

    #[test]
    fn a_migration_went_well_by_its_books() {
        let well = |before: &Seen, after: &Seen| match judge(&with_code(0), before, after, &WORDS) {
            Outcome::Well { summary, doubt } => (summary, doubt),
            Outcome::Failed(failure) => panic!("{failure:?}"),
        };
        assert_eq!(well(&read(&["a"]), &read(&["a", "b", "c"])), ("applied b, c".to_owned(), None));
        assert_eq!(well(&Seen::Read(vec![]), &read(&["a"])).0, "applied a");
        assert_eq!(well(&read(&["a", "b"]), &read(&["a"])).0, "took back b");
        assert!(well(&read(&["a"]), &read(&["a"])).0.starts_with("nothing was left to do (Knex"));
        assert_eq!(well(&Seen::Unread("x".into()), &read(&["a"])).0, "Knex in knex_migrations: version a, 1 applied");
        // One row that says where the database is.
        let version = |at: &str| Seen::Read(vec![Mark { applied: vec![], ..mark(&[at]) }]);
        assert_eq!(well(&version("3"), &version("4")).0, "version 3 → 4");
        for unproven in [Seen::Unread("no way there".into()), Seen::Read(vec![])] {
            assert!(well(&read(&["a"]), &unproven).1.unwrap().starts_with("only the exit code"));
        }
    }

    #[test]
    fn an_exit_code_of_0_is_no_proof_against_the_books() {
        let dirty = Seen::Read(vec![Mark { failed: vec!["b".into()], ..mark(&["a", "b"]) }]);
        let Outcome::Failed(failure) = judge(&with_code(0), &read(&["a"]), &dirty, &WORDS) else { panic!() };
        assert!(failure.message.contains("the database says"), "{failure}");
        assert!(failure.facts[0].contains("failed: b"), "{failure:?}");
    }

    #[test]
    fn a_way_down_must_have_taken_back_what_was_shown() {
        let way = Way::Down(Some(vec!["b".to_owned()]));
        let words = Words { way: &way, ..WORDS };
        let to = |after: &[&str]| judge(&with_code(0), &read(&["a", "b"]), &read(after), &words);
        assert_eq!(to(&["a"]), Outcome::Well { summary: "took back b".to_owned(), doubt: None });
        let Outcome::Well { doubt: Some(doubt), .. } = to(&[]) else { panic!() };
        assert_eq!(doubt, "not what was shown was taken back: a, b instead of b");
        let Outcome::Failed(failure) = to(&["a", "b"]) else { panic!() };
        assert!(failure.message.ends_with("nothing was taken back"), "{failure}");
    }

    #[test]
    fn a_failure_says_what_the_log_means_and_what_is_left() {
        let known = Some(("line".to_owned(), "the lock row is set".to_owned(), "kubectl dbmig repair TARGET".to_owned()));
        let ended = Ended { known, ..with_code(1) };
        let Outcome::Failed(failure) = judge(&ended, &read(&["a"]), &read(&["a"]), &WORDS) else { panic!() };
        assert_eq!(failure.facts, ["the lock row is set", "seen: line"]);
        assert_eq!(failure.next[0], "kubectl dbmig repair cronjob/m -n shop");
        assert!(failure.state.unwrap().starts_with("the database is where it was"));
        let Outcome::Failed(failure) = judge(&with_code(137), &read(&["a"]), &read(&["a", "b"]), &WORDS) else { panic!() };
        assert_eq!(failure.state.as_deref(), Some("before it failed: applied b"));
        let lost = Ended { why: "Evicted".into(), ..Ended::default() };
        let Outcome::Failed(failure) = judge(&lost, &read(&["a"]), &Seen::Unread("x".into()), &WORDS) else { panic!() };
        assert!(failure.message.ends_with("no exit code: Evicted"), "{failure}");
        assert!(failure.state.unwrap().contains("not known"));
    }

    #[test]
    fn a_database_has_stayed_only_where_its_books_can_be_compared() {
        assert_eq!(read(&["a"]).has_stayed(&read(&["a"])), Some(true));
        assert_eq!(read(&["a"]).has_stayed(&read(&["a", "b"])), Some(false));
        assert_eq!(read(&["a"]).has_stayed(&Seen::Unread(String::new())), None);
        assert_eq!(Seen::Read(vec![]).has_stayed(&Seen::Read(vec![])), None);
        assert_eq!(Seen::Read(vec![]).has_stayed(&read(&[])), Some(false));
    }
}
