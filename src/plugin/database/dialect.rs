//! The three kinds of SQL, as far as they differ in how names and values are written.

/// Which SQL a database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL and what speaks its protocol.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
}

impl Dialect {
    /// A name as SQL writes it, quoted.
    #[must_use]
    pub fn identifier(self, name: &str) -> String {
        match self {
            Self::MySql => format!("`{}`", name.replace('`', "``")),
            Self::Sqlite | Self::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// A text as SQL writes it, quoted.
    #[must_use]
    pub fn text(self, value: &str) -> String {
        let doubled = value.replace('\'', "''");
        match self {
            // Strings of MySQL know escapes; PostgreSQL's do if somebody switched that on, so say it where it matters.
            Self::MySql => format!("'{}'", doubled.replace('\\', "\\\\")),
            Self::Postgres if doubled.contains('\\') => format!("E'{}'", doubled.replace('\\', "\\\\")),
            Self::Sqlite | Self::Postgres => format!("'{doubled}'"),
        }
    }

    /// The present moment in UTC without a zone, as an expression.
    #[must_use]
    pub fn utc(self) -> &'static str {
        match self {
            Self::Sqlite => "CURRENT_TIMESTAMP",
            Self::Postgres => "(now() AT TIME ZONE 'UTC')",
            Self::MySql => "UTC_TIMESTAMP()",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Dialect::{MySql, Postgres, Sqlite};

    #[test]
    fn names_and_values_can_not_end_their_quotes() {
        assert_eq!(Sqlite.identifier(r#"a"b"#), r#""a""b""#);
        assert_eq!(MySql.identifier("a`b"), "`a``b`");
        assert_eq!(Postgres.text("it's"), "'it''s'");
        assert_eq!(Postgres.text(r"a\'"), r"E'a\\'''");
        assert_eq!(MySql.text(r"a\'"), r"'a\\'''");
        assert_eq!(Sqlite.text(r"a\'"), r"'a\'''");
    }
}
