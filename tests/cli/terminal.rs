//! Questions on a real (pseudo) terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::installed_as;

/// The program at a prompt, and the other side of its terminal.
struct Session {
    child: Child,
    terminal: File,
    seen: String,
    folder: tempfile::TempDir,
}

impl Session {
    /// `completion install` asks whether it may make a link.
    fn asked() -> Self {
        let (folder, program) = installed_as("kubectl-dbmig");
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
        grantpt(&terminal).expect("a pseudo terminal");
        unlockpt(&terminal).expect("a pseudo terminal");
        let name = ptsname(&terminal, Vec::new()).expect("its name").into_string().expect("text");
        let side = || Stdio::from(File::options().read(true).write(true).open(&name).expect("its other side"));
        let child = Command::new(&program)
            .args(["completion", "install"])
            .env_clear()
            .env("TERM", "xterm")
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .expect("the program starts");
        let mut session = Self { child, terminal: terminal.into(), seen: String::new(), folder };
        session.read_until("[y/N] ");
        session
    }

    fn read_until(&mut self, text: &str) {
        while !self.seen.contains(text) {
            assert!(self.read() > 0, "the terminal ended before {text:?}: {:?}", self.seen);
        }
    }

    /// Linux answers with an error, not with an end, once nobody holds the other side.
    fn read(&mut self) -> usize {
        let mut buffer = [0; 1024];
        let length = self.terminal.read(&mut buffer).unwrap_or(0);
        self.seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        length
    }

    fn types(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    fn link(&self) -> PathBuf {
        self.folder.path().join("kubectl_complete-dbmig")
    }

    fn code(&mut self) -> Option<i32> {
        while self.read() > 0 {}
        self.child.wait().expect("it ends").code()
    }
}

fn is_there(link: &Path) -> bool {
    link.symlink_metadata().is_ok()
}

#[test]
fn yes_is_yes() {
    let mut session = Session::asked();
    session.types("y\n");
    assert_eq!(session.code(), Some(0), "{}", session.seen);
    assert!(is_there(&session.link()));
}

#[test]
fn enter_alone_anything_else_and_the_end_of_input_are_no() {
    for keys in ["\n", "n\n", "yep\n", "\u{4}"] {
        let mut session = Session::asked();
        session.types(keys);
        assert_eq!(session.code(), Some(4), "{keys:?}: {}", session.seen);
        assert!(!is_there(&session.link()), "{keys:?}");
    }
}

#[test]
fn an_interrupt_at_the_prompt_ends_it_without_waiting_for_an_answer() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut session = Session::asked();
        kill_process(Pid::from_child(&session.child), signal).expect("it runs");
        assert_eq!(session.code(), Some(130), "{}", session.seen);
        assert!(session.seen.contains("interrupted") && !session.seen.contains("safe point"), "{}", session.seen);
        assert!(!is_there(&session.link()));
    }
}

#[test]
fn the_cursor_is_never_hidden_and_errors_are_coloured() {
    let mut session = Session::asked();
    session.types("n\n");
    session.code();
    assert!(!session.seen.contains("\u{1b}[?25l"), "{:?}", session.seen);
    assert!(session.seen.contains("\u{1b}[31m"), "{:?}", session.seen);
}
