//! Runs the real tools.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use super::database::{Db, socket, tools};

/// What a tool said and how it ended.
pub(crate) struct Said {
    pub(crate) good: bool,
    pub(crate) text: String,
}

/// A command in the database's folder, with nothing of our environment but what the tools need.
fn command(db: &Db, program: &Path) -> Command {
    let mut command = Command::new(program);
    let path = std::env::var("PATH").unwrap();
    command.current_dir(db.path()).env_clear().env("PATH", path).env("HOME", db.path());
    command.env("URL", &db.url).env("PGHOST", socket()).env("PGUSER", "dbmig").stdin(Stdio::null());
    if db.is_postgres() {
        command.env("PGDATABASE", db.name());
    }
    command
}

/// `python3 -m MODULE …` with our packages.
pub(crate) fn python(db: &Db, words: &[&str]) -> Said {
    let mut python = command(db, Path::new("python3"));
    python.env("PYTHONPATH", format!("{}:.", tools().join("python").display())).env("PYTHONDONTWRITEBYTECODE", "1");
    said(&python.arg("-m").args(words).output().unwrap())
}

/// One of the programs that npm installed.
pub(crate) fn node_command(db: &Db, program: &str, words: &[&str]) -> Command {
    let modules = tools().join("node/node_modules");
    let link = db.path().join("node_modules");
    if !link.exists() {
        std::os::unix::fs::symlink(&modules, link).unwrap();
    }
    let program = if program == "node" { Path::new("node").to_owned() } else { modules.join(".bin").join(program) };
    let mut command = command(db, &program);
    // Prisma would fetch engines for these; its migrations run in the one that its package brings along.
    let unused = db.path().join("package.json");
    command
        .env("PRISMA_QUERY_ENGINE_LIBRARY", &unused)
        .env("PRISMA_SCHEMA_ENGINE_BINARY", &unused)
        .env("CHECKPOINT_DISABLE", "1");
    command.args(words);
    command
}

pub(crate) fn node(db: &Db, program: &str, words: &[&str]) -> Said {
    said(&node_command(db, program, words).output().unwrap())
}

/// Starts one that will be killed.
pub(crate) fn begin(db: &Db, program: &str, words: &[&str]) -> Child {
    node_command(db, program, words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// `sqlx …`
pub(crate) fn sqlx(db: &Db, words: &[&str]) -> Said {
    let mut sqlx = command(db, &tools().join("cargo/bin/sqlx"));
    said(&sqlx.env("DATABASE_URL", db.url_of_sqlx()).args(words).output().unwrap())
}

fn said(output: &Output) -> Said {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    Said { good: output.status.success(), text }
}

impl Said {
    #[track_caller]
    pub(crate) fn well(self) -> String {
        assert!(self.good, "the tool failed: {}", self.text);
        self.text
    }

    /// It failed, and said so in words that we know the meaning of.
    #[track_caller]
    pub(crate) fn badly(self) -> String {
        assert!(!self.good, "the tool did not fail: {}", self.text);
        self.text
    }
}
