//! The real binary over pipes, and databases to give it.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use dbmig_wire::{AgentError, Call, Message, Request};
use rusqlite::Connection;

/// The binary with the given arguments, all streams piped.
pub(crate) fn agent(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbmig-agent"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn line(call: impl Into<Request>) -> Vec<u8> {
    let mut line = serde_json::to_vec(&call.into()).unwrap();
    line.push(b'\n');
    line
}

pub(crate) fn give(command: &mut Command, input: &[u8]) -> Child {
    let mut child = command.spawn().unwrap();
    match child.stdin.take().unwrap().write_all(input) {
        // It refused before it read anything.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        other => other.unwrap(),
    }
    child
}

pub(crate) fn run(command: &mut Command, input: &[u8]) -> Output {
    give(command, input).wait_with_output().unwrap()
}

pub(crate) fn messages(output: &Output) -> Vec<Message> {
    output.stdout.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

pub(crate) fn last(output: &Output) -> Message {
    let last = messages(output).pop();
    last.unwrap_or_else(|| panic!("no answer, {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}

pub(crate) fn error(output: &Output) -> AgentError {
    assert_eq!(output.status.code(), Some(1));
    match last(output) {
        Message::Failed(error) => error,
        other => panic!("expected a failure, got {other:?}"),
    }
}

/// Asks the real binary in a process of its own.
pub(crate) fn ask<C: Call>(call: C) -> Result<C::Reply, AgentError> {
    let output = run(&mut agent(&["ask"]), &line(call));
    match last(&output) {
        Message::Done(reply) => Ok(serde_json::from_value(reply).unwrap()),
        Message::Failed(error) => Err(error),
        other => panic!("the answer ends with {other:?}"),
    }
}

/// A database with rows 1 to `rows` of 400 bytes, those from `keep` on deleted again.
pub(crate) fn database(path: &Path, page_size: u32, rows: u32, keep: u32) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA page_size={page_size}; PRAGMA synchronous=off;
             CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB NOT NULL);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows})
             INSERT INTO t SELECT i, randomblob(400) FROM n;
             DELETE FROM t WHERE id>{keep};"
        ))
        .unwrap();
    connection
}

/// Every row as text.
pub(crate) fn content(connection: &Connection) -> Vec<String> {
    let mut select = connection.prepare("SELECT id||':'||hex(v) FROM t ORDER BY id").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

pub(crate) fn integrity(connection: &Connection) -> String {
    connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap()
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
