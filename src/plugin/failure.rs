//! The one error type: what was seen, what was left as it is, what to type next.

use std::fmt;

use crate::exit::Exit;

/// Shorthand for everything fallible in the plugin.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Something that a person must read. Worded once, where it happens; [`crate::ui`] only lays it out.
///
/// Wording: lower case, no full stop for a single sentence, objects named as kubectl names them, numbers with
/// units, no Rust type names, no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Decides the exit code.
    pub exit: Exit,
    /// What did not happen, to which object.
    pub message: String,
    /// Evidence, a line each.
    pub facts: Vec<String>,
    /// What was left as it is, or in what state things are now.
    pub state: Option<String>,
    /// Commands or decisions, most useful first.
    pub next: Vec<String>,
    /// An operation that meets this failure is taken back as a whole, instead of waiting for `resume` or `undo`.
    pub take_back: bool,
    /// It may be over at the next try: a connection that broke, a server that is away, a helper pod that is gone.
    pub passing: bool,
}

impl Failure {
    /// A failure with the given exit code.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        let (facts, next) = (Vec::new(), Vec::new());
        Self { exit, message: message.into(), facts, state: None, next, take_back: false, passing: false }
    }

    /// Something failed (exit code 1).
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// The command line makes no sense (exit code 2).
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A check or the user said no before anything was changed (exit code 4).
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// Adds a line of evidence.
    #[must_use]
    pub fn fact(mut self, fact: impl Into<String>) -> Self {
        self.facts.push(fact.into());
        self
    }

    /// Adds lines of evidence.
    #[must_use]
    pub fn facts(mut self, facts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.facts.extend(facts.into_iter().map(Into::into));
        self
    }

    /// Says in what state things were left.
    #[must_use]
    pub fn state(mut self, state: impl Into<String>) -> Self {
        self.state = Some(state.into());
        self
    }

    /// Says that nothing was changed, unless something is said of that already.
    #[must_use]
    pub fn unchanged(self) -> Self {
        if self.state.is_none() { self.state("nothing was changed") } else { self }
    }

    /// Adds a command to type, or a decision to take, next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next.push(next.into());
        self
    }

    /// Asks for the whole operation to be taken back, unless it is the user who wants to stop here.
    #[must_use]
    pub fn take_back(mut self) -> Self {
        self.take_back = self.exit != Exit::Interrupted;
        self
    }

    /// Asks for the whole operation to be taken back, also when it is the user who wants to stop: somebody waits for what it holds up.
    #[must_use]
    pub fn take_back_even_so(mut self) -> Self {
        self.take_back = true;
        self
    }

    /// Says that it may be over at the next try.
    #[must_use]
    pub fn passing(mut self) -> Self {
        self.passing = true;
        self
    }

    /// Message and evidence in one line, for where it is told beside something else.
    #[must_use]
    pub fn in_a_line(&self) -> String {
        std::iter::once(&self.message).chain(&self.facts).map(String::as_str).collect::<Vec<_>>().join(": ")
    }

    /// The first piece of evidence, else the message: what follows where it is said already what did not happen.
    #[must_use]
    pub fn cause(&self) -> &str {
        self.facts.first().unwrap_or(&self.message)
    }

    /// Changes the exit code.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
