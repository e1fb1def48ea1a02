//! Whether a database can be moved by logical replication: what is missing, what will be lost on the way, and the remedy.

use serde::Deserialize;

use super::content::tables;
use super::json;
use super::room::Rooms;
use super::sessions::writers;
use crate::database::{Database, Dialect};
use crate::failure::Result;
use crate::framework::{Finding, Level};

/// A database that is larger leaves the source with much to keep while it is copied, in bytes.
const LARGE: u64 = 50 << 30;

/// As a server describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Server {
    version: i64,
    wal_level: String,
    may_replicate: bool,
    superuser: bool,
    slots: i64,
    used_slots: i64,
    senders: i64,
    used_senders: i64,
    /// Bytes that a slot may keep; below 0: as much as the disk holds. `None` before PostgreSQL 13.
    slot_limit: Option<i64>,
    /// Replication origins that it can follow.
    origins: i64,
    encoding: String,
    bytes: u64,
    extensions: Vec<String>,
    available: Vec<String>,
    large_objects: u64,
    unlogged: Vec<String>,
    slot_taken: bool,
    origin_taken: bool,
    recovering: bool,
}

fn description(slot: &str) -> String {
    let name = Dialect::Postgres.text(slot);
    let setting = |name: &str| format!("current_setting('{name}')");
    let number = |name: &str| format!("current_setting('{name}')::int8");
    format!(
        "SELECT json_build_object('version', {}, 'wal_level', {}, 'may_replicate', rolreplication OR rolsuper, 'superuser', rolsuper, \
         'slots', {}, 'used_slots', (SELECT count(*) FROM pg_replication_slots), \
         'senders', {}, 'used_senders', (SELECT count(*) FROM pg_stat_replication), \
         'slot_limit', (SELECT setting::int8 * 1048576 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), \
         'origins', coalesce(current_setting('max_active_replication_origins', true), {})::int8, \
         'encoding', pg_encoding_to_char(d.encoding), 'bytes', pg_database_size(d.oid), \
         'extensions', (SELECT coalesce(json_agg(extname), '[]') FROM pg_extension WHERE extname <> 'plpgsql'), \
         'available', (SELECT coalesce(json_agg(name), '[]') FROM pg_available_extensions), \
         'large_objects', (SELECT count(*) FROM pg_largeobject_metadata), \
         'unlogged', (SELECT coalesce(json_agg(c.oid::regclass::text), '[]') FROM pg_class c WHERE relkind = 'r' AND relpersistence = 'u'), \
         'slot_taken', EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = {name}), \
         'origin_taken', EXISTS (SELECT FROM pg_replication_origin WHERE roname = {name}), \
         'recovering', pg_is_in_recovery()) \
         FROM pg_database d, pg_roles WHERE datname = current_database() AND rolname = current_user",
        number("server_version_num"),
        setting("wal_level"),
        number("max_replication_slots"),
        number("max_wal_senders"),
        setting("max_replication_slots"),
    )
}

/// What is found about moving one database to another server by a slot and an origin of this name, with so much room, worst first. A finding at level
/// `Broken` makes it impossible; one at `Attention` loses something unless it is seen to.
///
/// # Errors
/// As [`Database::query`].
pub async fn ready(source: &dyn Database, target: &dyn Database, slot: &str, rooms: &Rooms) -> Result<Vec<Finding>> {
    let sql = description(slot);
    let (from, to) = futures::try_join!(source.query(&sql), target.query(&sql))?;
    let (from, to): (Server, Server) = (json(&from, "itself")?, json(&to, "itself")?);
    let mut findings = impossible(&from, &to, slot);
    let (here, there) = futures::try_join!(tables(source), tables(target))?;
    if !there.is_empty() {
        let some: Vec<&str> = there.iter().take(3).map(|table| table.name.as_str()).collect();
        findings.push(
            Finding::new(Level::Broken, "the target is not empty: what it holds would be mixed with what is copied")
                .evidence(format!("{} tables: {}", there.len(), some.join(", ")))
                .next("name a database without tables, or drop what is left of an earlier try"),
        );
    }
    let open = writers(source).await?;
    findings.extend(open.iter().filter(|writer| writer.prepared.is_some()).map(|writer| {
        Finding::new(Level::Broken, "a prepared transaction would keep the copy from beginning").evidence(writer.in_words())
    }));
    let unidentified: Vec<&str> =
        here.iter().filter(|table| table.logged && !table.identified).map(|table| table.name.as_str()).collect();
    if let Some(first) = unidentified.first() {
        findings.push(
            Finding::new(
                Level::Attention,
                "updates and deletes in tables without a replica identity are lost on the way, or end all following",
            )
            .evidence(unidentified.join(", "))
            .next(format!("ALTER TABLE {first} REPLICA IDENTITY FULL   -- on the source; or give it a primary key")),
        );
    }
    findings.extend(lost(&from));
    findings.extend(rooms.findings(from.bytes, from.slot_limit.and_then(|limit| u64::try_from(limit).ok())));
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    Ok(findings)
}

fn impossible(from: &Server, to: &Server, slot: &str) -> Vec<Finding> {
    let broken = |what: &str| Finding::new(Level::Broken, what);
    let mut found = Vec::new();
    if from.recovering || to.recovering {
        let which = if from.recovering { "source" } else { "target" };
        found.push(
            broken("a replica can be neither source nor target").evidence(format!("the {which} is one")).next("name the primary"),
        );
    }
    if from.wal_level != "logical" {
        found.push(
            broken("the source does not write down what logical replication needs")
                .evidence(format!("wal_level = {}", from.wal_level))
                .next("ALTER SYSTEM SET wal_level = logical   -- on the source, then restart it"),
        );
    }
    for (side, server) in [("source", from), ("target", to)] {
        if !server.may_replicate {
            found.push(
                broken(&format!("the {side}'s user may not replicate"))
                    .evidence("it has neither REPLICATION nor SUPERUSER")
                    .next(format!("ALTER ROLE … REPLICATION   -- on the {side}, as its master; for the time of the move")),
            );
        }
    }
    if from.may_replicate && !to.superuser {
        found.push(
            Finding::new(Level::Attention, "the target's user is no superuser: it has to be allowed to use replication origins")
                .next("GRANT EXECUTE ON FUNCTION pg_replication_origin_create(text), pg_replication_origin_session_setup(text), … TO …   -- on the target"),
        );
    }
    if from.slots <= from.used_slots || from.senders <= from.used_senders {
        found.push(
            broken("the source has no replication slot or sender left")
                .evidence(format!("{} of {} slots, {} of {} senders", from.used_slots, from.slots, from.used_senders, from.senders))
                .next("raise max_replication_slots and max_wal_senders on the source and restart it, or drop a slot that nobody uses"),
        );
    }
    if to.origins < 1 {
        found.push(broken("the target can follow no origin").next("raise max_replication_slots on the target and restart it"));
    }
    if from.slot_taken {
        found.push(
            broken(&format!("the source has a replication slot {slot} already: of another copy, or left over from one"))
                .next(format!("SELECT pg_drop_replication_slot('{slot}')   -- on the source, when nobody uses it")),
        );
    }
    if to.origin_taken {
        found.push(
            broken(&format!("the target has a replication origin {slot} already"))
                .next(format!("SELECT pg_replication_origin_drop('{slot}')   -- on the target, when nobody uses it")),
        );
    }
    if to.version / 10_000 < from.version / 10_000 {
        found.push(
            broken("the target is older than the source")
                .evidence(format!("PostgreSQL {} and {}", to.version / 10_000, from.version / 10_000))
                .next("name a server of the same or a newer version"),
        );
    }
    if to.encoding != from.encoding {
        found.push(broken("the encodings differ").evidence(format!("{} and {}", from.encoding, to.encoding)));
    }
    let missing: Vec<&str> = from.extensions.iter().filter(|name| !to.available.contains(name)).map(String::as_str).collect();
    if !missing.is_empty() {
        found.push(
            broken("the target does not have extensions that the source uses")
                .evidence(missing.join(", "))
                .next("install their packages on the target's server"),
        );
    }
    found
}

/// What does not come along, or may fill a disk.
fn lost(from: &Server) -> Vec<Finding> {
    let note = |what: &str| Finding::new(Level::Note, what);
    let mut found = Vec::new();
    if from.large_objects > 0 {
        found.push(
            Finding::new(Level::Attention, "large objects that are made or changed from now on are not carried over")
                .evidence(format!("{} large objects", from.large_objects))
                .next("do not change large objects until the move is finished: it compares their number"),
        );
    }
    if !from.unlogged.is_empty() {
        found.push(note("unlogged tables are copied once and not followed").evidence(from.unlogged.join(", ")));
    }
    match from.slot_limit {
        Some(limit) if limit >= 0 => found.push(
            note("the source throws away what the copy still needs when it is further behind than its limit")
                .evidence(format!("max_slot_wal_keep_size = {} MiB", limit >> 20)),
        ),
        _ if from.bytes > LARGE => found.push(
            Finding::new(
                Level::Attention,
                "the source keeps everything that is written while it is copied, until its disk is full",
            )
            .evidence(format!("max_slot_wal_keep_size is not set; the database has {} GiB", from.bytes >> 30))
            .next("watch its disk, or set max_slot_wal_keep_size"),
        ),
        _ => {}
    }
    found.push(note("changes of the schema, materialized views and sequences are not followed: change no schema until the end"));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server {
            version: 150_008,
            wal_level: "logical".to_owned(),
            may_replicate: true,
            superuser: true,
            slots: 10,
            used_slots: 0,
            senders: 10,
            used_senders: 0,
            slot_limit: Some(-1),
            origins: 10,
            encoding: "UTF8".to_owned(),
            bytes: 1 << 20,
            extensions: vec!["hstore".to_owned()],
            available: vec!["hstore".to_owned()],
            large_objects: 0,
            unlogged: Vec::new(),
            slot_taken: false,
            origin_taken: false,
            recovering: false,
        }
    }

    #[test]
    fn each_thing_that_is_missing_is_named_with_its_remedy() {
        let fine = server();
        assert_eq!(impossible(&fine, &fine, "pgcopydb"), Vec::new());
        let cases: [(Server, Server, &str); 8] = [
            (Server { wal_level: "replica".to_owned(), ..server() }, server(), "wal_level"),
            (Server { may_replicate: false, ..server() }, server(), "may not replicate"),
            (Server { used_slots: 10, ..server() }, server(), "no replication slot"),
            (Server { slot_taken: true, ..server() }, server(), "pg_drop_replication_slot('pgcopydb')"),
            (server(), Server { origin_taken: true, ..server() }, "replication origin"),
            (server(), Server { version: 140_000, ..server() }, "older"),
            (server(), Server { available: Vec::new(), ..server() }, "hstore"),
            (server(), Server { recovering: true, ..server() }, "replica"),
        ];
        for (from, to, word) in cases {
            let found = impossible(&from, &to, "pgcopydb");
            assert_eq!(found.len(), 1, "{word}");
            let text = format!("{:?}", found[0]);
            assert!(text.contains(word) && found[0].level == Level::Broken, "{text}");
        }
    }
}
