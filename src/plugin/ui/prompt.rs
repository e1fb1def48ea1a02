//! Questions on the terminal. However a question ends, Ctrl-C and SIGTERM included, the terminal is left as it was: in
//! its line-wise mode, with its cursor shown. Decides nothing: what an answer means is the caller's.

use std::io::ErrorKind;

use console::Term;
use dialoguer::Select;

use super::Ui;
use super::human::harmless;
use crate::failure::{Failure, Result};
use crate::shutdown::{Stop, interrupted};

impl Ui {
    /// Asks a question that is answered with yes or no; anything but `y` or `yes` is no.
    ///
    /// # Errors
    /// Nobody can be asked (refused), or Ctrl-C or SIGTERM came at the prompt (interrupted).
    pub async fn confirm(&self, stop: &Stop, question: &str) -> Result<bool> {
        if !self.can_ask() {
            return Err(Failure::refused(format!("cannot ask \"{}\": there is no terminal", harmless(question)))
                .state("nothing was changed")
                .next("pass --yes to go on without being asked"));
        }
        let answer = self.ask(stop, &format!("{} [y/N] ", harmless(question))).await?;
        Ok(answer.is_some_and(|answer| matches!(answer.to_lowercase().as_str(), "y" | "yes")))
    }

    /// Asks for a word to be typed, for what may do harm; anything else is no.
    ///
    /// # Errors
    /// As [`Ui::confirm`].
    pub async fn confirm_by_typing(&self, stop: &Stop, question: &str, word: &str) -> Result<bool> {
        if !self.can_ask() {
            return Err(Failure::refused(format!("cannot ask \"{}\": there is no terminal", harmless(question)))
                .state("nothing was changed")
                .next("pass --force --yes to go on without being asked"));
        }
        let word = harmless(word);
        let answer = self.ask(stop, &format!("{} Type {word} to go on: ", harmless(question))).await?;
        Ok(answer.is_some_and(|answer| answer == word))
    }

    /// Lets a person choose one of `items`; returns its index. `flag` is how to say it on the command line.
    ///
    /// # Errors
    /// Nobody can be asked, or nothing was chosen (refused); Ctrl-C or SIGTERM came at the prompt (interrupted).
    pub async fn choose(&self, stop: &Stop, question: &str, items: &[String], flag: &str) -> Result<usize> {
        let undecided = |message: String| {
            let facts = items.iter().map(|item| harmless(item).into_owned());
            Failure::refused(message).facts(facts).state("nothing was changed").next(format!("pass {flag}"))
        };
        if !self.can_ask() {
            return Err(undecided(format!("cannot ask \"{}\": there is no terminal", harmless(question))));
        }
        let (prompt, shown) =
            (harmless(question).into_owned(), items.iter().map(|item| harmless(item).into_owned()).collect::<Vec<_>>());
        let terminal = Saved::take();
        let choosing =
            tokio::task::spawn_blocking(move || Select::new().with_prompt(prompt).items(shown).default(0).interact_opt());
        let chosen = stop.interruptible(choosing).await;
        terminal.put_back();
        let broken = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("cannot show the choice: {error}")).state("nothing was changed")
        };
        match chosen?.map_err(|error| broken(&error))? {
            Ok(Some(index)) => Ok(index),
            Ok(None) => Err(undecided("nothing was chosen".to_owned())),
            // Ctrl-C comes as a key here, and may do so before the signal that it becomes has reached us.
            Err(dialoguer::Error::IO(error)) if error.kind() == ErrorKind::Interrupted => Err(interrupted()),
            Err(error) => Err(broken(&error)),
        }
    }

    /// A person can be asked.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        self.screen.terminals.stdin && self.screen.terminals.stderr
    }

    /// One typed line without the white space around it; `None` when the input ended.
    async fn ask(&self, stop: &Stop, prompt: &str) -> Result<Option<String>> {
        self.screen.part(prompt);
        // A thread of its own: it stays behind, reading, when Ctrl-C ends the question.
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|length| (length > 0).then(|| line.trim().to_owned()))
        });
        let answer = stop.interruptible(line).await.inspect_err(|_| self.screen.part("\n"))?;
        if matches!(answer, Ok(Ok(None))) {
            self.screen.part("\n");
        }
        let unreadable = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("cannot read the answer: {error}")).state("nothing was changed")
        };
        answer.map_err(|error| unreadable(&error))?.map_err(|error| unreadable(&error))
    }
}

/// How the terminal was before a menu took it over: a thread that waits for a key has it in raw mode, with the cursor
/// hidden, and stays behind when a signal ends the question.
struct Saved {
    #[cfg(unix)]
    modes: Option<rustix::termios::Termios>,
}

impl Saved {
    fn take() -> Self {
        Self {
            #[cfg(unix)]
            modes: rustix::termios::tcgetattr(std::io::stdin()).ok(),
        }
    }

    /// What fails here has no terminal any more.
    fn put_back(self) {
        let _ = Term::stderr().show_cursor();
        #[cfg(unix)]
        if let Some(modes) = self.modes {
            let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, &modes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::ui::{Format, Terminals};

    #[tokio::test]
    async fn without_a_terminal_a_choice_is_refused_with_the_list_and_the_flag() {
        let ui = Ui::new(Terminals { stderr: true, ..Terminals::default() }, Format::Table, false);
        let items = ["/data/a.db".to_owned(), "/data/b\u{1b}.db".to_owned()];
        let refused =
            ui.choose(&Stop::default(), "Which database?", &items, "--database PATH").await.expect_err("nobody can answer");
        assert_eq!(refused.exit, Exit::Refused);
        assert_eq!(refused.facts, ["/data/a.db", "/data/b\\u{1b}.db"]);
        assert_eq!(refused.next, ["pass --database PATH"]);
    }
}
