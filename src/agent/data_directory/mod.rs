//! A PostgreSQL data directory at rest: what it is, a standby made a primary of its own, and the way back. Touches the files that
//! say what the next server on it is, never any that has data in it.

mod control;
mod kept;
mod primary;
mod settings;
mod standby;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dbmig_wire::{ClusterRole, DataDirectory, ErrorKind, ReadDataDirectory};

use crate::error::{Explain, Result, fail};
use crate::report::Report;
use crate::swap::look;

pub use primary::make_primary;
pub use standby::{forget_standby, make_standby};

const STANDBY_SIGNAL: &str = "standby.signal";
const RECOVERY_SIGNAL: &str = "recovery.signal";
/// Settings and role of a standby in one file, before 12.
const RECOVERY_CONF: &str = "recovery.conf";
const AUTO_CONF: &str = "postgresql.auto.conf";
const PID_FILE: &str = "postmaster.pid";
/// There until the first server has begun on a base backup.
const BACKUP_LABEL: &str = "backup_label";
/// The first version with signal files.
const SIGNAL_FILES: u32 = 12;

/// Answers [`ReadDataDirectory`].
///
/// # Errors
/// `NotFound` where no data directory is, `Unsupported` for a version that is not known, `Corrupt` for a damaged control file.
pub fn read(call: &ReadDataDirectory, report: &dyn Report) -> Result<DataDirectory> {
    report.check()?;
    look_at(Path::new(&call.path))
}

fn look_at(directory: &Path) -> Result<DataDirectory> {
    if !directory.is_absolute() {
        return Err(fail(ErrorKind::BadRequest, format!("{} is no absolute path", directory.display())));
    }
    let Some(version) = content(&directory.join("PG_VERSION"))? else {
        return Err(fail(ErrorKind::NotFound, format!("{} has no PG_VERSION in it", directory.display())));
    };
    let version = String::from_utf8_lossy(version.trim_ascii()).into_owned();
    let Some(major) = version.parse().ok().filter(|major| control::is_known(*major)) else {
        let unknown = format!("{} is of PostgreSQL {version}, which is not known here", directory.display());
        return Err(fail(ErrorKind::Unsupported, unknown));
    };
    let control = control::read(directory, major)?;
    let metadata = fs::metadata(directory).explain(|| format!("cannot look at {}", directory.display()))?;
    let settings = content(&directory.join(settings_name(major)))?.unwrap_or_default();
    Ok(DataDirectory {
        version,
        major,
        control,
        role: role(directory, major, &settings)?,
        names_primary: settings::value(&settings, "primary_conninfo").is_some_and(|value| !value.is_empty()),
        pid_file: is_there(&directory.join(PID_FILE))?,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mode: metadata.mode() & 0o7777,
    })
}

/// The file that tells a standby whom it follows.
const fn settings_name(major: u32) -> &'static str {
    if major < SIGNAL_FILES { RECOVERY_CONF } else { AUTO_CONF }
}

fn role(directory: &Path, major: u32, settings: &[u8]) -> Result<ClusterRole> {
    let (standby, recovering) = if major < SIGNAL_FILES {
        let standby = settings::value(settings, "standby_mode").is_some_and(|value| settings::is_true(&value));
        (standby, is_there(&directory.join(RECOVERY_CONF))?)
    } else {
        // Where both are, the server takes the first.
        (is_there(&directory.join(STANDBY_SIGNAL))?, is_there(&directory.join(RECOVERY_SIGNAL))?)
    };
    Ok(match (standby, recovering) {
        (true, _) => ClusterRole::Standby,
        (false, true) => ClusterRole::Recovering,
        (false, false) => ClusterRole::Primary,
    })
}

fn is_there(path: &Path) -> Result<bool> {
    Ok(look(path)?.is_some())
}

/// What is in a file, `None` when it is not there.
fn content(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error).explain(|| format!("cannot read {}", path.display())),
    }
}

/// The newest timeline that the directory's WAL tells the history of: a server that ends recovery on a new one writes it before
/// the control file has it.
fn newest_history(directory: &Path) -> Result<u32> {
    let wal = directory.join("pg_wal");
    let doing = || format!("cannot read {}", wal.display());
    let mut newest = 0;
    for entry in fs::read_dir(&wal).explain(doing)? {
        let name = entry.explain(doing)?.file_name();
        let timeline = name.to_str().and_then(|name| u32::from_str_radix(name.strip_suffix(".history")?, 16).ok());
        newest = newest.max(timeline.unwrap_or_default());
    }
    Ok(newest)
}

/// Refuses when a server is seen to run on the directory. One in another container is not seen; the control file's state and
/// who asks must know of that.
fn must_be_at_rest(directory: &Path) -> Result<()> {
    let doing = || format!("cannot look at {}", directory.display());
    let here = fs::metadata(directory).explain(doing)?;
    let Ok(processes) = fs::read_dir("/proc") else { return Ok(()) };
    for process in processes.flatten().map(|entry| entry.path()) {
        // A server works in its data directory. Those of other users can't be looked into, and others end meanwhile.
        let works_here = fs::metadata(process.join("cwd")).is_ok_and(|cwd| (cwd.dev(), cwd.ino()) == (here.dev(), here.ino()));
        if works_here && fs::read(process.join("comm")).is_ok_and(|name| name.starts_with(b"post")) {
            let number = process.file_name().unwrap_or_default().to_string_lossy();
            return Err(fail(
                ErrorKind::Busy,
                format!("a PostgreSQL server runs on {}, process {number}; nothing was done", directory.display()),
            ));
        }
    }
    Ok(())
}

/// Opens a file whose attributes another shall have; the directory where there is none.
fn open(path: &Path) -> Result<File> {
    File::open(path).explain(|| format!("cannot open {}", path.display()))
}
