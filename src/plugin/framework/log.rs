//! What the lines that frameworks and databases print when a migration fails mean, and what to type next.

use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::Framework;
use super::Framework::{
    Alembic, Atlas, Django, Ecto, EfCore, Flyway, GolangMigrate, Goose, Knex, Liquibase, Prisma, Rails, Sqlx, TypeOrm,
};
use super::finding::{HISTORY as HISTORY_OF, REPAIR as REPAIR_OF};

/// What a line means.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Meaning {
    /// The framework that says so; `None` for what a database says to any.
    pub framework: Option<Framework>,
    /// A sentence without a full stop.
    pub means: String,
    /// The next command; the word `TARGET` stands for what the user named.
    pub next: &'static str,
    /// The bookkeeping table shows it too: once that is well, the line tells of what was.
    #[serde(skip)]
    pub in_books: bool,
}

/// A line that is known: who prints it, what it looks like, what it means (`{1}` stands for its first group), what to type.
type Known = (Option<Framework>, &'static str, &'static str, Next);

/// What to type.
#[derive(Clone, Copy)]
enum Next {
    /// Look closer.
    Doctor,
    /// Compare with what is applied.
    History,
    /// Make room.
    Vacuum,
    /// Set right what the bookkeeping table says.
    Repair,
    /// The same, where only the code shows that it is needed.
    RepairByCode,
}

impl Next {
    fn command(self) -> &'static str {
        match self {
            Self::Doctor => "kubectl dbmig doctor TARGET",
            Self::History => HISTORY_OF,
            Self::Vacuum => "kubectl dbmig vacuum TARGET",
            Self::Repair | Self::RepairByCode => REPAIR_OF,
        }
    }
}

const DOCTOR: Next = Next::Doctor;
const REPAIR: Next = Next::Repair;
const HISTORY: Next = Next::History;
const VACUUM: Next = Next::Vacuum;

/// What is more telling stands first. Patterns don't begin at the line's start: logs are wrapped, coloured, or JSON.
const KNOWN: &[Known] = &[
    (
        Some(GolangMigrate),
        r"Dirty database version (-?[0-9]+)\. Fix and force version",
        "migration {1} began and its end was never written down; nothing runs until the version is set right",
        REPAIR,
    ),
    (
        Some(GolangMigrate),
        r"no migration found for version ([0-9]+)",
        "the database is at version {1}, which this image does not have",
        HISTORY,
    ),
    (
        Some(GolangMigrate),
        r"can't acquire database lock",
        "another migration holds the lock, or its session was left behind",
        DOCTOR,
    ),
    (
        Some(Alembic),
        r"Requested revision ([^ ]+) overlaps with other requested revisions ([^\n]+)",
        "alembic_version has both {1} and {2}, and one comes before the other",
        REPAIR,
    ),
    (
        Some(Alembic),
        r#"Can't locate revision identified by \\?['"]([^'"\\]+)"#,
        "this image has no revision {1}: the database is at it, or it was asked for",
        HISTORY,
    ),
    (
        Some(Alembic),
        r"Multiple head revisions are present",
        "two revisions follow the same one in the code: they must be merged, or upgraded as `heads`",
        Next::RepairByCode,
    ),
    (
        Some(Alembic),
        r"Online migration expected to match one row when updating",
        "another upgrade ran at the same time, or the version table has a row twice",
        REPAIR,
    ),
    (
        Some(Knex),
        r"Migration table is already locked|MigrationLocked",
        "the lock row is set: by a migration that runs, or by one that was killed",
        REPAIR,
    ),
    (
        Some(Knex),
        r"migration directory is corrupt, the following files are missing: ([^\n]+)",
        "the database has migrations that this image does not have: {1}",
        Next::RepairByCode,
    ),
    (
        Some(Liquibase),
        r"Could not acquire change log lock\.[ ]+Currently locked by (.+?) since",
        "{1} holds Liquibase's lock, or died with it",
        REPAIR,
    ),
    (Some(Liquibase), r"Waiting for changelog lock", "Liquibase waits for its lock, up to five minutes", REPAIR),
    (Some(Liquibase), r"changesets? check sum", "a changeset was edited after it ran", HISTORY),
    (
        Some(Flyway),
        r"Detected failed migration to version ([^ ]+)",
        "migration {1} failed half-way on a database that can't take it back",
        REPAIR,
    ),
    (Some(Flyway), r"Detected failed repeatable migration: ([^\n]+)", "the repeatable migration {1} failed half-way", REPAIR),
    (
        Some(Flyway),
        r"Migration checksum mismatch for migration version ([^ ]+)",
        "the file of {1} was edited after it ran",
        HISTORY,
    ),
    (
        Some(Flyway),
        r"Detected applied migration not resolved locally: ([^ ]+)",
        "{1} is applied, and this image does not have it",
        HISTORY,
    ),
    (
        Some(Flyway),
        r"Detected resolved migration not applied to database: ([^ ]+)",
        "{1} comes before one that is applied: a branch that was merged late",
        HISTORY,
    ),
    (
        Some(Flyway),
        r"Found non-empty schema.*but no schema history table",
        "the schema has tables and no history: it was made by something else",
        DOCTOR,
    ),
    (
        Some(Flyway),
        r"Number of retries exceeded while attempting to acquire PostgreSQL advisory lock",
        "another Flyway holds the lock, or its session was left behind",
        DOCTOR,
    ),
    (
        Some(Prisma),
        r"pg_advisory_lock\(72707369\)|P1002",
        "another Prisma holds the lock, its session was left behind, or a pooler is in between",
        DOCTOR,
    ),
    (
        Some(Prisma),
        r"P3009|migrate found failed migrations",
        "a migration failed before, and stays in the way until somebody says how it ended",
        REPAIR,
    ),
    (Some(Prisma), r"P3018", "a migration failed just now; the next try will meet P3009", REPAIR),
    (Some(Prisma), r"P3005", "the schema has tables and no history: it was made by something else", DOCTOR),
    (Some(Prisma), r"P3015", "a migration's file is missing in this image", HISTORY),
    (
        Some(Rails),
        r"ConcurrentMigrationError|another migration process is currently running",
        "another migration holds Rails' lock, or its session was left behind",
        DOCTOR,
    ),
    (
        Some(Rails),
        r"An error has occurred, all later migrations canceled",
        "a migration failed, and without a transaction: part of it may be there",
        HISTORY,
    ),
    (Some(Rails), r"this and all later migrations canceled", "a migration failed and was rolled back", HISTORY),
    (Some(Rails), r"PendingMigrationError", "the application is newer than the database: migrations are pending", HISTORY),
    (Some(Django), r"InconsistentMigrationHistory", "a migration is applied before one that it needs", HISTORY),
    (
        Some(Django),
        r"multiple leaf nodes in the migration graph: \(([^)]+)\)",
        "two migrations follow the same one in the code: {1}",
        HISTORY,
    ),
    (
        Some(Django),
        r"django_migrations.*duplicate key|duplicate key.*django_migrations",
        "two pods migrated at the same time",
        HISTORY,
    ),
    (
        Some(Goose),
        r"found ([0-9]+) missing.*migrations|detected ([0-9]+) missing \(out-of-order\)",
        "migrations are not applied that come before one that is",
        HISTORY,
    ),
    (
        Some(Goose),
        r"ERROR ([^ ]+): failed to run SQL migration",
        "{1} failed; marked NO TRANSACTION, part of it may be there",
        HISTORY,
    ),
    (Some(Sqlx), r"migration ([0-9]+) is partially applied", "migration {1} began and its end was never written down", REPAIR),
    (
        Some(Sqlx),
        r"migration ([0-9]+) was previously applied but has been modified",
        "the file of {1} was edited after it ran",
        HISTORY,
    ),
    (
        Some(Sqlx),
        r"migration ([0-9]+) was previously applied but is missing",
        "{1} is applied, and this image does not have it",
        HISTORY,
    ),
    (Some(EfCore), r"__EFMigrationsLock", "the lock row is set: by a migration that runs, or by one that was killed", REPAIR),
    (Some(EfCore), r"PendingModelChangesWarning", "the code has changes that no migration has", HISTORY),
    (Some(Ecto), r"failed to obtain advisory lock", "another migration holds Ecto's lock", DOCTOR),
    (Some(Ecto), r"migration version ([0-9]+) is duplicated", "two files have the number {1}", HISTORY),
    (Some(TypeOrm), r#"Migration "([^"]+)" failed"#, "{1} failed", HISTORY),
    (
        Some(Atlas),
        r"sql/migrate: checksum mismatch|checksum file not found",
        "atlas.sum does not fit the files of this image",
        HISTORY,
    ),
    (None, r"database or disk is full|SQLITE_FULL|No space left on device|could not extend file", "the volume is full", VACUUM),
    (
        None,
        r"database disk image is malformed|SQLITE_CORRUPT",
        "the SQLite file is damaged: copy it away before anything else",
        DOCTOR,
    ),
    (
        None,
        r"attempt to write a readonly database|cannot execute [A-Z ]+ in a read-only transaction",
        "the database can't be written here: a replica, or a volume mounted read-only",
        DOCTOR,
    ),
    (None, r"database is locked|SQLITE_BUSY", "another process is writing to the SQLite file", DOCTOR),
    (
        None,
        r"canceling statement due to lock timeout|Lock wait timeout exceeded",
        "a session holds a lock that the migration waited for",
        DOCTOR,
    ),
    (
        None,
        r"deadlock detected|Deadlock found when trying to get lock",
        "two sessions waited for each other; the migration lost",
        DOCTOR,
    ),
    (
        None,
        r"canceling statement due to statement timeout|maximum statement execution time exceeded",
        "a statement took longer than it may",
        DOCTOR,
    ),
    (None, r"password authentication failed|Access denied for user", "the database does not take the password", DOCTOR),
    (
        None,
        r"remaining connection slots are reserved|too many connections|Too many connections",
        "the database has no connection left",
        DOCTOR,
    ),
    (
        None,
        r"could not translate host name|Name or service not known|no such host|getaddrinfo (ENOTFOUND|EAI_AGAIN)|nodename nor servname",
        "the database's name can't be resolved from the pod",
        DOCTOR,
    ),
    (None, r"[Cc]onnection refused|ECONNREFUSED", "nobody listens at the database's address", DOCTOR),
    (None, r"permission denied for|must be owner of", "the role lacks a right that the migration needs", DOCTOR),
    (
        None,
        r#"(relation|table|column|type|index) [`"']?([^ `"']+)[`"']?.* already exists|[Dd]uplicate column name"#,
        "it is there already: part of a migration ran before and was not written down, or the schema was made by something else",
        HISTORY,
    ),
];

static SET: LazyLock<RegexSet> =
    LazyLock::new(|| RegexSet::new(KNOWN.iter().map(|known| known.1)).expect("a test compiles every pattern"));

/// What a line of a log means, if it is one that is known. Colours don't matter.
#[must_use]
pub fn explain(line: &str) -> Option<Meaning> {
    let plain = without_colours(line);
    let (framework, pattern, means, next) = KNOWN[SET.matches(&plain).iter().next()?];
    let groups = Regex::new(pattern).ok()?.captures(&plain)?;
    let group = |at: usize| groups.get(at).map_or("", |group| group.as_str().trim());
    let means = means.replace("{1}", group(1)).replace("{2}", group(2));
    Some(Meaning { framework, means, next: next.command(), in_books: matches!(next, Next::Repair) })
}

/// Without the sequences that colour a terminal.
fn without_colours(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |at| at + 1);
        plain.push_str(&part[end..]);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn told(line: &str) -> (Option<Framework>, String) {
        let meaning = explain(line).unwrap_or_else(|| panic!("not known: {line}"));
        (meaning.framework, meaning.means)
    }

    #[test]
    fn every_pattern_compiles_and_no_ordinary_line_means_anything() {
        for line in [
            "",
            "Applied: 20260101_users.sql in 3ms",
            "Already up to date",
            "INFO [alembic.runtime.migration] Running upgrade a -> b, users",
        ] {
            assert_eq!(explain(line), None, "{line}");
        }
    }

    #[test]
    fn wrapped_coloured_and_json_lines_are_understood() {
        let line = r#"{"level":"fatal","msg":"cannot migrate database: cannot migrate: Dirty database version 4. Fix and force version."}"#;
        let (framework, means) = told(line);
        assert_eq!(framework, Some(GolangMigrate));
        assert!(means.starts_with("migration 4 began"), "{means}");
        let (_, means) = told("\u{1b}[31mCan't take lock to run migrations: Migration\u{1b}[0m table is already locked");
        assert!(means.contains("lock row"), "{means}");
        let (_, means) = told("FAILED: Requested revision 1ba709663f26 overlaps with other requested revisions 0c0c70d73d4b");
        assert!(means.contains("1ba709663f26 and 0c0c70d73d4b"), "{means}");
        let (_, means) =
            told("Could not acquire change log lock.  Currently locked by keeper-0 (10.0.0.7) since 11/21/26, 4:00 PM");
        assert!(means.starts_with("keeper-0 (10.0.0.7) holds"), "{means}");
    }

    #[test]
    fn what_only_the_code_shows_is_not_in_the_books() {
        let in_books = |line: &str| explain(line).unwrap().in_books;
        assert!(in_books("Dirty database version 4. Fix and force version.") && in_books("MigrationLocked"));
        assert!(!in_books("Multiple head revisions are present for given argument 'head'"));
        assert!(!in_books("Connection refused"));
    }

    #[test]
    fn what_a_framework_says_goes_before_what_the_database_says() {
        assert_eq!(told("Error: P3018 ... relation \"users\" already exists").0, Some(Prisma));
        assert_eq!(told("ERROR:  relation \"users\" already exists").0, None);
        assert_eq!(told("Error: SQLITE_FULL: database or disk is full").1, "the volume is full");
    }
}
