//! Who writes to a PostgreSQL database now.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::json;
use crate::database::postgres::{End, Postgres};
use crate::database::{Database, Dialect, is_ours};
use crate::failure::Result;

/// A transaction that has written, or was prepared to be committed later.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Writer {
    /// The server's process; `None` for a prepared transaction, which has none.
    pub pid: Option<i64>,
    /// The name of a prepared transaction.
    pub prepared: Option<String>,
    /// Role.
    pub user: Option<String>,
    /// As the application calls itself.
    pub application: Option<String>,
    /// Address that it came from.
    pub address: Option<String>,
    /// How long it has been open, in seconds.
    pub seconds: f64,
}

impl Writer {
    /// In one line, with what ends it.
    #[must_use]
    pub fn in_words(&self) -> String {
        let of = |what: &Option<String>| what.clone().filter(|text| !text.is_empty());
        let user = of(&self.user).map(|user| format!(" of {user}")).unwrap_or_default();
        let application = of(&self.application).map(|name| format!(" ({name})")).unwrap_or_default();
        let address = of(&self.address).map(|address| format!(" from {address}")).unwrap_or_default();
        let since = format!("open for {:.0} s", self.seconds);
        match (&self.prepared, self.pid) {
            (Some(name), _) => {
                format!("prepared transaction {name}{user}, {since}; COMMIT PREPARED or ROLLBACK PREPARED ends it")
            }
            (None, pid) => {
                let pid = pid.unwrap_or_default();
                format!("transaction{user}{application}{address}, {since}; SELECT pg_terminate_backend({pid}) ends it")
            }
        }
    }
}

/// Transactions of this database that have written and are not over; our own and the copier's do not count.
///
/// A transaction that has not written yet has no number: what it may still write, its rights decide.
///
/// # Errors
/// As [`Database::query`].
pub async fn writers(database: &dyn Database) -> Result<Vec<Writer>> {
    let sql = format!(
        "SELECT coalesce(json_agg(found), '[]') FROM (\
         SELECT pid, NULL AS prepared, usename AS user, application_name AS application, host(client_addr) AS address, \
         extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds FROM pg_stat_activity \
         WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid() \
         AND application_name NOT LIKE 'pgcopydb%' AND NOT {} \
         UNION ALL SELECT NULL, gid, owner, NULL, NULL, extract(epoch FROM clock_timestamp() - prepared)::float8 \
         FROM pg_prepared_xacts WHERE database = current_database()) AS found",
        is_ours()
    );
    json(&database.query(&sql).await?, "its sessions")
}

/// A pgcopydb is connected to this database.
///
/// # Errors
/// As [`Database::query`].
pub async fn is_connected(database: &dyn Database) -> Result<bool> {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgcopydb%'";
    Ok(database.number(sql).await?.unwrap_or_default() > 0)
}

/// Ends the sessions of roles that have the rights of these, quoted as SQL needs them: what is connected to a server that nobody is to use
/// any more would stay. How many there were; superusers, the copier and we are let be.
///
/// # Errors
/// As [`Database::change`]: the role that we are may not end sessions of others.
pub async fn end_sessions(database: &Postgres, roles: &BTreeSet<&str>) -> Result<u64> {
    let names: Vec<String> = roles.iter().map(|role| Dialect::Postgres.text(role)).collect();
    if names.is_empty() {
        return Ok(0);
    }
    let end = format!(
        "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid \
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND NOT rolsuper \
         AND application_name NOT LIKE 'pgcopydb%' AND NOT {} \
         AND EXISTS (SELECT FROM pg_roles o WHERE format('%I', o.rolname) IN ({}) AND pg_has_role(a.usesysid, o.oid, 'MEMBER'))",
        is_ours(),
        names.join(", ")
    );
    let rows = database.transact("", &end, End::Commit).await?;
    Ok(rows.first().and_then(|row| row.first()).and_then(Value::as_u64).unwrap_or_default())
}
