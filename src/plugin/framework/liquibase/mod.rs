//! Liquibase: a row for each changeset, and a lock that is a row of another table and outlives whoever took it.

mod changelog;

use async_trait::async_trait;

pub(super) use self::changelog::as_written;
use super::journal::newest;
use super::repair::Edit;
use super::table::{Kind, Signature, count, is_true, read};
use super::{
    Applied, Available, Books, Evidence, Failed, Fate, Framework, Holder, Lock, LockKind, Remedy, Repair, Script, State, Table,
};
use crate::database::{Database, Dialect};
use crate::failure::Result;

pub(super) struct Liquibase;

const LOCK: Signature = Signature::exactly(&["id", "locked", "lockgranted", "lockedby"]);

#[async_trait]
impl Books for Liquibase {
    fn framework(&self) -> Framework {
        Framework::Liquibase
    }

    fn signature(&self) -> Signature {
        Signature::with_others(&["id", "author", "filename", "dateexecuted", "orderexecuted", "exectype", "md5sum"], 8)
    }

    fn siblings(&self) -> &'static [Signature] {
        &[LOCK]
    }

    async fn read(&self, database: &dyn Database, state: &mut State, found: &[Table]) -> Result<()> {
        let columns = ["filename", "id", "author", "description", "dateexecuted", "md5sum", "exectype"];
        state.count = count(database, &state.table, "").await?;
        for row in newest(database, &state.table, &columns, "orderexecuted", "1 = 1").await? {
            let Ok([file, id, author, name, at, checksum, kind]) = <[Option<String>; 7]>::try_from(row) else { continue };
            let id = [file, id, author].map(Option::unwrap_or_default).join("::");
            if kind.as_deref() == Some("FAILED") {
                let how = "Liquibase wrote down that it failed";
                state.failed.push(Failed::new(id, how));
            } else {
                state.applied.push(Applied { id, name, at, checksum, ..Applied::default() });
            }
        }
        state.count -= state.failed.len() as u64;
        state.heads = state.applied.last().map(|last| last.id.clone()).into_iter().collect();
        let locks =
            found.iter().filter(|table| LOCK.fits(table) && table.schema == state.table.schema && table.obstacle.is_none());
        for table in locks {
            let rows = read(database, table, &["locked", "lockgranted", "lockedby"], "ORDER BY 1 LIMIT 10").await?;
            let held = rows.into_iter().filter(|row| is_true(row.first().and_then(Option::as_ref)));
            state.locks.extend(held.map(|row| lock(table, row)));
        }
        Ok(())
    }

    /// Never by deleting the row: older versions of Liquibase count on it.
    fn free(&self, table: &Table, _rows: u64, lock: &Lock) -> Remedy {
        let (yes, no) = match (table.dialect, table.column("locked").map(|column| column.kind)) {
            (Dialect::Postgres, Some(Kind::Number)) | (Dialect::Sqlite | Dialect::Mysql | Dialect::MariaDb, _) => ("1", "0"),
            (Dialect::Postgres, _) => ("TRUE", "FALSE"),
        };
        let [id, locked, granted, by] = ["id", "locked", "lockgranted", "lockedby"].map(|column| table.named(column));
        let holder = match &lock.holder.text {
            Some(text) => format!("{by} = {}", table.dialect.text(text)),
            None => format!("{by} IS NULL"),
        };
        let set = format!("{locked} = {no}, {granted} = NULL, {by} = NULL");
        let (condition, afterwards) = (format!("{id} = 1 AND {locked} = {yes} AND {holder}"), format!("{id} = 1"));
        Edit::of(table).update(&set, &condition, &afterwards, 1).done()
    }

    fn repairs(&self, state: &State, _evidence: &Evidence) -> Vec<Repair> {
        let of = |failed: &Failed| {
            Repair::elsewhere(
                format!("changeset {} failed", failed.id),
                "mend the changeset and run it again: Liquibase does so by itself",
                "a changeset is run until it is written down as executed",
                ["liquibase update", "liquibase mark-next-changeset-ran   # if its effect is there already"],
            )
        };
        state.failed.iter().map(of).collect()
    }

    fn stamp(&self, _state: &State, _id: &str, _evidence: &Evidence) -> std::result::Result<Remedy, String> {
        Err("a row of Liquibase holds the checksum of its changeset, which only Liquibase computes: run `liquibase mark-next-changeset-ran` \
             or `liquibase changelog-sync-to-tag TAG`"
            .to_owned())
    }

    fn suffixes(&self) -> &'static [&'static str] {
        &[".xml", ".yaml", ".yml", ".json", ".sql"]
    }

    fn available(&self, scripts: &[Script]) -> Vec<Available> {
        changelog::changesets(scripts)
    }
}

fn lock(table: &Table, row: Vec<Option<String>>) -> Lock {
    let mut row = row.into_iter().skip(1);
    let (since, text) = (row.next().flatten(), row.next().flatten());
    Lock { kind: LockKind::Row { table: table.clone(), rows: 1 }, holder: holder(text), since, fate: Fate::default() }
}

/// `keeper-6f7b#prod (10.1.2.3)`: the host's name, a description that somebody chose, an address.
fn holder(text: Option<String>) -> Holder {
    let (name, address) = match text.as_deref().and_then(|text| text.strip_suffix(')')?.rsplit_once(" (")) {
        Some((name, address)) => (Some(name), Some(address)),
        None => (text.as_deref(), None),
    };
    let host = name.map(|name| name.split('#').next().unwrap_or(name).to_owned()).filter(|host| !host.is_empty());
    Holder { host, address: address.map(str::to_owned), text, ..Holder::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_read_off_its_text() {
        let of = |text: &str| holder(Some(text.to_owned()));
        let parts = |holder: &Holder| (holder.host.clone().unwrap_or_default(), holder.address.clone().unwrap_or_default());
        assert_eq!(parts(&of("keeper-6f7b (10.1.2.3)")), ("keeper-6f7b".into(), "10.1.2.3".into()));
        assert_eq!(parts(&of("keeper-0#ns/prod (fe80::1%eth0)")), ("keeper-0".into(), "fe80::1%eth0".into()));
        assert_eq!(parts(&of("odd")), ("odd".into(), String::new()));
        assert_eq!(parts(&holder(None)), (String::new(), String::new()));
    }
}
