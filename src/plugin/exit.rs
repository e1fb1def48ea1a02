//! The exit codes, in one place; `--help`, README and `design` list the same ones.

/// How the process ends. Scripts depend on these numbers: they change only in a major release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked is done.
    Done = 0,
    /// Failed; the message says in what state things are.
    Failed = 1,
    /// The command line makes no sense; nothing was contacted or changed.
    Usage = 2,
    /// Done, but something needs a person's attention.
    Attention = 3,
    /// Refused by a check or by the user; nothing was changed.
    Refused = 4,
    /// Another operation holds the target.
    Held = 5,
    /// A time limit passed and everything was taken back.
    TimedOut = 6,
    /// A proof failed and everything was taken back.
    Unproven = 7,
    /// Stopped half-way, consistent; `resume` and `undo` were printed.
    Incomplete = 8,
    /// Stopped by Ctrl-C or SIGTERM before anything was changed, or at once by a second one.
    Interrupted = 130,
}

impl Exit {
    /// Every code with its meaning, for `--help` and the tests that hold README against it.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::Done, "done"),
        (Self::Failed, "failed"),
        (Self::Usage, "wrong usage"),
        (Self::Attention, "done, but something needs attention"),
        (Self::Refused, "refused, nothing changed"),
        (Self::Held, "held by another operation"),
        (Self::TimedOut, "timed out and rolled back"),
        (Self::Unproven, "verification failed and rolled back"),
        (Self::Incomplete, "incomplete: go on with resume, or back with undo"),
        (Self::Interrupted, "interrupted"),
    ];

    /// The number that the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
