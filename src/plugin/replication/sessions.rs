//! Who writes to a PostgreSQL database now.

use serde::Deserialize;

use super::json;
use crate::database::Database;
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
    let sql = "SELECT coalesce(json_agg(found), '[]') FROM (\
         SELECT pid, NULL AS prepared, usename AS user, application_name AS application, host(client_addr) AS address, \
         extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds FROM pg_stat_activity \
         WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid() \
         AND application_name NOT LIKE 'pgcopydb%' AND application_name <> 'kubectl-dbmig' \
         UNION ALL SELECT NULL, gid, owner, NULL, NULL, extract(epoch FROM clock_timestamp() - prepared)::float8 \
         FROM pg_prepared_xacts WHERE database = current_database()) AS found";
    json(&database.query(sql).await?, "its sessions")
}
