//! `global/pg_control`: which cluster this is and how its last server left it. Must not write it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crc::{CRC_32_ISCSI, Crc, NoTable};
use dbmig_wire::{AgentError, Control, ControlState, ErrorKind};

use crate::error::{Explain, Result, fail};

/// Where the file is in a data directory.
const NAME: &str = "global/pg_control";
/// No known version uses more of the file's 8192 bytes.
const USED: u64 = 512;
/// CRC-32C, as PostgreSQL takes it of all that is before it.
const SUM: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISCSI);
/// A server that is writing the file may be seen half-way; so often is it looked at again, and so long in between.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// What PostgreSQL calls `PG_CONTROL_VERSION`, and where `crc` begins in `ControlFileData` (`catalog/pg_control.h`); the fields
/// read here lie at the same place in all of them. `None` for a version that is not known.
fn format(major: u32) -> Option<(u32, usize)> {
    match major {
        11 => Some((1100, 280)),
        12 => Some((1201, 288)),
        13..=16 => Some((1300, 288)),
        17 => Some((1700, 288)),
        18 => Some((1800, 292)),
        _ => None,
    }
}

/// Whether this version's control file can be read.
pub(super) fn is_known(major: u32) -> bool {
    format(major).is_some()
}

/// Reads the control file of a server of this version.
///
/// # Errors
/// `Unsupported` for a version that is not known, `Corrupt` for what its server would not take either.
pub(super) fn read(directory: &Path, major: u32) -> Result<Control> {
    let path = directory.join(NAME);
    let Some((version, sum_at)) = format(major) else {
        return Err(fail(ErrorKind::Unsupported, format!("PostgreSQL {major} is not known")));
    };
    let damaged = |why: String| fail(ErrorKind::Corrupt, format!("{} {why}", path.display()));
    let mut tries = 0;
    let bytes = loop {
        let bytes = load(&path, &damaged)?;
        let (Some(summed), Some(sum)) = (bytes.get(..sum_at), number(&bytes, sum_at)) else {
            return Err(damaged(format!("has {} bytes only", bytes.len())));
        };
        let seen = number(&bytes, 8).unwrap_or_default();
        if seen != version {
            return Err(damaged(format!("is of format {seen}, that of PostgreSQL {major} is {version}")));
        }
        if SUM.checksum(summed) == sum {
            break bytes;
        }
        tries += 1;
        if tries == TRIES {
            return Err(damaged("does not have the CRC that it says it has".to_owned()));
        }
        thread::sleep(PAUSE);
    };
    parse(&bytes).ok_or_else(|| damaged(format!("is in a state that is not known: {}", number(&bytes, 16).unwrap_or_default())))
}

fn load(path: &Path, damaged: &impl Fn(String) -> AgentError) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(USED).read_to_end(&mut bytes)) {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(damaged("is not there".to_owned())),
        Err(error) => Err(error).explain(|| format!("cannot read {}", path.display())),
    }
}

fn parse(bytes: &[u8]) -> Option<Control> {
    let redo = long(bytes, 40)?;
    Some(Control {
        system_identifier: long(bytes, 0)?.to_string(),
        state: state(number(bytes, 16)?)?,
        timeline: number(bytes, 48)?,
        checkpoint: format!("{:X}/{:X}", redo >> 32, redo & 0xffff_ffff),
    })
}

fn state(number: u32) -> Option<ControlState> {
    Some(match number {
        0 => ControlState::Startup,
        1 => ControlState::ShutDown,
        2 => ControlState::ShutDownInRecovery,
        3 => ControlState::ShuttingDown,
        4 => ControlState::CrashRecovery,
        5 => ControlState::ArchiveRecovery,
        6 => ControlState::InProduction,
        _ => return None,
    })
}

/// Numbers are those of the machine, as the server has them.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
