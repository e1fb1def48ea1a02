//! The state of a database as one migration framework sees it: data only, put together by the framework's own file.

use std::fmt;

use serde::{Serialize, Serializer};

use super::finding::{Finding, HISTORY, Level, REPAIR};
use super::{Evidence, Framework, Table};

/// What a framework's bookkeeping says of a database.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The framework.
    pub framework: Framework,
    /// Its table.
    pub table: Table,
    /// Why nothing could be read of it: no right to, or a session that holds it; the rest is empty then.
    pub unreadable: Option<String>,
    /// Migrations written down as applied; may be more than `applied` lists.
    pub count: u64,
    /// The newest of them ([`super::MOST`] at the most), oldest first.
    pub applied: Vec<Applied>,
    /// Where the database is: one version for most; several where the framework knows branches.
    pub heads: Vec<String>,
    /// Migrations that began and did not end well, as far as the framework writes that down.
    pub failed: Vec<Failed>,
    /// Locks that are held against other migrations.
    pub locks: Vec<Lock>,
    /// Migrations that are there to be applied and are not; `None` until [`State::compare`] was given a list.
    pub pending: Option<Vec<Available>>,
    /// Applied migrations whose files are not what was applied, by their checksums; empty as long as no files are known.
    pub changed: Vec<String>,
    /// What else was noticed while reading.
    pub notes: Vec<Finding>,
}

/// A migration that is written down as applied.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// What tells it from others: `4`, `20260101120000`, `polls.0001_initial`, `20260101_users.js`.
    pub id: String,
    /// Its title, where the table has one beside the id.
    pub name: Option<String>,
    /// When, ISO 8601; without a `Z` where the table does not say in which zone.
    pub at: Option<String>,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Checksum of its file, as the framework writes it.
    pub checksum: Option<String>,
    /// The run that applied it, where the framework counts runs.
    pub batch: Option<i64>,
    /// What tells its row from others, where that is not the id.
    #[serde(skip)]
    pub(super) key: Option<String>,
}

/// A migration that can be applied, known from the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Available {
    /// As in [`Applied::id`].
    pub id: String,
    /// Its title, or the file's name.
    pub name: String,
    /// The file, as [`Script::path`] gave it.
    pub path: String,
    /// Ids of the migrations that it stands for: where all of those are applied, so is it.
    #[serde(skip)]
    pub replaces: Vec<String>,
}

/// A file that the caller found where migrations are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its path, with the folders that belong to its name: `polls/migrations/0001_initial.py`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// A migration that began and did not end well.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// As in [`Applied::id`].
    pub id: String,
    /// What the bookkeeping says happened, as a sentence without a full stop: `its end was never written down`.
    pub how: String,
    /// The error that the framework kept, where it keeps one.
    pub log: Option<String>,
    /// What it has done to the schema; unknown until [`super::weigh`] or the caller found out.
    pub effect: Effect,
    /// What comes before it; unknown until [`State::compare`] or the framework's own knowledge told.
    pub before: Before,
    /// What tells its row from others, where that is not the id.
    #[serde(skip)]
    pub(super) key: Option<String>,
}

impl Failed {
    /// Nothing is known of it but what the bookkeeping says.
    pub(super) fn new(id: impl Into<String>, how: impl Into<String>) -> Self {
        let (id, how) = (id.into(), how.into());
        Self { id, how, log: None, effect: Effect::Unknown, before: Before::Unknown, key: None }
    }
}

/// What a migration that did not end well has done to the schema. Each says why, as a sentence without a full stop.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "effect", content = "because")]
pub enum Effect {
    /// Nobody looked, or nothing tells.
    #[default]
    Unknown,
    /// Nothing of it is there.
    NotApplied(String),
    /// All of it is there.
    Applied(String),
    /// Part of it is there: somebody must finish or reverse it by hand.
    Partly(String),
}

/// The migration before another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "before", content = "id")]
pub enum Before {
    /// Not known.
    #[default]
    Unknown,
    /// It is the first.
    Nothing,
    /// This one.
    Migration(String),
}

/// A lock against other migrations.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    /// Where it is held.
    pub kind: LockKind,
    /// Who holds it, as far as the database tells.
    pub holder: Holder,
    /// Since when, ISO 8601: the lock's own time for a row; for a session, when its transaction or else it itself began.
    pub since: Option<String>,
    /// Whether the holder lives; unknown until the caller has looked for it.
    pub fate: Fate,
}

/// Where a lock is held.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum LockKind {
    /// A row in a table, which outlives whoever wrote it.
    Row {
        /// The table.
        table: Table,
        /// Rows that it has; one is right.
        rows: u64,
    },
    /// A session of the server, which takes its lock along when it ends.
    Session {
        /// The server's number for it: `pg_stat_activity.pid`, MySQL's connection id.
        id: i64,
        /// When the session began, as the server writes it: numbers are used again.
        began: Option<String>,
    },
}

/// Who holds a lock. Everything is as the database tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// The whole of what a lock's row says.
    pub text: Option<String>,
    /// Host name: in a pod, the pod's name.
    pub host: Option<String>,
    /// Address of the client, without a port.
    pub address: Option<String>,
    /// Role that logged in.
    pub user: Option<String>,
    /// What the client calls itself.
    pub application: Option<String>,
    /// What the session does: `active`, `idle in transaction`.
    pub doing: Option<String>,
}

/// Whether a lock's holder still lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "fate", content = "because")]
pub enum Fate {
    /// Nobody looked, or it can't be told; why, where that is known.
    Unknown(Option<String>),
    /// It lives, and here is how that is known.
    Alive(String),
    /// It is gone, and here is how that is known.
    Dead(String),
}

impl Default for Fate {
    fn default() -> Self {
        Self::Unknown(None)
    }
}

impl State {
    pub(super) fn new(framework: Framework, table: Table) -> Self {
        let (applied, heads, failed, locks, changed, notes) = Default::default();
        Self { framework, table, unreadable: None, count: 0, applied, heads, failed, locks, pending: None, changed, notes }
    }

    /// In words: `golang-migrate, version 4, dirty`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut words = vec![self.framework.to_string()];
        match self.heads.as_slice() {
            _ if self.unreadable.is_some() => words.push("its table can't be read".to_owned()),
            [] if self.count == 0 => words.push("no migration applied".to_owned()),
            [] => {}
            [one] => words.push(format!("version {one}")),
            several => words.push(format!("{} heads: {}", several.len(), several.join(", "))),
        }
        if self.count > 1 {
            words.push(format!("{} applied", self.count));
        }
        words.extend(self.failed.iter().map(|failed| match self.heads.as_slice() {
            [head] if *head == failed.id => "dirty".to_owned(),
            _ => format!("{} failed", failed.id),
        }));
        if !self.locks.is_empty() {
            words.push("locked".to_owned());
        }
        if !self.changed.is_empty() {
            words.push(format!("{} changed since", self.changed.len()));
        }
        if let Some(pending) = self.pending.as_ref().filter(|pending| !pending.is_empty()) {
            words.push(format!("{} pending", pending.len()));
        }
        words.join(", ")
    }

    /// Everything that a person should know of it, worst first.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.notes.clone();
        if let Some(why) = &self.unreadable {
            findings.push(Finding::new(Level::Broken, format!("{} can't be read: {why}", self.table)));
        }
        findings.extend(self.failed.iter().map(|failed| self.failure(failed)));
        findings.extend(self.locks.iter().map(|lock| self.held(lock)));
        if let Some(pending) = self.pending.as_ref().filter(|pending| !pending.is_empty()) {
            let names: Vec<&str> = pending.iter().take(5).map(|one| one.id.as_str()).collect();
            let more = if pending.len() > names.len() { ", …" } else { "" };
            let what = format!("{} migrations are not applied: {}{more}", pending.len(), names.join(", "));
            findings.push(Finding::new(Level::Note, what).next(HISTORY));
        }
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        findings
    }

    fn failure(&self, failed: &Failed) -> Finding {
        let what = format!("{}: migration {} did not end well: {}", self.framework, failed.id, failed.how);
        let seen = match &failed.effect {
            Effect::Unknown => failed.log.clone(),
            Effect::NotApplied(because) | Effect::Applied(because) | Effect::Partly(because) => Some(because.clone()),
        };
        let finding = Finding::new(Level::Broken, what).next(REPAIR);
        Finding { evidence: seen, ..finding }
    }

    /// The version at which the database is, for people.
    pub(super) fn at(&self) -> String {
        self.heads.last().cloned().unwrap_or_else(|| "none".to_owned())
    }

    fn held(&self, lock: &Lock) -> Finding {
        if let LockKind::Row { table, rows: rows @ 2.. } = &lock.kind {
            let what = format!("{}: {table} has {rows} rows where one belongs, so no migration runs", self.framework);
            return Finding::new(Level::Broken, what).next(REPAIR);
        }
        let since = lock.since.as_ref().map_or_else(String::new, |since| format!(" since {since}"));
        let what = format!("{}: {} holds the migration lock{since}", self.framework, lock.holder_in_words());
        let (level, evidence) = match &lock.fate {
            Fate::Alive(because) => (Level::Attention, Some(because.clone())),
            Fate::Dead(because) => (Level::Broken, Some(because.clone())),
            Fate::Unknown(because) => (Level::Broken, because.clone()),
        };
        Finding { evidence, ..Finding::new(level, what).next(REPAIR) }
    }

    /// Whether some of these files may be its migrations: one of them is written down, or nothing is yet.
    #[must_use]
    pub fn is_known_by(&self, evidence: &Evidence) -> bool {
        let Some(available) = evidence.available_for(self) else { return evidence.graph.is_some() };
        let failed = self.failed.iter().map(|failed| &failed.id);
        let mut written = self.applied.iter().map(|applied| &applied.id).chain(failed).peekable();
        let nothing_yet = written.peek().is_none() && self.count == 0;
        // A revision that none of the files has is what is wrong, and not that they are another's.
        nothing_yet || evidence.graph.is_some() || written.any(|id| available.iter().any(|one| one.id == *id))
    }

    /// Takes in which migrations there are: what is pending, what comes before a failed one, what is
    /// applied and not there, whose file is not what was applied. Where more migrations are applied than were read, those that sort before the oldest that was
    /// read count as applied. Once for a state.
    pub fn compare(&mut self, evidence: &Evidence) {
        match (&evidence.graph, evidence.available_for(self)) {
            (Some(graph), _) => super::alembic::compare(self, graph),
            (None, Some(available)) => super::compare::compare(self, &available),
            (None, None) => {}
        }
        super::checksum::compare(self, &evidence.sums);
    }
}

impl Lock {
    /// `pod keeper-0 (10.1.2.3)`, `session 4711 of app from 10.1.2.3, idle in transaction`, or that nobody wrote it down.
    #[must_use]
    pub fn holder_in_words(&self) -> String {
        let holder = &self.holder;
        let who = match (&self.kind, &holder.host) {
            (LockKind::Session { id, .. }, _) => format!("session {id}"),
            (LockKind::Row { .. }, Some(host)) => host.clone(),
            (LockKind::Row { .. }, None) => "somebody (the row does not say who)".to_owned(),
        };
        let user = holder.user.as_ref().map(|user| format!(" of {user}"));
        let application = holder.application.as_ref().map(|name| format!(" ({name})"));
        let address = holder.address.as_ref().map(|address| format!(" from {address}"));
        let doing = holder.doing.as_ref().map(|doing| format!(", {doing}"));
        [Some(who), user, application, address, doing].into_iter().flatten().collect()
    }
}

impl fmt::Display for Framework {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Framework {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
