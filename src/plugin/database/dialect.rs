//! How names, texts and times are written in each dialect.

use super::Dialect;

impl Dialect {
    /// A name, quoted.
    #[must_use]
    pub fn identifier(self, name: &str) -> String {
        match self {
            // So that a person can paste it into a client that was not told of ANSI quotes.
            Self::Mysql | Self::MariaDb => format!("`{}`", name.replace('`', "``")),
            Self::Sqlite | Self::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// A text, quoted; see [`Dialect`] about what is special in one.
    #[must_use]
    pub fn text(self, value: &str) -> String {
        format!("'{}'", value.replace('\'', "''"))
    }

    /// The present moment in UTC without a zone, as an expression.
    #[must_use]
    pub fn utc(self) -> &'static str {
        match self {
            Self::Sqlite => "CURRENT_TIMESTAMP",
            Self::Postgres => "(now() AT TIME ZONE 'UTC')",
            Self::Mysql | Self::MariaDb => "UTC_TIMESTAMP()",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Dialect::{MariaDb, Postgres, Sqlite};

    #[test]
    fn names_and_texts_can_not_end_their_quotes() {
        assert_eq!(Sqlite.identifier(r#"a"b"#), r#""a""b""#);
        assert_eq!(MariaDb.identifier("a`b"), "`a``b`");
        assert_eq!(Postgres.text("it's"), "'it''s'");
    }
}
