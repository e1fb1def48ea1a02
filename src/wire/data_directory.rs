//! Calls about a PostgreSQL data directory at rest: no server runs on it.

use serde::{Deserialize, Serialize};

/// Look at a data directory; changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadDataDirectory {
    /// Absolute path of the folder that has `PG_VERSION` in it.
    pub path: String,
}

/// Make a standby's data directory one of a primary of its own: the next server on it replays what WAL it has, ends recovery on
/// a new timeline by itself and asks no other server for anything. What goes is kept in `.dbmig-OPERATION` in it. A call that
/// was cut off is simply repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakePrimary {
    /// Absolute path of the folder that has `PG_VERSION` in it.
    pub path: String,
    /// The operation's id: letters, digits, `-` and `_`.
    pub operation: String,
    /// The system identifier that it must have.
    pub system_identifier: String,
    /// Refuse a standby that was not shut down in order: its server may still run.
    pub must_be_clean: bool,
}

/// Take [`MakePrimary`] back, where no server has ended recovery on it since. A call that was cut off is simply repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeStandby {
    /// Absolute path of the folder that has `PG_VERSION` in it.
    pub path: String,
    /// The operation that made it a primary.
    pub operation: String,
}

/// Remove what [`MakePrimary`] kept, once a server has ended recovery and nobody wants to go back. A server may run on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetStandby {
    /// Absolute path of the folder that has `PG_VERSION` in it.
    pub path: String,
    /// The operation that made it a primary.
    pub operation: String,
}

/// What a data directory is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataDirectory {
    /// What `PG_VERSION` says.
    pub version: String,
    /// That as a number: 15.
    pub major: u32,
    /// What `global/pg_control` says.
    pub control: Control,
    /// What the next server on it will be.
    pub role: ClusterRole,
    /// `primary_conninfo` is set in `postgresql.auto.conf` or `recovery.conf`.
    pub names_primary: bool,
    /// `postmaster.pid` is there: a server runs on it, or one did not end in order.
    pub pid_file: bool,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// The part of `global/pg_control` that tells clusters and their states apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// The number that a cluster shares with its replicas alone, decimal: JSON readers lose digits of it as a number.
    pub system_identifier: String,
    /// In what state the last server left it, or is in.
    pub state: ControlState,
    /// Timeline of the latest checkpoint.
    pub timeline: u32,
    /// Where replay begins for the latest checkpoint: `0/3000028`.
    pub checkpoint: String,
}

/// PostgreSQL's `DBState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlState {
    /// Being made by `initdb`.
    Startup,
    /// A primary was shut down in order.
    ShutDown,
    /// A standby was shut down in order.
    ShutDownInRecovery,
    /// A primary was at shutting down.
    ShuttingDown,
    /// A primary was replaying after a crash.
    CrashRecovery,
    /// A standby ran, or was ended without being shut down.
    ArchiveRecovery,
    /// A primary ran, or was ended without being shut down.
    InProduction,
}

impl std::fmt::Display for ControlState {
    /// As `pg_controldata` says it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Startup => "starting up",
            Self::ShutDown => "shut down",
            Self::ShutDownInRecovery => "shut down in recovery",
            Self::ShuttingDown => "shutting down",
            Self::CrashRecovery => "in crash recovery",
            Self::ArchiveRecovery => "in archive recovery",
            Self::InProduction => "in production",
        })
    }
}

/// What the files in a data directory make of the next server on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterRole {
    /// It takes writes.
    Primary,
    /// It follows another server.
    Standby,
    /// It ends recovery and takes writes then.
    Recovering,
}
