//! PostgreSQL servers on folders of their own, which end with the test.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use dbmig_wire::{AgentError, DataDirectory, ForgetStandby, MakePrimary, MakeStandby, ReadDataDirectory};
use tempfile::TempDir;

use crate::process::{ask, text};

/// The operation of the tests.
pub(super) const OPERATION: &str = "promote-7f3a";

/// Where Debian has the newest server's programs.
fn programs() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let versions = fs::read_dir("/usr/lib/postgresql").expect("run tests/framework/tools/up FOLDER first");
        let number = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().parse::<u32>().unwrap_or_default();
        versions.map(|entry| entry.unwrap().path()).max_by_key(number).unwrap().join("bin")
    })
}

/// Their version.
pub(super) fn version() -> &'static str {
    programs().parent().unwrap().file_name().unwrap().to_str().unwrap()
}

/// Servers refuse to run as root.
fn owner() -> Option<(u32, u32)> {
    static FOUND: OnceLock<(u32, u32)> = OnceLock::new();
    rustix::process::geteuid().is_root().then(|| {
        *FOUND.get_or_init(|| {
            let id = |which| {
                let output = Command::new("id").args([which, "postgres"]).output().unwrap();
                String::from_utf8(output.stdout).unwrap().trim().parse().expect("Debian's postgresql has made a user")
            };
            (id("-u"), id("-g"))
        })
    })
}

fn program(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(programs().join(name));
    // It can't go back to the folder of whom it is run by.
    command.current_dir(folder);
    if let Some((uid, gid)) = owner() {
        command.uid(uid).gid(gid);
    }
    command
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn said(output: &Output) -> String {
    format!("{} {}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A data directory, and the server on it while one runs.
pub(super) struct Server {
    pub(super) data: PathBuf,
    folder: PathBuf,
    port: u32,
}

impl Server {
    fn new(folder: &Path, name: &str, port: u32) -> Self {
        Self { data: folder.join(name), folder: folder.to_owned(), port }
    }

    pub(super) fn start(&self) {
        assert!(self.starts_with(""), "{}", self.log());
    }

    /// Starts it with more options; whether it came up.
    pub(super) fn starts_with(&self, options: &str) -> bool {
        let options = format!("-k {} -p {} -c listen_addresses= -c fsync=off {options}", self.folder.display(), self.port);
        let mut start = program("pg_ctl", &self.folder);
        start.args(["-w", "-s", "-D"]).arg(&self.data).arg("-l").arg(self.log_path()).args(["-o", &options, "start"]);
        // The server keeps what it inherits, and a pipe would never end.
        start.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    pub(super) fn stop(&self, mode: &str) {
        succeed(program("pg_ctl", &self.folder).args(["-w", "-s", "-m", mode, "-D"]).arg(&self.data).arg("stop"));
    }

    /// Ends it as a node that loses power does.
    pub(super) fn kill(&self) {
        let pid = fs::read_to_string(self.data.join("postmaster.pid")).unwrap();
        let pid = rustix::process::Pid::from_raw(pid.lines().next().unwrap().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        // Its children see it and end.
        until("its processes end", || processes_in(&self.data) == 0);
        // Gone with the machine.
        for suffix in ["", ".lock"] {
            fs::remove_file(self.folder.join(format!(".s.PGSQL.{}{suffix}", self.port))).unwrap();
        }
    }

    pub(super) fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap_or_else(|error| panic!("{sql}: {error}; {}", self.log()))
    }

    pub(super) fn try_sql(&self, sql: &str) -> Result<String, String> {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-U", "dbmig", "-d", "postgres", "-c", sql, "-h"]);
        let output = psql.arg(&self.folder).args(["-p", &self.port.to_string()]).output().unwrap();
        if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned()) } else { Err(said(&output)) }
    }

    pub(super) fn is_in_recovery(&self) -> bool {
        self.sql("SELECT pg_is_in_recovery()") == "t"
    }

    pub(super) fn timeline(&self) -> String {
        self.sql("SELECT timeline_id FROM pg_control_checkpoint()")
    }

    pub(super) fn rows(&self) -> u32 {
        self.sql("SELECT count(*) FROM t").parse().unwrap()
    }

    /// Waits until recovery has ended by itself.
    pub(super) fn becomes_primary(&self) {
        until("recovery ends", || !self.is_in_recovery());
    }

    /// What the control file says, by the server's own program.
    pub(super) fn control(&self, label: &str) -> String {
        let all = succeed(program("pg_controldata", &self.folder).env("LC_ALL", "C").arg(&self.data));
        let line = all.lines().find_map(|line| line.strip_prefix(label)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {label} in {all}")).trim().to_owned()
    }

    pub(super) fn system_identifier(&self) -> String {
        self.control("Database system identifier")
    }

    fn log_path(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(super) fn read(&self) -> Result<DataDirectory, AgentError> {
        ask(ReadDataDirectory { path: text(&self.data) })
    }

    pub(super) fn to_primary(&self) -> MakePrimary {
        let (path, operation) = (text(&self.data), OPERATION.to_owned());
        MakePrimary { path, operation, system_identifier: self.system_identifier(), must_be_clean: true }
    }

    pub(super) fn to_standby(&self) -> MakeStandby {
        MakeStandby { path: text(&self.data), operation: OPERATION.to_owned() }
    }

    pub(super) fn to_forget(&self) -> ForgetStandby {
        ForgetStandby { path: text(&self.data), operation: OPERATION.to_owned() }
    }

    /// The helper as a container of this user runs it, from where it may.
    pub(super) fn helper_of(&self, user: (u32, u32)) -> Command {
        let copy = self.folder.join("dbmig-agent");
        fs::copy(env!("CARGO_BIN_EXE_dbmig-agent"), &copy).unwrap();
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(copy);
        command.arg("ask").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).uid(user.0).gid(user.1);
        command
    }

    /// Another directory with the same in it; the server must be at rest.
    pub(super) fn copy(&self, name: &str, port: u32) -> Self {
        let copy = Self::new(&self.folder, name, port);
        let mut command = Command::new("cp");
        if let Some((uid, gid)) = owner() {
            command.uid(uid).gid(gid);
        }
        succeed(command.arg("-a").arg(&self.data).arg(&copy.data));
        copy
    }

    /// A standby's base backup of it.
    pub(super) fn back_up(&self, name: &str, port: u32) -> Self {
        let to = Self::new(&self.folder, name, port);
        self.back_up_to(&to);
        to
    }

    fn back_up_to(&self, to: &Self) {
        let mut backup = program("pg_basebackup", &self.folder);
        backup.args(["-R", "-c", "fast", "--no-sync", "-U", "dbmig", "-p", &self.port.to_string(), "-h"]).arg(&self.folder);
        succeed(backup.arg("-D").arg(&to.data));
    }

    /// A file in it, written as the server's user would.
    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.data.join(name);
        fs::write(&path, content).unwrap();
        if let Some((uid, gid)) = owner() {
            chown(&path, Some(uid), Some(gid)).unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.data.join("postmaster.pid").exists() {
            // A server that is gone already is none to stop.
            let _ = program("pg_ctl", &self.folder)
                .args(["-s", "-t", "10", "-m", "immediate", "-D"])
                .arg(&self.data)
                .arg("stop")
                .status();
        }
    }
}

fn processes_in(folder: &Path) -> usize {
    let here = |path: PathBuf| fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == *folder);
    fs::read_dir("/proc").unwrap().filter(|entry| entry.as_ref().is_ok_and(|entry| here(entry.path()))).count()
}

/// Waits for a condition, not for ever.
pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited for this: {what}");
        sleep(Duration::from_millis(50));
    }
}

/// A primary with a thousand rows, and a standby that streams from it.
pub(super) struct Pair {
    // The servers end before their folder goes.
    pub(super) standby: Server,
    pub(super) primary: Server,
    _folder: TempDir,
}

impl Pair {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        if let Some((uid, gid)) = owner() {
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let primary = Server::new(folder.path(), "primary", 5432);
        let mut initdb = program("initdb", folder.path());
        initdb.args(["-U", "dbmig", "-A", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C"]);
        // Small: it is copied many times.
        initdb.args(["--wal-segsize", "1", "-D"]);
        succeed(initdb.arg(&primary.data));
        primary.start();
        primary.sql("CREATE TABLE t (i int); INSERT INTO t SELECT generate_series(1, 1000)");
        let standby = Server::new(folder.path(), "standby", 5433);
        primary.back_up_to(&standby);
        standby.start();
        let pair = Self { standby, primary, _folder: folder };
        pair.streams();
        pair
    }

    /// With a standby that was shut down in order.
    pub(super) fn with_standby_at_rest() -> Self {
        let pair = Self::new();
        pair.standby.stop("fast");
        pair
    }

    /// A row written to the primary arrives at the standby, which takes none itself.
    pub(super) fn streams(&self) {
        self.primary.sql("INSERT INTO t VALUES (1)");
        let rows = self.primary.rows();
        until("a row arrives", || self.standby.rows() == rows);
        assert!(self.standby.is_in_recovery() && self.standby.try_sql("INSERT INTO t VALUES (2)").is_err());
    }

    /// Nothing that was done to the standby's volume is seen by the primary.
    pub(super) fn primary_serves_alone(&self) {
        assert!(!self.primary.is_in_recovery());
        assert_eq!(self.primary.timeline(), "1");
        assert_eq!(self.primary.sql("SELECT count(*) FROM pg_stat_replication"), "0");
        self.primary.sql("INSERT INTO t VALUES (3)");
    }
}

/// Every file of the directory with owner, mode and what is in it, but for the data, which no call of these touches: of
/// that, time and length.
pub(super) fn all(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let is_data = ["base", "pg_wal", "pg_xact"].iter().any(|name| path.starts_with(directory.join(name)));
            let content = match metadata.is_file() {
                true if is_data => format!("{} {:?}", metadata.len(), metadata.modified().unwrap()),
                true => format!("{:?}", String::from_utf8_lossy(&fs::read(&path).unwrap())),
                false => String::new(),
            };
            let name = path.strip_prefix(directory).unwrap().display();
            lines.push(format!("{name} {} {} {:o} {content}", metadata.uid(), metadata.gid(), metadata.mode()));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    lines.sort();
    lines
}
