//! Locks that sessions take against other migrations: PostgreSQL's advisory locks and table locks, MySQL's named locks.
//! Each framework computes its own key; the notes name where its source does.

use super::table::{Row, ask, number};
use super::{Fate, Framework, Holder, Lock, LockKind, State, Table};
use crate::database::{Database, Dialect};
use crate::failure::Result;

/// What a framework's session holds while it migrates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// PostgreSQL: `pg_advisory_lock(bigint)`.
    Advisory(i64),
    /// PostgreSQL: a lock of this mode on the bookkeeping table.
    Relation(&'static str),
    /// MySQL: `GET_LOCK(name)`.
    Named(String),
}

/// The CRC-32 that zip, zlib, Go and Ruby use.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}

/// A session, and what it holds.
struct Held {
    key: Key,
    table: Option<(String, String)>,
    lock: Lock,
}

/// Finds the sessions that hold the locks of the frameworks found, and adds them to their states.
///
/// # Errors
/// When the database can't be asked.
pub(super) async fn find(database: &dyn Database, states: &mut [State]) -> Result<()> {
    if states.is_empty() {
        return Ok(());
    }
    match database.dialect() {
        Dialect::Sqlite => Ok(()),
        Dialect::Postgres => postgres(database, states).await,
        Dialect::Mysql | Dialect::MariaDb => mysql(database, states).await,
    }
}

async fn postgres(database: &dyn Database, states: &mut [State]) -> Result<()> {
    let name = ask(database, "SELECT current_database()").await?.into_iter().flatten().flatten().next().unwrap_or_default();
    let held: Vec<Held> = ask(database, HELD).await?.into_iter().filter_map(of_postgres).collect();
    for state in states {
        let key = state.framework.books().lock(&state.table, &name);
        let of_state = |held: &&Held| match &held.table {
            Some((schema, table)) => {
                let own = Some(schema) == state.table.schema.as_ref() && *table == state.table.name;
                own && (Some(&held.key) == key.as_ref() || held.key == Key::Relation("AccessExclusiveLock"))
            }
            None => Some(&held.key) == key.as_ref(),
        };
        state.locks.extend(held.iter().filter(of_state).map(|held| held.lock.clone()));
    }
    Ok(())
}

/// One-number advisory locks of this database, and strong locks on tables. Addresses and times of other roles' sessions are
/// empty without `pg_read_all_stats`.
const HELD: &str = "SELECT l.pid, CASE WHEN l.locktype = 'advisory' THEN ((l.classid::bigint << 32) | l.objid::bigint)::text END, l.mode, \
    n.nspname, c.relname, host(a.client_addr), a.usename, nullif(a.application_name, ''), a.state, \
    to_char(coalesce(a.xact_start, a.backend_start) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), a.backend_start::text \
    FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid \
    LEFT JOIN pg_catalog.pg_class AS c ON l.locktype = 'relation' AND c.oid = l.relation \
    LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE l.granted AND l.pid <> pg_backend_pid() AND coalesce(a.backend_type, '') <> 'autovacuum worker' \
    AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database()) \
    AND ((l.locktype = 'advisory' AND l.objsubid = 1) \
    OR (l.locktype = 'relation' AND c.relkind IN ('r', 'p') AND l.mode IN ('ShareUpdateExclusiveLock', 'AccessExclusiveLock'))) \
    ORDER BY l.pid LIMIT 1000";

fn of_postgres(row: Row) -> Option<Held> {
    let id: i64 = number(&row, 0)?;
    let advisory: Option<i64> = number(&row, 1);
    let [_, _, mode, schema, table, address, user, application, doing, since, began] =
        <[Option<String>; 11]>::try_from(row).ok()?;
    let key = match (advisory, mode.as_deref()) {
        (Some(key), _) => Key::Advisory(key),
        (None, Some("AccessExclusiveLock")) => Key::Relation("AccessExclusiveLock"),
        (None, _) => Key::Relation("ShareUpdateExclusiveLock"),
    };
    let holder = Holder { address, user, application, doing, ..Holder::default() };
    let lock = Lock { kind: LockKind::Session { id, began }, holder, since, fate: Fate::default() };
    Some(Held { key, table: schema.zip(table), lock })
}

/// A name tells who holds it without any privilege; who that is shows `processlist`, as far as the role may see.
async fn mysql(database: &dyn Database, states: &mut [State]) -> Result<()> {
    let name = ask(database, "SELECT DATABASE()").await?.into_iter().flatten().flatten().next().unwrap_or_default();
    for state in states {
        let Some(Key::Named(lock)) = state.framework.books().lock(&state.table, &name) else { continue };
        let lock = Dialect::Mysql.text(&lock);
        let rows = ask(
            database,
            &format!(
                "SELECT held.id, p.USER, p.HOST, p.COMMAND, DATE_FORMAT(UTC_TIMESTAMP() - INTERVAL p.TIME SECOND, '%Y-%m-%dT%H:%i:%sZ') \
                 FROM (SELECT IS_USED_LOCK({lock}) AS id) AS held LEFT JOIN information_schema.PROCESSLIST AS p ON p.ID = held.id \
                 WHERE held.id IS NOT NULL"
            ),
        )
        .await?;
        state.locks.extend(rows.into_iter().filter_map(of_mysql));
    }
    Ok(())
}

fn of_mysql(row: Row) -> Option<Lock> {
    let id: i64 = number(&row, 0)?;
    let [_, user, host, doing, since] = <[Option<String>; 5]>::try_from(row).ok()?;
    let address = host.map(|host| host.rsplit_once(':').map_or(host.clone(), |(address, _)| address.to_owned()));
    let holder = Holder { address, user, doing, ..Holder::default() };
    Some(Lock { kind: LockKind::Session { id, began: None }, holder, since, fate: Fate::default() })
}

/// Keys of the frameworks that need nothing but the database's name.
pub(super) fn by_database(framework: Framework, table: &Table, database: &str) -> Option<Key> {
    // rails/rails `ActiveRecord::Migrator#generate_migrator_advisory_lock_id`; launchbadge/sqlx `generate_lock_id`.
    let sum = i64::from(crc32(database.as_bytes()));
    match (framework, table.dialect) {
        (Framework::Rails, Dialect::Postgres) => Some(Key::Advisory(2_053_462_845 * sum)),
        (Framework::Rails, Dialect::Mysql | Dialect::MariaDb) => Some(Key::Named((2_053_462_845 * sum).to_string())),
        (Framework::Sqlx, Dialect::Postgres) => Some(Key::Advisory(0x3d32_ad9e * sum)),
        (Framework::Sqlx, Dialect::Mysql | Dialect::MariaDb) => Some(Key::Named(format!("{:x}", 0x3d32_ad9e * sum))),
        _ => None,
    }
}
