//! Which database a command is about, where its target does not tell. Only the words; nothing is looked up.

use clap::{ArgGroup, Args};

use crate::database::find::{Named, Reference};

/// Nothing, or one of two ways to name it.
#[derive(Args, Clone, Default)]
#[command(group = ArgGroup::new("which database"))]
pub struct DatabaseArgs {
    /// The database as a URL (postgres://, mysql://, sqlite:, jdbc:…), or as key=value as libpq takes it, as the pod reaches it; a password in it is seen in this machine's list of processes
    #[arg(long, value_name = "URL", group = "which database")]
    pub database: Option<String>,
    /// The Secret or ConfigMap that has it: secret/NAME:KEY, or secret/NAME where its keys are named as usual
    #[arg(long, value_name = "secret/NAME:KEY", group = "which database")]
    pub database_from: Option<Reference>,
}

impl DatabaseArgs {
    /// What was named, if anything was.
    #[must_use]
    pub fn named(self) -> Option<Named> {
        self.database.map(Named::Url).or(self.database_from.map(Named::Reference))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        database: DatabaseArgs,
    }

    fn parsed(words: &[&str]) -> Result<Option<Named>, clap::Error> {
        Line::try_parse_from([&["x"], words].concat()).map(|line| line.database.named())
    }

    #[test]
    fn one_database_at_most_is_named() {
        assert!(parsed(&[]).unwrap_or_else(|e| panic!("{e}")).is_none());
        assert!(matches!(parsed(&["--database", "mysql://db"]), Ok(Some(Named::Url(url))) if url == "mysql://db"));
        let from = parsed(&["--database-from", "cm/a:b"]);
        assert!(matches!(from, Ok(Some(Named::Reference(reference))) if reference.to_string() == "configmap/a:b"));
        assert!(parsed(&["--database", "mysql://db", "--database-from", "cm/a:b"]).is_err());
        assert!(parsed(&["--database-from", "a"]).is_err());
    }
}
