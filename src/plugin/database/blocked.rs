//! Statements that change tables and wait for a lock, and the sessions that they wait for. Reads only.

use serde_json::Value;

use super::{Database, Dialect};
use crate::failure::Result;

/// Pairs of a session that waits and one that it waits for.
const MOST: usize = 100;
/// Of a statement, in characters: enough to know it by.
const MOST_SHOWN: usize = 120;

/// A session of a server, as far as the role that asks may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The server's number for it.
    pub id: i64,
    /// Role that logged in.
    pub user: Option<String>,
    /// Address of the client, without a port.
    pub address: Option<String>,
    /// What it does: `active`, `idle in transaction`, `Sleep`.
    pub doing: Option<String>,
    /// When its transaction, or else its statement, began; ISO 8601.
    pub since: Option<String>,
    /// Its present statement, or its last; cut off before anything that may be a secret.
    pub statement: Option<String>,
}

/// A statement that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// Who waits.
    pub waiter: Party,
    /// The table that it waits for, where that is known.
    pub table: Option<String>,
    /// Whom it waits for; empty where that can't be seen.
    pub by: Vec<Party>,
    /// The server says that it waits for these; else they are the sessions that may be in the way, the oldest first.
    pub is_certain: bool,
    /// Other sessions that wait for the same table.
    pub others: u64,
}

/// The statements that wait for a lock which a change of a table needs.
///
/// # Errors
/// When the database can't be asked.
pub async fn find(database: &dyn Database) -> Result<Vec<Blocked>> {
    match database.dialect() {
        Dialect::Sqlite => Ok(Vec::new()),
        Dialect::Postgres => Ok(grouped(database.query(&postgres()).await?, true)),
        Dialect::Mysql | Dialect::MariaDb => mysql(database).await,
    }
}

/// `pg_locks` is for everybody; what other roles' sessions do is told to members of `pg_read_all_stats` only. Whoever waits for a
/// lock on a table that readers do not need changes the table; who waits for another's snapshot builds an index beside the writers.
fn postgres() -> String {
    let party = |alias: &str, id: &str| {
        format!(
            "{id}, {alias}.usename, host({alias}.client_addr), {alias}.state, \
             to_char(coalesce({alias}.xact_start, {alias}.query_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), \
             left({alias}.query, 1000)"
        )
    };
    format!(
        "SELECT {}, l.relation::regclass::text, \
         (SELECT count(DISTINCT o.pid) FROM pg_catalog.pg_locks AS o WHERE NOT o.granted AND o.relation = l.relation AND o.pid <> l.pid), {} \
         FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS w ON w.pid = l.pid \
         LEFT JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(l.pid)) AS blocking(pid) ON NOT EXISTS \
         (SELECT 1 FROM pg_catalog.pg_locks AS q WHERE q.pid = blocking.pid AND NOT q.granted) \
         LEFT JOIN pg_catalog.pg_stat_activity AS b ON b.pid = blocking.pid \
         WHERE NOT l.granted AND coalesce(w.datname = current_database(), true) \
         AND (l.database IS NULL OR l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())) \
         AND (l.locktype = 'virtualxid' OR (l.locktype = 'relation' AND l.mode IN \
         ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))) \
         ORDER BY l.pid LIMIT {MOST}",
        party("w", "l.pid"),
        party("b", "blocking.pid"),
    )
}

/// A session of MySQL, as [`party`] reads it. The list of processes shows sessions of other users to whom has PROCESS only.
fn of_process(alias: &str, id: &str) -> String {
    format!(
        "{id}, {alias}.USER, LEFT({alias}.HOST, LENGTH({alias}.HOST) - LENGTH(SUBSTRING_INDEX({alias}.HOST, ':', -1)) - 1), {alias}.COMMAND, \
         DATE_FORMAT(UTC_TIMESTAMP() - INTERVAL {alias}.TIME SECOND, '%Y-%m-%dT%H:%i:%sZ'), LEFT({alias}.INFO, 1000)"
    )
}

/// What waits is in the list of processes; what it waits for is known for certain only where the server was told to keep count of
/// metadata locks (MySQL 8 does by itself, MariaDB does not). Else each open transaction may be it.
async fn mysql(database: &dyn Database) -> Result<Vec<Blocked>> {
    let (waiter, holder) = (of_process("w", "w.ID"), of_process("b", "b.ID"));
    let waits = "w.STATE = 'Waiting for table metadata lock' AND w.DB = DATABASE()";
    let counted = format!(
        "SELECT DISTINCT {waiter}, p.OBJECT_NAME, (SELECT COUNT(*) FROM performance_schema.metadata_locks AS o \
         WHERE o.OBJECT_TYPE = 'TABLE' AND o.OBJECT_SCHEMA = p.OBJECT_SCHEMA AND o.OBJECT_NAME = p.OBJECT_NAME \
         AND o.LOCK_STATUS = 'PENDING' AND o.OWNER_THREAD_ID <> p.OWNER_THREAD_ID), {holder} \
         FROM performance_schema.metadata_locks AS p \
         JOIN performance_schema.threads AS wt ON wt.THREAD_ID = p.OWNER_THREAD_ID \
         JOIN information_schema.PROCESSLIST AS w ON w.ID = wt.PROCESSLIST_ID \
         JOIN performance_schema.metadata_locks AS g ON g.OBJECT_TYPE = 'TABLE' AND g.OBJECT_SCHEMA = p.OBJECT_SCHEMA \
         AND g.OBJECT_NAME = p.OBJECT_NAME AND g.LOCK_STATUS = 'GRANTED' AND g.OWNER_THREAD_ID <> p.OWNER_THREAD_ID \
         JOIN performance_schema.threads AS bt ON bt.THREAD_ID = g.OWNER_THREAD_ID \
         JOIN information_schema.PROCESSLIST AS b ON b.ID = bt.PROCESSLIST_ID \
         WHERE p.OBJECT_TYPE = 'TABLE' AND p.LOCK_STATUS = 'PENDING' AND p.LOCK_TYPE NOT IN ('SHARED_READ', 'SHARED_WRITE') \
         AND {waits} ORDER BY w.ID LIMIT {MOST}"
    );
    // Who has no right to ask for it, or whose server has no such table, is told of it in the other way.
    let certain = database.query(&counted).await.unwrap_or_default();
    if !certain.is_empty() {
        return Ok(grouped(certain, true));
    }
    // Who may not see transactions sees who waits all the same.
    let suspects = format!(
        "SELECT {waiter}, NULL, 0, {holder} FROM information_schema.PROCESSLIST AS w \
         LEFT JOIN information_schema.INNODB_TRX AS t ON t.trx_mysql_thread_id NOT IN \
         (SELECT q.ID FROM information_schema.PROCESSLIST AS q WHERE q.STATE = 'Waiting for table metadata lock' OR q.ID = CONNECTION_ID()) \
         LEFT JOIN information_schema.PROCESSLIST AS b ON b.ID = t.trx_mysql_thread_id \
         WHERE {waits} AND {ALTERS} ORDER BY w.ID, t.trx_started LIMIT {MOST}"
    );
    let alone = format!(
        "SELECT {waiter}, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL FROM information_schema.PROCESSLIST AS w \
         WHERE {waits} AND {ALTERS} ORDER BY w.ID LIMIT {MOST}"
    );
    match database.query(&suspects).await {
        Ok(rows) => Ok(grouped(rows, false)),
        Err(_) => Ok(grouped(database.query(&alone).await?, false)),
    }
}

/// Statements that queue up behind such a one wait for the same lock, and are none.
const ALTERS: &str =
    "w.INFO NOT LIKE 'SELECT%' AND w.INFO NOT LIKE 'INSERT%' AND w.INFO NOT LIKE 'UPDATE%' AND w.INFO NOT LIKE 'DELETE%'";

/// Rows of a waiter, a table, a number of others, and one that it waits for; a waiter has several.
fn grouped(rows: Vec<Vec<Value>>, is_certain: bool) -> Vec<Blocked> {
    let mut found: Vec<Blocked> = Vec::new();
    for row in rows {
        let Some((waiter, rest)) = row.split_at_checked(6) else { continue };
        let Some(waiter) = party(waiter) else { continue };
        let holder = rest.get(2..).and_then(party);
        match found.iter_mut().find(|known| known.waiter.id == waiter.id) {
            Some(known) => known.by.extend(holder.filter(|one| known.by.iter().all(|other| other.id != one.id))),
            None => found.push(Blocked {
                waiter,
                table: rest.first().and_then(text),
                by: holder.into_iter().collect(),
                is_certain,
                others: rest.get(1).and_then(Value::as_u64).unwrap_or_default(),
            }),
        }
    }
    found
}

fn party(row: &[Value]) -> Option<Party> {
    let [id, user, address, doing, since, statement] = row else { return None };
    let statement = text(statement).map(|statement| known_by(&statement));
    Some(Party { id: id.as_i64()?, user: text(user), address: text(address), doing: text(doing), since: text(since), statement })
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The beginning of a statement on one line, up to where values may begin: those are nobody's business.
fn known_by(statement: &str) -> String {
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = line.find(['\'', '$', '=', '(']).unwrap_or(line.len());
    let shown: String = line[..end].chars().take(MOST_SHOWN).collect();
    if shown.len() < line.len() { format!("{} …", shown.trim_end()) } else { shown }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_statement_is_shown_without_its_values() {
        assert_eq!(known_by("ALTER TABLE orders\n  ADD COLUMN paid boolean"), "ALTER TABLE orders ADD COLUMN paid boolean");
        assert_eq!(known_by("ALTER ROLE app PASSWORD 'hunter2'"), "ALTER ROLE app PASSWORD …");
        assert_eq!(known_by("UPDATE cards SET number = 4711"), "UPDATE cards SET number …");
        assert_eq!(known_by("INSERT INTO cards VALUES (4711)"), "INSERT INTO cards VALUES …");
    }

    #[test]
    fn those_in_the_way_come_together_under_who_waits() {
        let row = |holder: i64| {
            let party = |id: i64| vec![json!(id), json!("app"), json!("10.1.2.3"), json!("active"), json!(null), json!("LOCK t")];
            [party(1), vec![json!("orders"), json!(3)], party(holder)].concat()
        };
        let found = grouped(vec![row(2), row(3), row(2)], true);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].by.iter().map(|one| one.id).collect::<Vec<_>>(), [2, 3]);
        assert_eq!((found[0].table.as_deref(), found[0].others), (Some("orders"), 3));
    }
}
