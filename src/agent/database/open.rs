//! Opens databases through SQLite, each way with its own promise; runs no statement of a caller.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, access};

use crate::error::{Explain, Result};

/// A way to open a database.
pub(super) type Open = fn(&str) -> Result<Connection>;

/// How long to wait for a lock before saying `Busy`.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file that nobody writes to: opened as unchanging, without locks and without side files.
pub(super) fn unchanging(path: &str) -> Result<Connection> {
    reading(path, "immutable=1")
}

/// A file whose writers may run: reads under SQLite's locks and creates nothing beside it.
pub(super) fn live(path: &str) -> Result<Connection> {
    reading(path, "readonly_shm=1")
}

/// The name under which such a file is attached.
pub(super) fn unchanging_uri(path: &str) -> String {
    uri(path, "immutable=1")
}

fn uri(path: &str, how: &str) -> String {
    format!("file:{}?mode=ro&{how}", escaped(path))
}

fn reading(path: &str, how: &str) -> Result<Connection> {
    let uri = uri(path, how);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    prepare(Connection::open_with_flags(uri, flags).explain(|| format!("cannot open {path}"))?, path)
}

/// A file that only this process has, or whose writers are stopped: changes go to the file under SQLite's rules.
pub(super) fn writing(path: &str) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    prepare(Connection::open_with_flags(path, flags).explain(|| format!("cannot open {path}"))?, path)
}

/// A file that no other process may have open: a WAL's index is kept in memory, since beside the file there may be no room
/// for it.
pub(super) fn alone(path: &str) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).explain(|| format!("cannot open {path}"))?;
    connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE").explain(|| format!("cannot open {path}"))?;
    prepare(connection, path)
}

/// Small memory, and nothing that would change rows or their meaning by itself.
fn prepare(connection: Connection, path: &str) -> Result<Connection> {
    let settle = || -> rusqlite::Result<()> {
        connection.busy_timeout(PATIENCE)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        // An unknown column in double quotes is an error, not a string.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
        connection.execute_batch("PRAGMA cache_size = -2048; PRAGMA temp_store = FILE; PRAGMA mmap_size = 0")
    };
    settle().explain(|| format!("cannot open {path}"))?;
    Ok(connection)
}

/// Puts SQLite's temporary files of this process into `folder`.
///
/// `SQLITE_TMPDIR` would do, too, but a running process cannot set it safely.
pub(super) fn temporary_files(connection: &Connection, folder: &str) -> Result<()> {
    if !Path::new(folder).is_dir() {
        return Err(crate::error::fail(
            dbmig_wire::ErrorKind::NotFound,
            format!("the folder {folder} for temporary files is not there"),
        ));
    }
    connection.pragma_update(None, "temp_store_directory", folder).explain(|| format!("cannot put temporary files into {folder}"))
}

/// Puts SQLite's temporary files beside the database where none of the places that SQLite itself would take can be written:
/// a container's root may be read-only. Tells the place. Most work needs none, so it fails only when one is made.
pub(super) fn temporary_files_somewhere(connection: &Connection, database: &str) -> PathBuf {
    let given = ["SQLITE_TMPDIR", "TMPDIR"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    let usual = ["/var/tmp", "/usr/tmp", "/tmp"].into_iter().map(PathBuf::from);
    let can_be_used = |folder: &PathBuf| folder.is_dir() && access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    given.chain(usual).find(can_be_used).unwrap_or_else(|| {
        let beside = Path::new(database).parent().unwrap_or(Path::new("/"));
        let _ = temporary_files(connection, &beside.to_string_lossy());
        beside.to_owned()
    })
}

/// A name quoted for SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn escaped(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
